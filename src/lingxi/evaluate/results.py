"""Measured items on disk: one Parquet file a set and system, so that a run goes on where it stopped.

A row is one item (a query, a pair, a text) under one metric: its value, its gold where the number is no
mean, the ids found first and the first of them in words. Items lie beside with their texts.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lingxi.evaluate.measure import Measured
from lingxi.evaluate.tasks import Head, Task, expected_of, ids_of, texts_of
from lingxi.languages import weighted_length
from lingxi.records import require_pyarrow

RESULTS = "results.parquet"
ITEMS = "items.parquet"
UNITS = "units"
SOURCES = "sets.json"
_TEXT = 300
# Borders of the length slices, in characters of the item's text (an ideograph counts 2.5).
LENGTHS = (("short", 40.0), ("medium", 160.0), ("long", float("inf")))


@dataclass(frozen=True, slots=True)
class Group:
    """Items of one set, language, system and metric, in order."""

    head: Head
    system: str
    metric: str
    items: tuple[str, ...]
    values: npt.NDArray[np.float64]
    gold: npt.NDArray[np.float64] | None
    found: tuple[tuple[str, ...], ...]
    top: tuple[str, ...]


@lru_cache(maxsize=1)
def schema() -> Any:
    """The Arrow schema of measured items."""
    pa = require_pyarrow()
    names = ("set", "task", "language", "system", "metric", "item")
    return pa.schema(
        [
            *((name, pa.string()) for name in names),
            ("value", pa.float64()),
            ("gold", pa.float64()),
            ("found", pa.list_(pa.string())),
            ("top", pa.string()),
        ]
    )


def unit_path(out: Path, set_name: str, system: str, fingerprint: str) -> Path:
    """Where the items of one set under one system lie."""
    named = hashlib.sha256(f"{system}\x1f{fingerprint}".encode()).hexdigest()
    return out / UNITS / f"{set_name}-{named[:12]}.parquet"


def write_unit(path: Path, system: str, key: str, measured: Iterable[tuple[Task, Measured]]) -> None:
    """Write a unit in one step; `key` says what it was measured from."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    plain = schema().with_metadata({b"lingxi": json.dumps({"key": key}).encode()})
    with pq.ParquetWriter(partial, plain, compression="zstd") as writer:
        for task, found in measured:
            writer.write_table(pa.table(_columns(task, system, found), schema=plain))
    partial.replace(path)


def unit_key(path: Path) -> str | None:
    """What a unit was measured from, or None where there is none."""
    if not path.exists():
        return None
    import pyarrow.parquet as pq

    stored = pq.read_schema(path).metadata or {}
    return str(json.loads(stored.get(b"lingxi", b"{}")).get("key"))


def write_items(path: Path, tasks: Sequence[Task]) -> None:
    """Write the texts of a set's items, what is expected of each, and their lengths."""
    pa = require_pyarrow()
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {n: [] for n in ("set", "language", "item", "text", "expected", "length")}
    for task in tasks:
        texts = texts_of(task)
        columns["set"] += [task.head.name] * len(texts)
        columns["language"] += [task.head.language] * len(texts)
        columns["item"] += ids_of(task)
        columns["text"] += [text[:_TEXT] for text in texts]
        columns["expected"] += [text[:_TEXT] for text in expected_of(task)]
        columns["length"] += [length_of(text) for text in texts]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path.with_suffix(".partial"), compression="zstd")
    path.with_suffix(".partial").replace(path)


def length_of(text: str) -> str:
    """The length slice of a text."""
    length = weighted_length(text)
    return next(name for name, border in LENGTHS if length < border)


def read_groups(out: Path, systems: Sequence[str] | None = None) -> Iterator[Group]:
    """The groups of a finished evaluation, in the order they were measured; raises InputError without one."""
    from lingxi.errors import InputError

    path = out / RESULTS
    if not path.exists():
        raise InputError(f"no evaluation in {out}", "run `lingxi evaluate` with this folder as --out")
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    yield from groups_of(table, systems)


def groups_of(table: Any, systems: Sequence[str] | None = None) -> Iterator[Group]:
    """The groups of a table of measured items, in its order."""
    names = ("set", "task", "language", "system", "metric")
    columns = {name: table.column(name).to_pylist() for name in names}
    keys = list(zip(*columns.values(), strict=True))
    if not keys:
        return
    starts = [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
    for start, end in zip(starts, [*starts[1:], len(keys)], strict=True):
        set_name, task, language, system, metric = keys[start]
        if systems is not None and system not in systems:
            continue
        part = table.slice(start, end - start)
        gold = part.column("gold")
        yield Group(
            Head(set_name, task, language),
            system,
            metric,
            tuple(part.column("item").to_pylist()),
            part.column("value").to_numpy(),
            None if gold.null_count else gold.to_numpy(),
            tuple(tuple(row or ()) for row in part.column("found").to_pylist()),
            tuple(part.column("top").to_pylist()),
        )


def main_of(groups: Iterable[Group]) -> Iterator[Group]:
    """The groups of each set's main metric, the one that was measured first."""
    main: dict[str, str] = {}
    return (g for g in groups if main.setdefault(g.head.name, g.metric) == g.metric)


def read_items(out: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """Text, expected text and length of every item, by set, language and item."""
    import pyarrow.parquet as pq

    rows = pq.read_table(out / ITEMS).to_pylist()
    return {(row["set"], row["language"], row["item"]): row for row in rows}


@dataclass(frozen=True, slots=True)
class Compared:
    """Two systems' groups, and the length slice of every item by set, language and id."""

    new: list[Group]
    old: list[Group]
    lengths: dict[tuple[str, str, str], str]


def groups_to_compare(old_out: Path, new_out: Path, old: str | None, new: str | None) -> Compared:
    """The groups of two systems of finished evaluations; without a name, the first that was measured."""
    from lingxi.errors import InputError

    before, after = list(read_groups(old_out)), list(read_groups(new_out))
    if not before or not after:
        raise InputError(f"nothing was measured in {new_out if before else old_out}", "measure both again")
    for name, key in read_sources(new_out).items():
        if read_sources(old_out).get(name, key) != key:
            raise InputError(
                f"the set {name!r} was another in {old_out} than in {new_out}: data or sampling differ",
                "measure both on the same suite, sampling and seed",
            )
    old, new = old or before[0].system, new or after[0].system
    heads = [{g.head for g in groups if g.system == name} for groups, name in ((before, old), (after, new))]
    if apart := sorted(f"{h.name} {h.language}" for h in heads[0] ^ heads[1]):
        raise InputError(
            f"{old} and {new} were not measured on the same sets: only one has {', '.join(apart[:5])}",
            "measure both on the same suite",
        )
    lengths = {key: row["length"] for key, row in read_items(new_out).items()}
    return Compared(
        [group for group in after if group.system == new],
        [group for group in before if group.system == old],
        lengths,
    )


def write_sources(out: Path, keys: dict[str, str]) -> None:
    """Write what each set of an evaluation was read from: its settings, sampling and data."""
    (out / SOURCES).write_text(json.dumps(keys, indent=1) + "\n", "utf-8")


def read_sources(out: Path) -> dict[str, str]:
    """What each set was read from; nothing for an evaluation that does not say."""
    path = out / SOURCES
    return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}


def gather(paths: Sequence[Path], out: Path) -> None:
    """Put Parquet files together into one, in the order given."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_table(path).replace_schema_metadata(None) for path in paths]
    partial = out.with_suffix(f".{os.getpid()}.partial")
    pq.write_table(pa.concat_tables(tables), partial, compression="zstd")
    partial.replace(out)


def _columns(task: Task, system: str, found: Measured) -> dict[str, Any]:
    count = len(found.values)
    return {
        "set": [task.head.name] * count,
        "task": [task.head.type] * count,
        "language": [task.head.language] * count,
        "system": [system] * count,
        "metric": [found.metric] * count,
        "item": list(ids_of(task)),
        "value": found.values,
        "gold": found.gold if found.gold is not None else [None] * count,
        "found": [list(row) for row in found.found],
        "top": [text[:_TEXT] for text in found.top],
    }
