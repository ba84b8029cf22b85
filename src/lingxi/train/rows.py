"""Curated pairs in memory, and which of them a batch is made of.

A batch holds one task, so that its negatives are of one kind and its queries share one
instruction; no two of its rows share a group, so a translation of a positive is never a negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import InputError
from lingxi.records import Pair

# Tasks whose two sides are alike get the instruction on both, as in Qwen's evaluation.
SYMMETRIC = frozenset({"bitext", "sts", "pair", "classification"})


@dataclass(frozen=True, slots=True)
class Rows:
    """Columns of the pairs: row i has `queries[i]`, `documents[i]`, its group and its stratum."""

    queries: list[str]
    documents: list[str]
    instructions: list[str]
    tasks: NDArray[np.str_]
    strata: NDArray[np.str_]
    languages: list[tuple[str, str]]
    groups: NDArray[np.int64]
    grades: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.queries)

    def texts(self) -> Iterable[tuple[str, str]]:
        """(language, text) of both sides of every row."""
        for query, document, (left, right) in zip(self.queries, self.documents, self.languages, strict=True):
            yield left, query
            yield right, document


def read_rows(pairs: Iterable[Pair], shuffle_seed: int) -> Rows:
    """Read pairs, one row for the first positive of each, in a seeded order."""
    listed = [p for p in pairs if p.positives and p.dropped is None]
    if not listed:
        raise InputError(
            "there are no pairs to train on", "look at the curate stage's ledger for the reasons"
        )
    order = np.random.default_rng(shuffle_seed).permutation(len(listed))
    listed = [listed[i] for i in order]
    numbers: dict[str, int] = {}
    return Rows(
        queries=[p.query for p in listed],
        documents=[p.positives[0].text for p in listed],
        instructions=[p.instruction for p in listed],
        tasks=np.array([p.task for p in listed]),
        strata=np.array([f"{p.source}/{p.query_language}" for p in listed]),
        languages=[(p.query_language, p.document_language) for p in listed],
        groups=np.array([numbers.setdefault(p.group, len(numbers)) for p in listed]),
        grades=np.array([p.scores.get("similarity", np.nan) for p in listed], dtype=np.float32),
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """The rows of one task with one instruction, and the cumulated chance of each to be drawn."""

    task: str
    instruction: str
    members: NDArray[np.int64]
    cumulative: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws batches: a kind by its `chances`, then rows of it by balanced strata."""

    rows: Rows
    kinds: tuple[Kind, ...]
    chances: NDArray[np.float64]

    def draw(self, rng: np.random.Generator, size: int) -> tuple[Kind, NDArray[np.int64]]:
        """A kind and up to `size` of its row numbers, no two of one group."""
        kind = self.kinds[rng.choice(len(self.kinds), p=self.chances)]
        places = np.searchsorted(kind.cumulative, rng.random(size * 2), side="right")
        drawn = kind.members[places.clip(0, len(kind.members) - 1)]
        _, first = np.unique(self.rows.groups[drawn], return_index=True)
        return kind, drawn[np.sort(first)][:size]


def sampler(
    rows: Rows,
    mixture: Mapping[str, float],
    balance: float,
    emphasis: Mapping[str, float] = MappingProxyType({}),
) -> Sampler:
    """Prepare sampling by the mixture of tasks.

    Within a task an instruction of n rows is drawn in proportion to n ** balance, and within that
    a stratum (source and language) likewise, times its `emphasis`: a factor by source and one by
    language, where "*" stands for the languages not named. Raises InputError where the mixture
    names no task that the rows have.
    """
    kinds: list[Kind] = []
    weights: list[float] = []
    for task, weight in mixture.items():
        found = _kinds(rows, task, balance, emphasis) if weight > 0 else []
        sizes = np.array([len(kind.members) for kind in found]) ** balance
        kinds += found
        weights += list(weight * sizes / sizes.sum())
    if not kinds:
        raise InputError("the mixture names no task of the pairs", f"tasks there: {sorted(set(rows.tasks))}")
    return Sampler(rows, tuple(kinds), np.array(weights) / sum(weights))


def _kinds(rows: Rows, task: str, balance: float, emphasis: Mapping[str, float]) -> list[Kind]:
    members = np.flatnonzero(rows.tasks == task)
    names, which = np.unique([rows.instructions[i] for i in members], return_inverse=True)
    found = []
    for k, name in enumerate(names):
        chosen = members[which == k]
        strata, inverse, counts = np.unique(rows.strata[chosen], return_inverse=True, return_counts=True)
        weights = (counts ** (balance - 1.0) * [_emphasis(str(s), emphasis) for s in strata])[inverse]
        found.append(Kind(task, str(name), chosen, np.cumsum(weights / weights.sum())))
    return found


def _emphasis(stratum: str, emphasis: Mapping[str, float]) -> float:
    source, language = stratum.rsplit("/", 1)
    return emphasis.get(source, 1.0) * emphasis.get(language, emphasis.get("*", 1.0))


def same_document(rows: Rows, numbers: Sequence[int] | NDArray[np.int64]) -> NDArray[np.bool_]:
    """[n, n]: true where two rows of a batch have equal queries or equal documents (and on the diagonal)."""
    documents = np.unique([rows.documents[i] for i in numbers], return_inverse=True)[1]
    queries = np.unique([rows.queries[i] for i in numbers], return_inverse=True)[1]
    return np.asarray((documents[:, None] == documents) | (queries[:, None] == queries))
