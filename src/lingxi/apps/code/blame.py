"""Who wrote the lines of a hit: git's blame of a commit, carried over to the file as it lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path

from lingxi.apps.code import git
from lingxi.apps.code.git import BlameLine
from lingxi.apps.code.hits import CodeHit
from lingxi.apps.code.sources import blob_id
from lingxi.errors import InputError


def blamed(
    repository: Callable[[], Path], root: Path, commit: str | None, hits: Sequence[CodeHit]
) -> tuple[tuple[CodeHit, ...], tuple[str, ...]]:
    """The hits with the blame of their lines, and notes where git could not say.

    Of files as they lie (`commit` None) lines that the newest commit does not have are of no commit:
    git is not asked about them, since it would run the repository's filters on the file.
    """
    out, notes = [], []
    for hit in hits:
        try:
            out.append(replace(hit, blame=_of_hit(repository(), root, commit, hit)))
        except InputError as error:
            out.append(hit)
            notes.append(f"no blame: {error}")
    return tuple(out), tuple(dict.fromkeys(notes))


def _of_hit(repository: Path, root: Path, commit: str | None, hit: CodeHit) -> tuple[BlameLine, ...]:
    if commit is not None:
        return git.blame(repository, commit, hit.path, hit.first_line, hit.last_line)
    head, _ = git.commit_of(repository, "HEAD")
    before = _committed(repository, head, hit.path)
    if before is None:
        return tuple(BlameLine(line, "", "", 0, "") for line in range(hit.first_line, hit.last_line + 1))
    return _carried(repository, head, hit, before, _lies(root, hit.path))


def _committed(repository: Path, head: str, path: str) -> bytes | None:
    """The file's bytes in a commit, None where it has none."""
    entries = git.files_of(repository, head, path)
    found = next((entry for entry in entries if entry.path == path.encode()), None)
    return next(git.blobs(repository, [found.blob])) if found else None


def _lies(root: Path, path: str) -> bytes:
    try:
        return (root / path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", "update the index") from None


def _carried(repository: Path, head: str, hit: CodeHit, before: bytes, now: bytes) -> tuple[BlameLine, ...]:
    """Blame of a hit's lines by those of the commit that they are."""
    same = _same_lines(before, now)
    wanted = {line: same[line] for line in range(hit.first_line, hit.last_line + 1) if line in same}
    told = {}
    if wanted:
        lines = git.blame(repository, head, hit.path, min(wanted.values()), max(wanted.values()))
        told = {one.line: one for one in lines}
    none = BlameLine(0, "", "", 0, "")
    return tuple(
        replace(told.get(wanted.get(line, 0), none), line=line)
        for line in range(hit.first_line, hit.last_line + 1)
    )


def _same_lines(before: bytes, now: bytes) -> dict[int, int]:
    """Lines of a file (from 1) that were in it before, with their number there."""
    old, new = before.split(b"\n"), now.split(b"\n")
    if blob_id(before) == blob_id(now):
        return {line: line for line in range(1, len(new) + 1)}
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return {block.b + i + 1: block.a + i + 1 for block in blocks for i in range(block.size)}
