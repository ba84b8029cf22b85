"""Rows parted by task and document language, and what is known of every passage: who it is an answer to.

A file is parted on disk, so that one part, not the file, is what a miner reads; the knowledge is of hashes.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.records import Pair, Passage, batches, pair_schema, pairs_of, read_pairs, stable_hash

Keys = NDArray[np.uint64]
Stratum = tuple[str, str]
"""A task and the language of its documents."""
Rows = Callable[[], Iterable[Pair]]
"""Reads the rows of a stratum from the beginning, in their order."""


def text_key(text: str) -> int:
    """The hash of a text in one case and with single spaces: what counts as the same passage or query."""
    return stable_hash(f"text\x1f{' '.join(text.casefold().split())}")


def keys_of(passage: Passage) -> tuple[int, ...]:
    """By its text and, where it has one, by its id: a passage is known where either is."""
    # Packed rows have no ids of passages: all would be one.
    named = (stable_hash(f"id\x1f{passage.id}"),) if passage.id else ()
    return text_key(passage.text), *named


class Known:
    """The groups and queries of every positive, by the keys of the passage: at most 48 bytes a positive."""

    def __init__(self, rows: Iterable[Pair]) -> None:
        passages, groups, queries = array("Q"), array("Q"), array("Q")
        for row in rows:
            group, query = stable_hash(row.group), text_key(row.query)
            for key in (key for item in row.positives for key in keys_of(item)):
                passages.append(key)
                groups.append(group)
                queries.append(query)
        order = np.argsort(np.frombuffer(passages, np.uint64), kind="stable")
        self._passages = np.frombuffer(passages, np.uint64)[order]
        self._groups = np.frombuffer(groups, np.uint64)[order]
        self._queries = np.frombuffer(queries, np.uint64)[order]

    def of(self, keys: Sequence[int]) -> tuple[NDArray[np.int64], Keys, Keys]:
        """Places in `keys`, groups and queries of all that is known of them, each [m]."""
        asked = np.array(keys, np.uint64)
        first = np.searchsorted(self._passages, asked, "left")
        counts = np.searchsorted(self._passages, asked, "right") - first
        places = np.repeat(np.arange(len(asked)), counts)
        within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        found = first[places] + within
        return places, self._groups[found], self._queries[found]


class Lookup:
    """Places by a key that many may share."""

    def __init__(self, keys: Keys, places: NDArray[np.int64]) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys, self._places = keys[order], places[order]

    def __call__(self, key: int) -> NDArray[np.int64]:
        """All places of a key."""
        wanted = np.uint64(key)
        first = np.searchsorted(self._keys, wanted, "left")
        return self._places[first : np.searchsorted(self._keys, wanted, "right")]


def rows_of(pairs: Sequence[Pair] | Path) -> Iterable[Pair]:
    """The rows of a list, or of a Parquet file as a stream."""
    return read_pairs(pairs) if isinstance(pairs, Path) else pairs


@contextmanager
def strata(pairs: Sequence[Pair] | Path) -> Iterator[dict[Stratum, Rows]]:
    """The rows by stratum, in the order of its names; a file is parted into files that go when it is left."""
    if not isinstance(pairs, Path):
        found: dict[Stratum, list[Pair]] = defaultdict(list)
        for row in pairs:
            found[row.task, row.document_language].append(row)
        yield {key: lambda rows=found[key]: rows for key in sorted(found)}  # type: ignore[misc]
        return
    with TemporaryDirectory(prefix="lingxi-") as folder:
        parted = _parted(pairs, Path(folder))
        yield {key: lambda path=parted[key]: _read(path) for key in sorted(parted)}  # type: ignore[misc]


def _parted(source: Path, folder: Path) -> dict[Stratum, Path]:
    import pyarrow as pa

    paths: dict[Stratum, Path] = {}
    writers: dict[Stratum, Any] = {}
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with ExitStack() as stack:
        for batch in batches(source, pair_schema()):
            columns = (batch.column(name).to_pylist() for name in ("task", "document_language"))
            places: dict[Stratum, list[int]] = defaultdict(list)
            for place, key in enumerate(zip(*columns, strict=True)):
                places[key].append(place)
            for key, chosen in places.items():
                if key not in writers:
                    paths[key] = folder / f"{len(paths)}.arrow"
                    writer = pa.ipc.new_stream(str(paths[key]), pair_schema(), options=options)
                    writers[key] = stack.enter_context(writer)
                writers[key].write_batch(batch.take(pa.array(chosen)))
    return paths


def _read(path: Path) -> Iterator[Pair]:
    import pyarrow as pa

    with pa.ipc.open_stream(str(path)) as reader:
        for batch in reader:
            yield from pairs_of(batch)
