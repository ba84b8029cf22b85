"""Rows in one SQLite file: ids, metadata and full vectors by slot, every write one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import StoreError
from lingxi.index.stores.filters import Where
from lingxi.index.stores.layout import Floats, Layout, Metadata, Rows, agreed, read, written
from lingxi.index.stores.seam import absent, closing, failing
from lingxi.index.stores.sql import clause, column, columns

BATCH = 8192
_VALUES_A_STATEMENT = 500


class Slots:
    """The rows of a folder. A slot counts from 1 and is not given twice until `renumber`."""

    def __init__(self, place: Path, layout: Layout | None) -> None:
        file = place / "rows.sqlite"
        is_there = file.exists()
        if not is_there and (place.is_file() or (place.is_dir() and any(place.iterdir()))):
            raise StoreError(f"{place}: not a store of vectors", "name one, or a place that is empty")
        if not is_there and layout is None:
            raise absent(str(place))
        with failing(str(place), sqlite3.Error):
            place.mkdir(parents=True, exist_ok=True)
            self._rows = sqlite3.connect(file, timeout=30, isolation_level=None, check_same_thread=False)
        with failing(str(place), sqlite3.Error), closing(self._rows.close):
            self._rows.execute("PRAGMA journal_mode = WAL")
            if layout is not None:
                self._make(layout)
            said = self._one("SELECT layout FROM made")
            self.layout = agreed(str(place), read(str(place), said), layout)
        self._fields = list(self.layout.fields)
        self._cached: tuple[Any, NDArray[np.int64]] = (None, np.zeros(0, np.int64))

    def put(self, rows: Rows, namespace: str) -> None:
        """Write rows; those whose ids are there get a new slot."""
        names = ["namespace", "id", "vector", *map(column, self._fields)]
        marks = ", ".join("?" * len(names))
        values = [
            (namespace, name, vector.astype("<f4").tobytes(), *(own[field] for field in self._fields))
            for name, vector, own in zip(rows.ids, rows.vectors, rows.metadata, strict=True)
        ]
        with self._transaction():
            self._rows.executemany(
                "DELETE FROM rows WHERE namespace = ? AND id = ?", [value[:2] for value in values]
            )
            self._rows.executemany(f"INSERT INTO rows ({', '.join(names)}) VALUES ({marks})", values)

    def remove(self, ids: Sequence[str], namespace: str) -> None:
        """Take rows out."""
        with self._transaction():
            self._rows.executemany(
                "DELETE FROM rows WHERE namespace = ? AND id = ?", [(namespace, name) for name in ids]
            )

    def get(self, ids: Sequence[str], namespace: str) -> Rows:
        """The rows that are there of these ids."""
        found: list[tuple[Any, ...]] = []
        for part in _parts(ids):
            marks = ", ".join("?" * len(part))
            found += self._rows.execute(
                f"{self._select()} WHERE namespace = ? AND id IN ({marks})", (namespace, *part)
            )
        return self._read(found)

    def of(self, where: Where | None, namespace: str) -> NDArray[np.int64]:
        """Slots of the rows that meet a condition, rising."""
        key = (where, namespace, self._version())
        if self._cached[0] != key:
            text, values = clause(where, "?")
            found = self._rows.execute(
                f"SELECT slot FROM rows WHERE namespace = ? AND {text} ORDER BY slot", (namespace, *values)
            )
            self._cached = (key, np.fromiter((slot for (slot,) in found), np.int64))
        return self._cached[1]

    def scan(self, namespace: str) -> Iterator[Rows]:
        """Every row of a namespace, by slot."""
        last = 0
        while found := self._rows.execute(
            f"{self._select('slot, ')} WHERE namespace = ? AND slot > ? ORDER BY slot LIMIT {BATCH}",
            (namespace, last),
        ).fetchall():
            last = found[-1][0]
            yield self._read([row[1:] for row in found])

    def between(self, start: int, stop: int) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Slots from `start` up to `stop` that are taken, with their vectors."""
        found = self._rows.execute(
            "SELECT slot, vector FROM rows WHERE slot >= ? AND slot < ? ORDER BY slot", (start, stop)
        ).fetchall()
        if found:
            yield np.array([slot for slot, _ in found], np.int64), self._matrix([own for _, own in found])

    def vectors(self, slots: NDArray[np.int64]) -> Floats:
        """Full vectors [n, dim] of slots, in their order; zeros for one that is gone meanwhile."""
        by_slot: dict[int, bytes] = {}
        for part in _parts(slots.tolist()):
            marks = ", ".join("?" * len(part))
            by_slot |= dict(
                self._rows.execute(f"SELECT slot, vector FROM rows WHERE slot IN ({marks})", part)
            )
        gone = bytes(4 * self.layout.dim)
        return self._matrix([by_slot.get(slot, gone) for slot in slots.tolist()])

    def told(self, slots: NDArray[np.int64]) -> dict[int, tuple[str, Metadata]]:
        """Id and metadata of slots."""
        told: dict[int, tuple[str, Metadata]] = {}
        names = "".join(f", {column(field)}" for field in self._fields)
        for part in _parts(slots.tolist()):
            marks = ", ".join("?" * len(part))
            for slot, name, *own in self._rows.execute(
                f"SELECT slot, id{names} FROM rows WHERE slot IN ({marks})", part
            ):
                told[slot] = name, self._metadata(own)
        return told

    def count(self, where: Where | None, namespace: str) -> int:
        """How many rows meet a condition."""
        text, values = clause(where, "?")
        return int(self._one(f"SELECT count(*) FROM rows WHERE namespace = ? AND {text}", namespace, *values))

    def namespaces(self) -> Mapping[str, int]:
        """Rows of every namespace."""
        return dict(self._rows.execute("SELECT namespace, count(*) FROM rows GROUP BY namespace").fetchall())

    def live(self) -> int:
        """How many rows there are."""
        return int(self._one("SELECT count(*) FROM rows"))

    def next(self) -> int:
        """One more than the last slot that was given."""
        return int(self._one("SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'rows'"))

    def numbering(self) -> int:
        """How often slots were numbered anew."""
        return int(self._one("SELECT numbering FROM made"))

    def renumber(self) -> None:
        """Number the slots anew, without those of removed rows."""
        with self._transaction():
            self._rows.execute("CREATE TEMP TABLE held (place INTEGER PRIMARY KEY, slot INTEGER UNIQUE)")
            self._rows.execute("INSERT INTO held (slot) SELECT slot FROM rows ORDER BY slot")
            # Through negative numbers, so that no two rows have one slot on the way.
            self._rows.execute("UPDATE rows SET slot = -(SELECT place FROM held WHERE held.slot = rows.slot)")
            self._rows.execute("UPDATE rows SET slot = -slot")
            self._rows.execute("DROP TABLE held")
            self._rows.execute(
                "UPDATE sqlite_sequence SET seq = (SELECT count(*) FROM rows) WHERE name = 'rows'"
            )
            self._rows.execute("UPDATE made SET numbering = numbering + 1")

    def settle(self) -> None:
        """Write the log into the file."""
        self._rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Let go of the file."""
        self._rows.close()

    def _make(self, layout: Layout) -> None:
        own = "".join(f", {said}" for said in columns(dict(layout.fields), "sqlite"))
        with self._transaction():
            self._rows.execute(
                "CREATE TABLE IF NOT EXISTS made (layout TEXT NOT NULL, numbering INTEGER NOT NULL)"
            )
            self._rows.execute(
                "CREATE TABLE IF NOT EXISTS rows (slot INTEGER PRIMARY KEY AUTOINCREMENT, "
                "namespace TEXT NOT NULL, id TEXT NOT NULL, "
                f"vector BLOB NOT NULL{own}, UNIQUE (namespace, id))"
            )
            if not self._one("SELECT count(*) FROM made"):
                self._rows.execute("INSERT INTO made VALUES (?, 0)", (written(layout),))

    def _transaction(self) -> Any:
        return _Transaction(self._rows)

    def _version(self) -> tuple[int, int]:
        return int(self._one("PRAGMA data_version")), self._rows.total_changes

    def _one(self, text: str, *values: Any) -> Any:
        found = self._rows.execute(text, values).fetchone()
        return found[0] if found else None

    def _select(self, before: str = "") -> str:
        return f"SELECT {before}id, vector{''.join(f', {column(field)}' for field in self._fields)} FROM rows"

    def _read(self, found: Sequence[tuple[Any, ...]]) -> Rows:
        return Rows(
            [row[0] for row in found],
            self._matrix([row[1] for row in found]),
            [self._metadata(row[2:]) for row in found],
        )

    def _matrix(self, found: Sequence[bytes]) -> Floats:
        return np.frombuffer(b"".join(found), "<f4").reshape(-1, self.layout.dim).astype(np.float32)

    def _metadata(self, own: Sequence[Any]) -> Metadata:
        kinds = self.layout.fields
        return {
            field: bool(value) if kinds[field] == "flag" else value
            for field, value in zip(self._fields, own, strict=True)
        }


class _Transaction:
    """All of a block or none of it."""

    def __init__(self, rows: sqlite3.Connection) -> None:
        self._rows = rows

    def __enter__(self) -> None:
        self._rows.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._rows.execute("COMMIT" if kind is None else "ROLLBACK")


def _parts(values: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(values), _VALUES_A_STATEMENT):
        yield list(values[start : start + _VALUES_A_STATEMENT])
