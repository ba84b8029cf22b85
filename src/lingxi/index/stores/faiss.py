"""Vectors in this process: faiss searches, and one SQLite file is the truth it is filled from.

A row has a slot, a number that is never given twice: replacing a row removes its slot and writes another.
So the index only grows, removed slots are masked out of what it finds, and `settle` makes it anew without
them. The index is written beside the rows by `settle` and filled up from them when the store is opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection as Many
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import MissingExtraError
from lingxi.index.stores.codes import coder
from lingxi.index.stores.filters import Where
from lingxi.index.stores.layout import Floats, Found, Layout, Rows
from lingxi.index.stores.seam import failing
from lingxi.index.stores.slots import BATCH, Slots

# Slots a row, from which on they are numbered anew.
_HOLES = 1.3
_LINKS, _BUILD_WIDTH, _SEARCH_WIDTH = 16, 100, 128


class FaissStore:
    """A store in a folder, opened or made there."""

    def __init__(self, place: Path, layout: Layout | None) -> None:
        self._faiss = _library()
        self.place = f"faiss:{place}"
        self._folder = place
        self._slots = Slots(place, layout)
        self.layout = self._slots.layout
        self._codes = coder(self.layout)
        self._numbering = self._slots.numbering()
        self._index, self._next = self._opened()

    def put(self, rows: Rows, namespace: str) -> None:
        """Write rows in one transaction."""
        with self._failing():
            self._slots.put(rows, namespace)

    def remove(self, ids: Many[str], namespace: str) -> None:
        """Take rows out in one transaction."""
        with self._failing():
            self._slots.remove(list(ids), namespace)

    def get(self, ids: Many[str], namespace: str) -> Rows:
        """The rows that are there of these ids."""
        with self._failing():
            return self._slots.get(list(ids), namespace)

    def search(self, queries: Floats, k: int, where: Where | None, namespace: str) -> list[list[Found]]:
        """The nearest rows among slots that meet the condition, by the full vector if rescored."""
        with self._failing():
            self._fill()
            allowed = self._slots.of(where, namespace)
            allowed = allowed[allowed < self._next]  # what another process wrote meanwhile
            wanted = min(self.layout.candidates(k), len(allowed))
            if not wanted:
                return [[] for _ in queries]
            scores, slots = self._looked(queries, wanted, allowed)
            return [self._told(*found, k) for found in zip(queries, scores, slots, strict=True)]

    def scan(self, namespace: str) -> Iterator[Rows]:
        """Every row, a batch at a time."""
        with self._failing():
            yield from self._slots.scan(namespace)

    def count(self, where: Where | None, namespace: str) -> int:
        """How many rows meet the condition."""
        with self._failing():
            return self._slots.count(where, namespace)

    def namespaces(self) -> Mapping[str, int]:
        """Rows of every namespace."""
        with self._failing():
            return self._slots.namespaces()

    def settle(self) -> None:
        """Fill the index, without slots that were removed, and write it down."""
        with self._failing():
            if self._slots.next() > _HOLES * (self._slots.live() + 1):
                self._slots.renumber()
            self._fill()
            for old in self._folder.glob("index.*"):
                if old != self._file():
                    old.unlink()
            coming = self._folder / "index.coming"
            write = self._faiss.write_index_binary if self._codes.binary else self._faiss.write_index
            write(self._index, str(coming))
            coming.replace(self._file())
            self._slots.settle()

    def bytes(self) -> int:
        """Bytes of the folder."""
        return sum(file.stat().st_size for file in self._folder.iterdir())

    def close(self) -> None:
        """Let go of the file."""
        self._slots.close()

    def _failing(self) -> Any:
        return failing(self.place, sqlite3.Error, RuntimeError)

    def _looked(self, queries: Floats, wanted: int, allowed: NDArray[np.int64]) -> tuple[Any, Any]:
        mask = np.zeros(self._next, bool)
        mask[allowed] = True
        selector = self._faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        width = {"efSearch": max(_SEARCH_WIDTH, 2 * wanted)}
        # A graph finds few of the rows a narrow filter leaves: those are compared one by one.
        is_graph = self.layout.look == "ann" and not self._codes.binary
        if is_graph and len(allowed) > self._next // 20:
            parameters = self._faiss.SearchParametersHNSW(sel=selector, **width)
            return self._nearest(queries, wanted, parameters)
        if is_graph:
            return self._compared(queries, wanted, allowed)
        parameters = self._faiss.SearchParameters(sel=selector)
        return self._nearest(queries, wanted, parameters)

    def _nearest(self, queries: Floats, wanted: int, parameters: Any) -> tuple[Any, Any]:
        scores, slots = self._index.search(self._codes(queries), wanted, params=parameters)
        return scores, slots

    def _compared(self, queries: Floats, wanted: int, allowed: NDArray[np.int64]) -> tuple[Any, Any]:
        scores = queries @ self._slots.vectors(allowed).T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :wanted]
        return np.take_along_axis(scores, order, axis=1), allowed[order]

    def _told(self, query: Floats, scores: Floats, slots: NDArray[np.int64], k: int) -> list[Found]:
        kept = slots >= 0
        slots, scores = slots[kept], self._codes.cosines(scores[kept])
        if self.layout.rescores:
            scores = self._slots.vectors(slots) @ query
        order = np.argsort(-scores, kind="stable")[:k]
        told = self._slots.told(slots[order])
        return [Found(*told[int(slots[at])][:1], float(scores[at]), told[int(slots[at])][1]) for at in order]

    def _file(self) -> Path:
        return self._folder / f"index.{self._numbering}"

    def _opened(self) -> tuple[Any, int]:
        """The index as it was written; an empty one where there is none, or it cannot be used."""
        if self._file().exists():
            with suppress(RuntimeError):  # a damaged index is made anew: the rows are the truth
                read = self._faiss.read_index_binary if self._codes.binary else self._faiss.read_index
                found = read(str(self._file()))
                if found.d == self.layout.dim and found.ntotal <= self._slots.next():
                    return found, int(found.ntotal)
        return self._empty(), 0

    def _empty(self) -> Any:
        faiss, dim = self._faiss, self.layout.dim
        if self._codes.binary:
            return faiss.IndexBinaryFlat(dim)
        by = faiss.METRIC_INNER_PRODUCT
        eight = faiss.ScalarQuantizer.QT_8bit_direct_signed
        if self.layout.look == "exact":
            whole = self.layout.precision == "float32"
            return faiss.IndexFlatIP(dim) if whole else faiss.IndexScalarQuantizer(dim, eight, by)
        whole = self.layout.precision == "float32"
        made = faiss.IndexHNSWFlat(dim, _LINKS, by) if whole else faiss.IndexHNSWSQ(dim, eight, _LINKS, by)
        made.hnsw.efConstruction = _BUILD_WIDTH
        return made

    def _fill(self) -> None:
        """Bring slots that are not yet in the index into it; one that was removed leaves a hole of zeros."""
        if self._numbering != self._slots.numbering():
            self._numbering = self._slots.numbering()
            self._index, self._next = self._opened()
        end = self._slots.next()
        while self._next < end:
            stop = min(self._next + BATCH, end)
            own = np.zeros((stop - self._next, self.layout.dim), np.float32)
            for slots, vectors in self._slots.between(self._next, stop):
                own[slots - self._next] = vectors
            self._index.add(self._codes(own))
            self._next = stop


def _library() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("faiss", "faiss", "a store of vectors in memory") from None
    return faiss
