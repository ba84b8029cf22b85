"""Old indexes of commits go: the least recently searched first, so that a cache does not grow for ever."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lingxi.errors import StoreError
from lingxi.index.lock import writing

# Indexes of commits that an update leaves: a repository of 2,500 functions has 10 MB in each.
KEPT = 10
_COMMITS, _USED = "tree-*", "used"


@dataclass(frozen=True, slots=True)
class Pruned:
    """Indexes of commits that were taken out, the bytes they held, and how many are left."""

    removed: int
    bytes: int
    kept: int


def mark_used(place: Path) -> None:
    """Note that an index of a commit is in use now; an index that cannot be written is not noted."""
    with suppress(OSError):
        (place / _USED).touch()


def prune(place: Path, keep: int, spared: Path | None = None) -> Pruned:
    """Take out all indexes of commits but the `keep` last used ones; one that is being written stays."""
    found = sorted(place.glob(_COMMITS), key=_used, reverse=True)
    old = [folder for folder in found[max(0, keep) :] if folder != spared]
    freed = [size for folder in old if (size := _removed(folder)) is not None]
    return Pruned(len(freed), sum(freed), len(found) - len(freed))


def _used(folder: Path) -> float:
    marks = [one for one in (folder / _USED, folder) if one.exists()]
    return marks[0].stat().st_mtime if marks else 0.0


def _removed(folder: Path) -> int | None:
    """Bytes of an index that was taken out; None where another process holds it."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    away = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        with writing(folder):
            # Away in one step: no search finds half an index.
            folder.rename(away)
    except (StoreError, OSError):
        return None
    shutil.rmtree(away, ignore_errors=True)
    return size
