"""Put an index's passages into another store of vectors: a server that others search, or faiss in memory.

The index stays the truth: files, words and vectors in one table, each change one commit. What is published
is a copy of its vectors with their places, brought up to date by each call; nothing is embedded again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lingxi.errors import InputError
from lingxi.index.store import LanceStore, Row
from lingxi.index.stores.collection import Collection
from lingxi.index.stores.layout import Kind, Layout, Look, Metadata, Precision, Value
from lingxi.parse.files import kind_of

FIELDS: dict[str, Kind] = {
    "path": "path", "kind": "text", "language": "text", "title": "text", "first_line": "whole",
    "last_line": "whole", "start": "whole", "end": "whole", "version": "text",
}  # fmt: skip
_FILES_A_COMMIT = 64
_LONGEST_TITLE = 1000


@dataclass(frozen=True, slots=True)
class Published:
    """Rows written, taken out, and held in all."""

    written: int
    removed: int
    held: int


def layout_of(
    path: str | Path, *, dim: int | None = None, precision: Precision = "float32", look: Look = "exact"
) -> Layout:
    """The layout for an index's passages at a width and precision; raises InputError for a wider one."""
    model = LanceStore(Path(path).expanduser(), None).fingerprint
    full = int(model["dim"])
    if dim is not None and dim > full:
        raise InputError(f"dim is {dim}, and the index is {full} wide", f"choose up to {full}")
    return Layout(dim or full, FIELDS, precision, look, model=dict(model))


def publish(path: str | Path, collection: Collection, *, namespace: str = "") -> Published:
    """Bring a collection to what an index holds, in a namespace of the same name.

    The id of a row is `path#number`, hashed where that is too long. Raises StoreError as either store does.
    """
    index = LanceStore(Path(path).expanduser(), None, namespace=namespace)
    there = {
        name: str(own["version"])
        for part in collection.scan(namespace)
        for name, own in zip(part.ids, part.metadata, strict=True)
    }
    wanted: set[str] = set()
    written = 0
    for rows, vectors in _passages(index):
        ids = [_id(row["key"]) for row in rows]
        wanted.update(ids)
        fresh = [
            n for n, (name, row) in enumerate(zip(ids, rows, strict=True)) if there.get(name) != _version(row)
        ]
        if fresh:
            collection.upsert(
                [ids[n] for n in fresh],
                np.stack([vectors[n] for n in fresh]),
                [_told(rows[n]) for n in fresh],
                namespace,
            )
        written += len(fresh)
    gone = sorted(there.keys() - wanted)
    removed = collection.remove(gone, namespace) if gone else 0
    collection.settle()
    return Published(written, removed, collection.count(namespace=namespace))


def _passages(
    index: LanceStore,
) -> Iterator[tuple[list[Row], list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]]:
    paths: Sequence[str] = sorted(path for path, state in index.files().items() if not state.reason)
    for start in range(0, len(paths), _FILES_A_COMMIT):
        own = paths[start : start + _FILES_A_COMMIT]
        vectors = index.vectors_in_order(own)
        rows = [row for row in index.rows(own) if not row["reason"]]
        yield rows, [vector for path in own for vector in vectors[path]]


def _told(row: Row) -> Metadata:
    kind, language = kind_of(Path(row["path"]))
    told: dict[str, Value] = {name: row[name] for name in ("path", "first_line", "last_line", "start", "end")}
    title = row["title"][:_LONGEST_TITLE].replace("\0", "")
    return told | {"kind": kind, "language": language or "", "title": title, "version": _version(row)}


def _version(row: Row) -> str:
    """What the row's vector and place are known by: the file's content and time."""
    return f"{row['hash'][:16]} {row['start']}"


def _id(key: str) -> str:
    if len(key.encode()) <= 400:
        return str(key)
    return f"{hashlib.sha256(key.encode()).hexdigest()}#{key.rpartition('#')[2]}"
