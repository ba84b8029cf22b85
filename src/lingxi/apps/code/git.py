"""What is asked of git: a commit's files, their bytes, and who wrote a line; nothing of a repository is run.

Objects are read by `git ls-tree` and `git cat-file`, never checked out. Hooks, pagers, filters, text
converters and fetching are off (`collect.git`), whatever the repository's settings say.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from lingxi.collect.git import command, environment, repository_of
from lingxi.errors import InputError

# A question whose answer is short: what takes longer waits for something that never comes.
_SECONDS = 60
_BLAME = re.compile(r"(?P<commit>[0-9a-f]{40,64}) \d+ (?P<line>\d+)(?: \d+)?\Z")


class Entry(NamedTuple):
    """A file of a commit: its mode and blob as git gives them; `size` is -1 where the blob is missing."""

    path: bytes
    mode: str
    blob: str
    size: int


@dataclass(frozen=True, slots=True)
class BlameLine:
    """Who wrote a line last: the commit's id, its author, time (seconds since 1970) and first line.

    `commit` is empty for a line that is not committed.
    """

    line: int
    commit: str
    author: str
    time: int
    summary: str


def top_of(folder: Path) -> Path | None:
    """The folder with `.git` that holds this one, or a bare repository itself; None where there is none."""
    for place in (folder, *folder.parents):
        if (place / ".git").exists():
            return place
    is_bare = (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()
    return folder if is_bare else None


def directory_of(top: Path) -> Path:
    """The repository of a folder, absolute, a linked worktree's or a submodule's own too.

    Raises InputError where there is none, or one that does not know the folder.
    """
    pointer = top / ".git"
    if pointer.is_symlink() or not pointer.is_file():
        return repository_of(top)
    said = pointer.read_text("utf-8", "replace").removeprefix("gitdir:").strip()
    found = (top / said).resolve()
    if not (_is_worktree(found, pointer) or _is_submodule(found, top)):
        raise InputError(f"{pointer} names a repository that does not know this folder", "give a whole clone")
    return found


def _is_worktree(found: Path, pointer: Path) -> bool:
    """Whether the repository says itself that this is a worktree of it."""
    back = found / "gitdir"
    if not back.is_file() or found.parent.name != "worktrees":
        return False
    repository_of(found.parent.parent)
    return (found / back.read_text("utf-8", "replace").strip()).resolve() == pointer.resolve()


def _is_submodule(found: Path, top: Path) -> bool:
    """Whether it lies among the modules of a repository around the folder."""
    around = (parent / ".git" / "modules" for parent in top.parents)
    return (found / "HEAD").is_file() and any(found.is_relative_to(place.resolve()) for place in around)


def commit_of(repository: Path, named: str) -> tuple[str, str]:
    """Ids of the commit of that name and of its tree; raises InputError for a name that is none."""
    if not named or named.startswith("-") or "\n" in named or "\0" in named:
        raise InputError(f"{named!r} names no commit", "give a branch, a tag or a commit's id")
    asked = ("rev-parse", "--verify", "--quiet", "--end-of-options")
    ids = []
    for kind in ("commit", "tree"):
        done = _run(command(repository, *asked, f"{named}^{{{kind}}}"))
        if done.returncode or not done.stdout.strip():
            raise InputError(
                f"{repository}: no commit {named!r} with all its objects",
                _why(done, "see `git log` for commits"),
            )
        ids.append(done.stdout.decode().split()[-1])
    return ids[0], ids[1]


def files_of(repository: Path, commit: str, *paths: str) -> list[Entry]:
    """Every file of a commit (or those of the paths), links and submodules among them.

    Raises InputError where trees are missing.
    """
    asked = ("ls-tree", "-r", "-z", "-l", "--full-tree", commit, "--", *paths)
    done = _run(command(repository, *asked))
    if done.returncode:
        raise InputError(
            f"{repository}: git cannot list {commit[:12]}",
            _why(done, "fetch what is missing, or name another"),
        )
    return [_entry(row) for row in done.stdout.split(b"\0") if row]


def _entry(row: bytes) -> Entry:
    head, _, path = row.partition(b"\t")
    mode, _, blob, size = head.decode("ascii", "replace").split()
    return Entry(path, mode, blob, int(size) if size.isdigit() else -1)


def blobs(repository: Path, wanted: Iterable[str]) -> Iterator[bytes | None]:
    """The bytes of each blob in turn, None for one that is missing or broken."""
    asked = command(repository, "cat-file", "--batch")
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, env=environment()
        ) as running,
    ):
        assert running.stdin is not None and running.stdout is not None
        try:
            for blob in wanted:
                yield _blob(blob, running.stdin, running.stdout)
        finally:
            running.kill()


def _blob(blob: str, asking: IO[bytes], answers: IO[bytes]) -> bytes | None:
    try:
        asking.write(f"{blob}\n".encode())
        asking.flush()
    except BrokenPipeError:  # git gave up at a broken object before this one
        return None
    head = answers.readline().split()
    if len(head) != 3 or head[1] != b"blob":
        return None
    data = answers.read(int(head[2]))
    return data if answers.read(1) == b"\n" else None


def blame(repository: Path, commit: str, path: str, first: int, last: int) -> tuple[BlameLine, ...]:
    """Who wrote lines `first` to `last` (from 1) of a file as a commit has it.

    Raises InputError where git cannot say: a file or lines that the commit has not, objects missing.
    """
    asked = ("blame", "--no-textconv", "--porcelain", "-L", f"{first},{last}", commit, "--", path)
    done = _run(command(repository, *asked))
    if done.returncode:
        raise InputError(f"{path}: git cannot blame its lines", _why(done, "fetch the whole history"))
    return tuple(_blamed(done.stdout.decode("utf-8", "replace")))


def _blamed(said: str) -> Iterator[BlameLine]:
    known: dict[str, dict[str, str]] = {}
    at, line = "", 0
    for row in said.split("\n"):
        if head := _BLAME.match(row):
            at, line = head["commit"], int(head["line"])
        elif row.startswith("\t"):
            about = known.get(at, {})
            time = about.get("author-time", "0")
            yield BlameLine(line, at, about.get("author", ""), int(time), about.get("summary", ""))
        elif at:
            key, _, value = row.partition(" ")
            known.setdefault(at, {}).setdefault(key, value)


def _run(asked: list[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(asked, capture_output=True, env=environment(), timeout=_SECONDS)
    except OSError as error:
        raise InputError(f"git cannot be run ({error.strerror})", "install git") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"git did not answer in {_SECONDS} s", "check the repository's settings") from None


def _why(done: subprocess.CompletedProcess[bytes], otherwise: str) -> str:
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"git says: {said[-1]}" if said else otherwise
