"""Drawing evenly from rows of many kinds: each gives up to one cap, so that what is rare stays whole.

A kind is a task and a pair of languages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lingxi.records import Pair, batches, pair_schema

Kind = tuple[str, str, str]
NAMES = ("task", "query_language", "document_language")


def kind_of(row: Pair) -> Kind:
    """The kind of a row."""
    return row.task, row.query_language, row.document_language


def kinds_of(batch: Any) -> Iterator[Kind]:
    """The kind of every row of an Arrow record batch of pairs."""
    return zip(*(batch.column(name).to_pylist() for name in NAMES), strict=True)


def kinds_in(path: Path) -> Iterator[Kind]:
    """The kind of every row of a Parquet file, without reading the texts."""
    import pyarrow as pa

    for batch in batches(path, pa.schema([pair_schema().field(name) for name in NAMES])):
        yield from kinds_of(batch)


def even_cap(sizes: Iterable[tuple[int, float]], room: float) -> int:
    """The most rows of a kind with which all kinds fit the room, by bisection; at least one.

    `sizes` are the rows of each kind and the room that one of them takes.
    """
    listed = list(sizes)
    low, high = 1, max((count for count, _ in listed), default=1)
    while low < high:
        middle = (low + high + 1) // 2
        fits = sum(min(middle, count) * size for count, size in listed) <= room
        low, high = (middle, high) if fits else (low, middle - 1)
    return low
