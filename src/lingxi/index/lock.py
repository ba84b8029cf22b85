"""One writer at a time: a lock file in the index folder, freed by the system however the writer ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lingxi.errors import StoreError

LOCK = "lock"


@contextmanager
def writing(folder: Path, lock: str = LOCK) -> Iterator[None]:
    """Hold the index for writing; raises StoreError where another process does."""
    with (folder / lock).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StoreError(
                f"{folder}: another process is adding to this index (process {file.read().strip() or '?'})",
                "wait until it is done, or search what is there with `lingxi index search`",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
