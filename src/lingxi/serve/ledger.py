"""Counts of all workers in one piece of shared memory: a row of numbers a worker, added up when asked.

Only sums are kept, so a worker killed at any moment leaves its row whole, and its successor counts on.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from multiprocessing.context import SpawnContext
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from lingxi.errors import InputError

Rows = NDArray[np.float64]
# A row begins with what the supervisor reads and writes: is the worker up, its last sign of life, restarts.
UP, BEAT, RESTARTS, _FREE = 0, 1, 2, 3
_SLOTS = 32_768


@dataclass(frozen=True, slots=True)
class Place:
    """A worker's number of so many, and the memory they share (None: alone, in memory of its own)."""

    number: int = 0
    total: int = 1
    memory: Any = None

    def rows(self) -> Rows:
        """The counts of all workers [workers, slots]."""
        if self.memory is None:
            return np.zeros((self.total, _SLOTS))
        rows: Rows = np.frombuffer(self.memory, np.float64)
        return rows.reshape(self.total, _SLOTS)


def shared(context: SpawnContext, workers: int) -> Any:
    """Memory for the counts of so many workers, to be handed to each as it is started."""
    return context.RawArray("d", workers * _SLOTS)


@dataclass(frozen=True, slots=True)
class Family:
    """One name: its labels, where the numbers of each combination of their values start, and bounds."""

    name: str
    says: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    starts: Mapping[tuple[str, ...], int]
    bounds: tuple[float, ...]


@dataclass(slots=True)
class Ledger:
    """The families of a server, laid out in the same order in every worker; safe in any thread."""

    place: Place
    families: list[Family] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _rows: Rows = field(init=False)
    _next: int = _FREE

    def __post_init__(self) -> None:
        """Take the row of this place."""
        self._rows = self.place.rows()
        self._rows[self.place.number, UP] = 1

    @property
    def row(self) -> Rows:
        """This worker's own numbers."""
        row: Rows = self._rows[self.place.number]
        return row

    def counter(self, name: str, says: str, **labels: Sequence[str]) -> Family:
        """A number that only grows, one of each combination of the labels' values."""
        return self._laid(name, says, "counter", labels, ())

    def gauge(self, name: str, says: str, **labels: Sequence[str]) -> Family:
        """A number that is now so; those of workers that are up are added."""
        family = self._laid(name, says, "gauge", labels, ())
        for start in family.starts.values():
            self.row[start] = 0
        return family

    def histogram(self, name: str, says: str, bounds: Sequence[float], **labels: Sequence[str]) -> Family:
        """How many values were at most each bound, and their sum."""
        return self._laid(name, says, "histogram", labels, bounds)

    def _laid(
        self, name: str, says: str, kind: Any, labels: Mapping[str, Sequence[str]], bounds: Sequence[float]
    ) -> Family:
        width = len(bounds) + 2 if kind == "histogram" else 1
        keys = list(product(*labels.values()))
        if self._next + width * len(keys) > _SLOTS:
            raise InputError(f"{name} has too many labels to be counted", "serve fewer models")
        starts = {key: self._next + i * width for i, key in enumerate(keys)}
        self._next += width * len(keys)
        family = Family(name, says, kind, tuple(labels), starts, tuple(map(float, bounds)))
        self.families.append(family)
        return family

    def add(self, family: Family, *key: str, by: float = 1) -> None:
        """Count; combinations of labels that were not foreseen are left out."""
        start = family.starts.get(key)
        if start is not None:
            with self._lock:
                self.row[start] += by

    def put(self, family: Family, *key: str, value: float) -> None:
        """Set a gauge."""
        start = family.starts.get(key)
        if start is not None:
            self.row[start] = value

    def observe(self, family: Family, values: ArrayLike, *key: str, times: int = 1) -> None:
        """Put values into their buckets, each so many times."""
        start = family.starts.get(key)
        if start is None:
            return
        size = len(family.bounds) + 1
        if isinstance(values, float):
            # Nine of these a request: arrays of one number would cost more than the rest of the account.
            bucket = bisect_left(family.bounds, values)
            with self._lock:
                self.row[start + bucket] += times
                self.row[start + size] += values * times
            return
        found = np.atleast_1d(np.asarray(values, np.float64))
        buckets = np.bincount(np.searchsorted(family.bounds, found), minlength=size)
        with self._lock:
            self.row[start : start + size] += buckets * times
            self.row[start + size] += found.sum() * times

    def collect(self) -> Iterator[Metric]:
        """All families, added up over workers, as prometheus_client writes them."""
        for family in self.families:
            yield self._metric(family)

    def _metric(self, family: Family) -> Metric:
        if family.kind == "histogram":
            return self._histogram(family)
        rows = self._rows[self._rows[:, UP] > 0] if family.kind == "gauge" else self._rows
        kind = GaugeMetricFamily if family.kind == "gauge" else CounterMetricFamily
        metric = kind(family.name, family.says, labels=family.labels)
        for key, start in family.starts.items():
            value = float(rows[:, start].sum())
            # Of many combinations few occur; one without labels is shown from the start.
            if value or not key or family.kind == "gauge":
                metric.add_metric(key, value)
        return metric

    def _histogram(self, family: Family) -> Metric:
        metric = HistogramMetricFamily(family.name, family.says, labels=family.labels)
        size = len(family.bounds) + 1
        names = [*(str(float(bound)) for bound in family.bounds), "+Inf"]
        for key, start in family.starts.items():
            part = self._rows[:, start : start + size + 1].sum(axis=0)
            if part.any() or not key:
                counts = np.cumsum(part[:size])
                metric.add_metric(key, list(zip(names, counts.tolist(), strict=True)), float(part[size]))
        return metric

    def ups(self) -> int:
        """How many workers are up."""
        return int((self._rows[:, UP] > 0).sum())

    def restarts(self) -> int:
        """How often a worker was started again."""
        return int(self._rows[:, RESTARTS].sum())
