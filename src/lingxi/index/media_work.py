"""What `MediaIndex.add` does file by file: what stays, what is opened, and what is said of the rest."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lingxi.errors import InputError, MissingExtraError
from lingxi.index.media_files import MediaFile, parts_of, picture_in
from lingxi.media.sounds import open_sound
from lingxi.parse.walk import is_below

Told = Callable[[int, int], None]


class Work:
    """What one `add` has done until now."""

    def __init__(self, total: int, told: Told) -> None:
        self.added = 0
        self.skipped: list[tuple[str, str]] = []
        self.noted: list[tuple[str, str]] = []
        self._total, self._told = total, told
        self._done: set[str] = set()

    def leave_out(self, place: str, reason: str) -> None:
        """Note why something is not in the index; its place is said once."""
        self.skipped.append((place, reason.removeprefix(f"{place}: ")))

    def tell(self, batch: Sequence[MediaFile]) -> None:
        """Count the files of a batch as done."""
        self._done |= {file.path for file in batch}
        self._told(len(self._done), self._total)


def opened(file: MediaFile, work: Work) -> Iterator[Any]:
    """The sound or page of a file; nothing for one that is refused, which is noted.

    A picture stays where it is: sixteen large ones are not held at a time.
    """
    if file.kind == "image":
        yield Path(file.path)
        return
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            item = open_sound(Path(file.path)) if file.kind == "audio" else picture_in(file)
        work.noted += [(file.place, str(one.message)) for one in said]
        yield item
    except (InputError, MissingExtraError) as problem:
        work.leave_out(file.place, problem.reason)


def parts_in(files: Sequence[MediaFile], work: Work) -> Iterator[MediaFile]:
    """The parts of files; one that cannot be opened is left out, which is noted."""
    for file in files:
        try:
            yield from parts_of(file)
        except (InputError, MissingExtraError) as problem:
            work.leave_out(file.path, problem.reason)
            work.tell([file])


def whole(files: Sequence[MediaFile]) -> Callable[[MediaFile], bool]:
    """Whether all pages of a file are there: one that an interrupted `add` left half done is done anew."""
    there = Counter(file.path for file in files)
    return lambda file: there[file.path] >= file.pages


def stays(
    file: MediaFile, current: Mapping[str, MediaFile], roots: Sequence[str], blocked: Sequence[str]
) -> bool:
    """Whether a file keeps its vector: it is as it was, or nothing was said of where it lies."""
    now = current.get(file.path)
    if now is not None:
        return (now.size, now.changed) == (file.size, file.changed)
    is_seen = any(is_below(file.path, root) for root in roots)
    return not is_seen or any(is_below(file.path, folder) for folder in blocked)
