"""A copy of an index as it is at one moment, checked file by file, and the way back from it.

LanceDB writes files once and never changes them, so on one file system a copy shares them by hard links and
takes no space until either side goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lingxi.errors import StoreError
from lingxi.index import generations
from lingxi.index.lock import LOCK, writing
from lingxi.index.store import LanceStore, in_words
from lingxi.parse.walk import GENERATIONS

LIST = "snapshot.json"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a snapshot holds: files on disk, their bytes, and the segments of all namespaces."""

    files: int
    bytes: int
    segments: int


def snapshot(path: str | Path, out: str | Path) -> Snapshot:
    """Copy an index to a new folder, while nobody writes to it.

    Raises StoreError where another process writes, where `out` is there, and as stores do.
    """
    place, target = Path(path).expanduser(), Path(out).expanduser()
    _must_be_new(target)
    LanceStore(place, None)
    with writing(place), in_words(target):
        growing = _growing(place)
        files = [
            file
            for file in sorted(place.rglob("*"))
            if file.is_file() and not _is_own(file, place) and file.relative_to(place).parts[0] not in growing
        ]
        digests: dict[str, list[int | str]] = {}
        with _arriving(target) as coming:
            for file in files:
                name = file.relative_to(place)
                _share(file, coming / name)
                digests[name.as_posix()] = [file.stat().st_size, _digest(file)]
            (coming / LIST).write_text(json.dumps({"files": digests}), encoding="utf-8")
    return _told(target, digests)


def restore(snapshot: str | Path, path: str | Path) -> Snapshot:
    """Put an index as it was in a snapshot; an index that is there gives way only once all was checked.

    Raises StoreError for a folder that is no snapshot, a file that is missing or not as it was, or where
    another process writes to the index that is there.
    """
    source, place = Path(snapshot).expanduser(), Path(path).expanduser()
    digests = _checked(source)
    there = generations.is_index(place)
    if not there:
        _must_be_new(place)
    with in_words(place), tempfile.TemporaryDirectory(dir=_parent(place), prefix=".restoring-") as scratch:
        coming, gone = Path(scratch) / "coming", Path(scratch) / "gone"
        for name in digests:
            _share(source / name, coming / name)
        LanceStore(coming, None)
        if there:
            with writing(place):
                place.rename(gone)
                coming.rename(place)
        else:
            coming.rename(place)
    return _told(place, digests)


def _must_be_new(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StoreError(f"{target}: is there already", "name a folder that does not exist yet")


def _arriving(target: Path) -> _Arriving:
    return _Arriving(target)


class _Arriving:
    """A folder that gets its name once it is complete."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __enter__(self) -> Path:
        self._coming = Path(tempfile.mkdtemp(dir=_parent(self._target), prefix=".snapshot-"))
        return self._coming

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self._coming, ignore_errors=True)
            return
        self._coming.chmod(0o755)
        self._coming.replace(self._target)


def _parent(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.parent


def _is_own(file: Path, place: Path) -> bool:
    return file.parent == place and (file.name in (LOCK, LIST) or file.name.endswith((".lock", ".coming")))


def _growing(place: Path) -> set[str]:
    """Tables that an unfinished upgrade fills: they are no part of the index yet."""
    current = generations.read(place).current
    return {f"{name}.lance" for (number, _), name in generations.tables(place).items() if number > current}


def _share(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # What is replaced in place must not be shared.
        if file.name == GENERATIONS:
            raise OSError
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _checked(source: Path) -> dict[str, list[int | str]]:
    try:
        listed: dict[str, list[int | str]] = json.loads((source / LIST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(
            f"{source}: no snapshot of an index", "name a folder made by `index snapshot`"
        ) from None
    for name, (size, digest) in listed.items():
        file = source / name
        if not file.is_file() or file.stat().st_size != size or _digest(file) != digest:
            raise StoreError(f"{file}: is missing or damaged", "take another snapshot; nothing was changed")
    return listed


def _told(place: Path, digests: dict[str, list[int | str]]) -> Snapshot:
    held = sum(
        LanceStore(place, None, namespace=name).counts()["segments"] for name in generations.namespaces(place)
    )
    return Snapshot(len(digests), sum(int(size) for size, _ in digests.values()), held)
