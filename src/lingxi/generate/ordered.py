"""More rows than memory holds, sorted on disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable
from contextlib import closing
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def ordered(rows: Iterable[tuple[int | str, ...]]) -> Generator[tuple[Any, ...], None, None]:
    """The rows sorted by their columns, each once; all have as many columns, and integers of 63 bits.

    SQLite sorts them in files of its own, which go when the last row was taken, or the iterator is closed.
    """
    stream = iter(rows)
    first = next(stream, None)
    if first is None:
        return
    names = ", ".join(f"column{number}" for number in range(len(first)))
    marks = ", ".join("?" * len(first))
    with TemporaryDirectory(prefix="lingxi-") as folder, closing(
        sqlite3.connect(Path(folder) / "rows.sqlite")
    ) as db:  # fmt: skip
        # What is lost in a crash is made again.
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute(f"CREATE TABLE sorted ({names})")
        db.executemany(f"INSERT INTO sorted VALUES ({marks})", chain((first,), stream))
        yield from db.execute(f"SELECT DISTINCT {names} FROM sorted ORDER BY {names}")
