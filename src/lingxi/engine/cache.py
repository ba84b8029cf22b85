"""States that were computed before, in one SQLite file: key → fp32 vector, bounded in bytes.

Whoever keys it puts everything a state depends on into the key. Threads and processes may share the file:
each use opens it, and SQLite lets one write at a time. When it is full the oldest entries make room.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import InputError, StoreError

Floats = NDArray[np.float32]

# "lxVC" and a number of the layout mark a file as ours.
_APPLICATION = 0x6C785643
_LAYOUT = 1
# Large pages, since one vector of 1024 fp32 takes 4 KB; and the fewest a cache is of use with.
_PAGE_BYTES = 32768
_LEAST_BYTES = 32 * _PAGE_BYTES
_KEYS_A_STATEMENT = 500
_ROWS_A_COMMIT = 512
_WAIT_SECONDS = 60


class VectorCache:
    """A file of vectors by key, of at most `limit` bytes.

    Raises InputError for a limit below 1 MiB, StoreError where the file is something else, damaged,
    or cannot be written.
    """

    def __init__(self, path: str | Path, limit: int = 1 << 30) -> None:
        if limit < _LEAST_BYTES:
            raise InputError(f"a cache of {limit} bytes", f"give it {_LEAST_BYTES} or more")
        self.path = Path(path).expanduser()
        self.limit = limit
        with self._open() as db:
            _prepare(db, self.path)

    def read(self, keys: Sequence[bytes], width: int) -> dict[bytes, Floats]:
        """The vectors [width] that are there, by key; raises StoreError for one of another width."""
        found: dict[bytes, Floats] = {}
        with self._open() as db:
            for start in range(0, len(keys), _KEYS_A_STATEMENT):
                some = keys[start : start + _KEYS_A_STATEMENT]
                marks = ", ".join("?" * len(some))
                rows = db.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", some)
                found |= {key: np.frombuffer(vector, "<f4").astype(np.float32) for key, vector in rows}
        if any(vector.shape != (width,) or not np.isfinite(vector).all() for vector in found.values()):
            raise _damaged(self.path, "a vector is not whole")
        return found

    def write(self, vectors: Mapping[bytes, Floats]) -> None:
        """Keep vectors; those that are there already stay."""
        rows = [(key, np.asarray(vector, "<f4").tobytes()) for key, vector in vectors.items()]
        with self._open() as db:
            for start in range(0, len(rows), _ROWS_A_COMMIT):
                self._insert(db, rows[start : start + _ROWS_A_COMMIT])

    def _insert(self, db: sqlite3.Connection, rows: list[tuple[bytes, bytes]]) -> None:
        db.execute("BEGIN IMMEDIATE")
        room = self.limit // _PAGE_BYTES - _needed(rows)
        if room < 0:
            db.execute("ROLLBACK")  # more at once than the cache may hold
            return
        while _pages(db) > room and db.execute("SELECT 1 FROM vectors").fetchone():
            oldest = "SELECT rowid FROM vectors ORDER BY rowid LIMIT (SELECT count(*) / 8 + 1 FROM vectors)"
            db.execute(f"DELETE FROM vectors WHERE rowid IN ({oldest})")
        db.executemany("INSERT OR IGNORE INTO vectors (key, vector) VALUES (?, ?)", rows)
        db.execute("COMMIT")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one use: it belongs to no thread and no process longer than that."""
        try:
            db = sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None)
            with closing(db):
                yield db
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"{self.path}: the cache of vectors cannot be used ({error})",
                "check that the folder is there and can be written, and that the disk is not full",
            ) from None
        except sqlite3.DatabaseError as error:
            raise _damaged(self.path, str(error)) from None


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    marks = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    if marks == [_APPLICATION, _LAYOUT]:
        return
    db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    db.execute("BEGIN IMMEDIATE")
    # Another process may have made it while this one waited.
    if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        if db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise _damaged(path, "it is another program's")
        # AUTOINCREMENT: numbers of rows rise for ever, and so tell the oldest.
        db.execute(
            "CREATE TABLE vectors "
            "(id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB UNIQUE, vector BLOB NOT NULL)"
        )
        db.execute(f"PRAGMA application_id = {_APPLICATION}")
        db.execute(f"PRAGMA user_version = {_LAYOUT}")
    db.execute("COMMIT")


def _pages(db: sqlite3.Connection) -> int:
    """Pages in use."""
    pages, free = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    return int(pages - free)


def _needed(rows: list[tuple[bytes, bytes]]) -> int:
    """Pages that rows take at most: one may lie alone at the end of a page, and the index grows too."""
    return 4 + sum(2 * len(vector) + 256 for _, vector in rows) // _PAGE_BYTES


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(f"{path}: not a cache of vectors ({why})", "delete the file, or name another")
