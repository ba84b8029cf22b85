"""The face of a store: what goes in is checked, cut to the store's width, and brought to unit length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from lingxi import vectors as finished
from lingxi.errors import InputError, StoreError
from lingxi.index.stores.filters import Where, checked, checked_text, checked_value
from lingxi.index.stores.layout import Floats, Found, Layout, Metadata, Rows
from lingxi.index.stores.opening import open_store
from lingxi.index.stores.seam import VectorStore

_LONGEST_ID = 500


class Collection:
    """Vectors with ids and metadata, in any of the stores. Made by `Collection.open`."""

    def __init__(self, store: VectorStore) -> None:
        self.store = store
        self.layout = store.layout

    @classmethod
    def open(cls, place: str, layout: Layout | None = None) -> Collection:
        """Open the store at a place (`opening.open_store` says how they are named), or make it there.

        `layout` is needed to make one; it must agree with that of a store that is there. Raises StoreError
        for a place that holds something else, or was made another way, by another model or version.
        """
        return cls(open_store(place, layout))

    def add(
        self,
        ids: Sequence[str],
        vectors: npt.ArrayLike,
        metadata: Sequence[Metadata] = (),
        namespace: str = "",
    ) -> None:
        """Write new rows in one commit; raises StoreError where an id is there already.

        Vectors [n, at least dim] are cut to the layout's width. Raises InputError for an id that comes
        twice, a vector that is no numbers, or metadata that is not as the layout says.
        """
        rows = self._rows(ids, vectors, metadata)
        there = self.store.get(rows.ids, _namespace(namespace)).ids if len(rows) else ()
        if there:
            raise StoreError(
                f"{self.store.place}: {len(there)} of the ids are there ({there[0]!r})",
                "use upsert to replace",
            )
        self._put(rows, namespace)

    def upsert(
        self,
        ids: Sequence[str],
        vectors: npt.ArrayLike,
        metadata: Sequence[Metadata] = (),
        namespace: str = "",
    ) -> None:
        """Write rows in one commit, replacing those whose ids are there; raises InputError as `add`."""
        self._put(self._rows(ids, vectors, metadata), namespace)

    def remove(self, ids: Sequence[str], namespace: str = "") -> int:
        """Take rows out; returns how many there were."""
        known = list(self.store.get(_ids(ids), _namespace(namespace)).ids) if len(ids) else []
        if known:
            self.store.remove(known, namespace)
        return len(known)

    def search(
        self, vectors: npt.ArrayLike, k: int = 10, where: Where | None = None, namespace: str = ""
    ) -> list[list[Found]]:
        """The k nearest rows for each query of [n, at least dim] that meet the condition, best first.

        Raises InputError for a k below 1, or a condition the fields do not allow.
        """
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= 10_000:
            raise InputError(f"k is {k!r}", "choose a whole number from 1 to 10000")
        queries = self._vectors(vectors)
        if not len(queries):
            return []
        return self.store.search(queries, k, self._where(where), _namespace(namespace))

    def get(self, ids: Sequence[str], namespace: str = "") -> Rows:
        """The rows that are there of these ids, with their full vectors, in any order."""
        return self.store.get(_ids(ids), _namespace(namespace))

    def scan(self, namespace: str = "") -> Iterator[Rows]:
        """Every row, some at a time."""
        return self.store.scan(_namespace(namespace))

    def count(self, where: Where | None = None, namespace: str = "") -> int:
        """How many rows meet the condition."""
        return self.store.count(self._where(where), _namespace(namespace))

    def namespaces(self) -> Mapping[str, int]:
        """Rows of every namespace that holds some."""
        return self.store.namespaces()

    def settle(self) -> None:
        """Bring new rows into the approximate index, and give back space that removed ones take."""
        self.store.settle()

    def bytes(self) -> int:
        """Bytes the store takes on disk, or says it takes."""
        return self.store.bytes()

    def close(self) -> None:
        """Let go of files and connections."""
        self.store.close()

    def __enter__(self) -> Self:
        """The collection, closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _put(self, rows: Rows, namespace: str) -> None:
        if len(rows):
            self.store.put(rows, _namespace(namespace))

    def _where(self, where: Where | None) -> Where | None:
        return None if where is None else checked(where, self.layout.fields)

    def _rows(self, ids: Sequence[str], vectors: npt.ArrayLike, metadata: Sequence[Metadata]) -> Rows:
        named, found = _ids(ids), self._vectors(vectors)
        told = list(metadata) if len(metadata) or self.layout.fields else [{}] * len(named)
        if not len(named) == len(found) == len(told):
            raise InputError(
                f"{len(named)} ids, {len(found)} vectors and {len(told)} of metadata",
                "give one of each a row",
            )
        twice = [name for name, count in Counter(named).items() if count > 1]
        if twice:
            raise InputError(f"the id {twice[0]!r} comes twice", "give every row an id of its own")
        return Rows(named, found, [self._metadata(name, own) for name, own in zip(named, told, strict=True)])

    def _metadata(self, name: str, own: Metadata) -> Metadata:
        fields = self.layout.fields
        if own.keys() != fields.keys():
            differing = sorted(own.keys() ^ fields.keys())
            raise InputError(
                f"row {name!r}: {differing[0]!r} is missing, or no field",
                f"give each row: {', '.join(fields) or 'no metadata'}",
            )
        return {key: checked_value(key, kind, own[key]) for key, kind in fields.items()}

    def _vectors(self, vectors: npt.ArrayLike) -> Floats:
        found = np.atleast_2d(np.asarray(vectors, np.float32))
        if found.size == 0:
            return np.zeros((0, self.layout.dim), np.float32)
        if found.ndim != 2 or found.shape[1] < self.layout.dim:
            raise InputError(
                f"vectors of the shape {found.shape} in a store {self.layout.dim} wide",
                "give [n, dim] or wider",
            )
        if not np.isfinite(found).all():
            raise InputError("a vector holds what is no number", "check the model with `lingxi check`")
        return finished.cut(found, self.layout.dim)


def _ids(ids: Sequence[str]) -> list[str]:
    if isinstance(ids, str):
        raise InputError("ids is one string", "pass a list of ids")
    for name in ids:
        if not isinstance(name, str) or not name or len(name.encode("utf-8", "replace")) > _LONGEST_ID:
            raise InputError(f"the id {name!r:.60}", f"ids are texts of 1 to {_LONGEST_ID} bytes")
        checked_text("an id", name)
        if "\x1f" in name:
            raise InputError(f"the id {name!r:.60} holds a unit separator", "leave it out")
    return list(ids)


def _namespace(name: str) -> str:
    if not isinstance(name, str) or len(name.encode("utf-8", "replace")) > 100 or "\x1f" in name:
        raise InputError(f"the namespace {name!r:.60}", "name it by at most 100 bytes of text")
    return checked_text("the namespace", name)
