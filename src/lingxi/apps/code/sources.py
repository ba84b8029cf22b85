"""The source files of a repository: as they lie in its folder, or as a commit has them.

Both say cheaply what may have changed and read only that. What is left out is skipped with a reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

from lingxi.apps.code import git
from lingxi.apps.code.languages import may_be_source
from lingxi.apps.code.unwanted import by_name
from lingxi.index.store import FileState
from lingxi.parse import size_limit
from lingxi.parse.walk import Skipped, walk

_LINK, _SUBMODULE = "120000", "160000"
_NOT_SOURCE = "no source file"


class Source(NamedTuple):
    """A file by its path in the repository; `blob` is its git id where that is known without reading."""

    path: str
    size: int
    mtime_ns: int
    blob: str = ""

    def is_as(self, state: FileState) -> bool:
        """Whether the index holds it, as far as can be told without reading."""
        if self.blob:
            return self.blob == state.hash
        return (self.size, self.mtime_ns) == (state.size, state.mtime_ns)


@dataclass(slots=True)
class Listing:
    """What there is: sources by path, what is skipped, and folders of which nothing is known."""

    sources: dict[str, Source] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    ignored: int = 0

    def take(self, source: Source) -> None:
        """Take a file in, or skip it for what its path says."""
        reason = by_name(source.path) or ("" if may_be_source(source.path) else _NOT_SOURCE)
        if reason:
            self.skipped.append(Skipped(source.path, reason))
        else:
            self.sources[source.path] = source


class Tree(Protocol):
    """Where source files come from."""

    def listing(self) -> Listing:
        """All of them, none read."""

    def read(self, sources: Iterable[Source]) -> Iterator[tuple[Source, bytes | str]]:
        """Each with its blob's id and its bytes, or the reason why it cannot be read."""


class Folder:
    """The files below a folder, less what `.gitignore` leaves out and what is another repository."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def listing(self) -> Listing:
        """All source files; raises InputError for a folder that cannot be read."""
        seen = walk([str(self.root)])
        out = Listing(ignored=seen.ignored)
        out.skipped = [Skipped(self._inside(path), reason) for path, reason in seen.skipped]
        out.blocked = [self._inside(path) for path in seen.blocked]
        others = self._others(seen.files)
        for found in seen.files.values():
            path = self._inside(found.path)
            if other := next((place for place in others if path.startswith(f"{place}/")), None):
                out.skipped.append(Skipped(path, f"in another repository ({other})"))
            else:
                out.take(Source(path, found.size, found.mtime_ns))
        return out

    def _others(self, files: Iterable[str]) -> list[str]:
        """Folders below the root that are repositories of their own: submodules, clones."""
        folders = {parent for path in files for parent in Path(self._inside(path)).parents}
        return sorted(str(one) for one in folders if str(one) != "." and (self.root / one / ".git").exists())

    def _inside(self, path: str) -> str:
        return str(Path(path).relative_to(self.root))

    def read(self, sources: Iterable[Source]) -> Iterator[tuple[Source, bytes | str]]:
        """Each file with the id that git gives its bytes."""
        for source in sources:
            try:
                data = (self.root / source.path).read_bytes()
            except OSError as error:
                yield source, f"cannot be read ({error.strerror})"
            else:
                yield source._replace(blob=blob_id(data)), data


@dataclass(frozen=True)
class Commit:
    """The files of a commit, read from the repository's objects."""

    repository: Path
    commit: str

    def listing(self) -> Listing:
        """All source files; raises InputError where the repository cannot list them."""
        out = Listing()
        for entry in self._entries:
            path = entry.path.decode("utf-8", "replace")
            if reason := _why_not(entry, path):
                out.skipped.append(Skipped(path, reason))
            else:
                out.take(Source(path, entry.size, 0, entry.blob))
        return out

    @cached_property
    def _entries(self) -> list[git.Entry]:
        return git.files_of(self.repository, self.commit)

    def read(self, sources: Iterable[Source]) -> Iterator[tuple[Source, bytes | str]]:
        """Each file by its blob."""
        wanted = list(sources)
        found = git.blobs(self.repository, (source.blob for source in wanted))
        for source, data in zip(wanted, found, strict=True):
            yield source, "its object is missing or broken" if data is None else data


def _why_not(entry: git.Entry, path: str) -> str:
    if entry.mode == _SUBMODULE:
        return "in another repository (a submodule)"
    if entry.mode == _LINK:
        return "symbolic link"
    if entry.path != path.encode("utf-8", "replace"):
        return "file name is not UTF-8"
    if entry.size < 0:
        return "its object is missing or broken"
    limit = size_limit(Path(path))
    return f"larger than {limit / 1_000_000:g} MB" if entry.size > limit else ""


def blob_id(data: bytes) -> str:
    """The id that git gives these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def unchanged(listing: Listing, known: Mapping[str, FileState]) -> list[Source]:
    """Sources that the index holds as they are, as far as can be told without reading."""
    return [one for path, one in listing.sources.items() if path in known and one.is_as(known[path])]
