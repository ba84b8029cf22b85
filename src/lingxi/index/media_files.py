"""The files of an index of pictures and sound: which there are, and how one is opened for somebody else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lingxi import pdf, pictures
from lingxi.errors import InputError
from lingxi.media.preview import kind_of_file
from lingxi.parse.walk import Skipped, resolve, walk
from lingxi.records import digest

if TYPE_CHECKING:
    from PIL.Image import Image

Kind = Literal["image", "audio", "page"]
KINDS: tuple[Kind, ...] = ("image", "page", "audio")
# Of a sound no more is read than half a minute, however long its file is.
_MOST_SOUND = 4 << 30


@dataclass(frozen=True, slots=True)
class MediaFile:
    """What has a vector: a picture, a sound, or page `page` (from 1) of a PDF's `pages`.

    `changed` is the file's time in nanoseconds.
    """

    path: str
    kind: Kind
    size: int
    changed: int
    page: int = 0
    pages: int = 0

    @property
    def key(self) -> str:
        """A name that tells nothing of the place: what somebody else asks for it by."""
        return digest(self.path, str(self.page))

    @property
    def place(self) -> str:
        """Where to look: the path, and the page of a PDF."""
        return f"{self.path} page {self.page}" if self.page else self.path


def kind_of_name(path: str | Path) -> Kind | None:
    """The kind of a file by its ending; None for one of another kind."""
    return kind_of_file(path) or ("page" if Path(path).suffix.lower() == ".pdf" else None)


def found(paths: Sequence[str | Path], pages: bool) -> tuple[dict[str, MediaFile], list[Skipped], list[str]]:
    """Files by path at and below paths, those left out and why, and folders that could not be read.

    Links, hidden files and what `.gitignore` names are left out, as of texts. Raises InputError for a
    missing path.
    """
    wanted = KINDS if pages else ("image", "audio")
    seen = walk(resolve(paths), limit=_limit)
    files = {}
    for one in seen.files.values():
        kind = kind_of_name(one.path)
        if kind in wanted:
            files[one.path] = MediaFile(one.path, kind, one.size, one.mtime_ns)
    skipped = [one for one in seen.skipped if one.path in seen.blocked or kind_of_name(one.path) in wanted]
    return files, skipped, seen.blocked


def _limit(path: Path) -> float:
    kind = kind_of_name(path)
    if kind == "audio":
        return _MOST_SOUND
    return pdf.LIMITS.most_bytes if kind == "page" else pictures.LIMITS.most_bytes


def parts_of(file: MediaFile) -> Iterator[MediaFile]:
    """The file itself, or the pages of a PDF; raises InputError for a PDF that cannot be opened."""
    if file.kind != "page":
        yield file
        return
    pages = pdf.pages_in(file.path)
    for page in range(1, pages + 1):
        yield replace(file, page=page, pages=pages)


def picture_in(file: MediaFile) -> Image:
    """The picture, or the page as one; raises InputError as `pictures.opened` and `pdf.page_picture`."""
    return pdf.page_picture(file.path, file.page) if file.kind == "page" else pictures.opened(file.path)


def check_unchanged(file: MediaFile) -> None:
    """Raise InputError where a file is not the one that was indexed: gone, changed, or now a link elsewhere.

    Asked before a file is opened for somebody who sees the index and not the disk.
    """
    try:
        status = os.lstat(file.path)
        there = os.path.realpath(file.path)
    except OSError:
        raise InputError("the file is gone", "index its folder again") from None
    same = (status.st_size, status.st_mtime_ns) == (file.size, file.changed)
    if there != file.path or not stat.S_ISREG(status.st_mode) or not same:
        raise InputError("the file has changed since it was indexed", "index its folder again")
