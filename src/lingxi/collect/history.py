"""Commits of a git repository: the message asks for the change, as a diff without its index lines.

Merges, first commits, binary and large changes are left out, and changes that touch no source code. Nothing
that the repository's own settings name is run: no hooks, no external diffs, no fetching of what is missing.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lingxi.collect.git import command, environment, repository_of
from lingxi.collect.instructions import CHANGE
from lingxi.collect.origin import Origin, pair
from lingxi.errors import InputError
from lingxi.parse import kind_of
from lingxi.records import Pair, digest

MOST_COMMITS = 10_000
_MOST_FILES, _MOST_DIFF = 3, 6000
_LEAST_WORDS, _LEAST_MESSAGE, _MOST_MESSAGE = 3, 15, 1500
# What is kept of one commit while it is read; a larger one is no row.
_MOST_BYTES = 64 * 1024
_LOG = (
    "log",
    "--no-merges",
    f"--max-count={MOST_COMMITS}",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-show-signature",
    "--no-notes",
    "--no-mailmap",
    "--ignore-submodules",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--unified=3",
    "--format=%x00%H%n%B%x00",
    "--patch",
)
_KEY = r"(?:[A-Za-z]+(?:-[A-Za-z]+)+|cc|fixes|closes|resolves|refs?|bug|link|issue|url|pr)"
_TRAILER = re.compile(rf"{_KEY}(?: #|: ?)\S.*|\(cherry picked from .*\)", re.I)
_SIGNED = re.compile(r"^(?:[A-Za-z-]+-by|cc|change-id|git-svn-id): .*$\n?", re.I | re.M)
_FILE = re.compile(r"^diff --git a/.* b/(.*)$", re.M)
_NOISE = re.compile(r"^(?:diff --git |index |similarity index |old mode |new mode ).*\n", re.M)


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit: its hash, its whole message, and its change as git writes it."""

    key: str
    message: str
    diff: str


def read_history(folder: Path, origin: Origin) -> Iterator[Pair]:
    """Stream the pairs of a repository's commits, newest first.

    Raises InputError for a folder that is no repository, or one that git cannot read.
    """
    for commit in commits(folder):
        said, change = message_of(commit.message), _NOISE.sub("", commit.diff).strip("\n")
        language = _language(commit.diff)
        if language and _fits(said, change):
            group = f"{origin.source}:{commit.key}"
            both = (origin.language or "en", language)
            key = digest(group, said, change)
            yield pair(origin, key, group, said, change, task="code", instruction=CHANGE, languages=both)


def commits(folder: Path) -> Iterator[Commit]:
    """Stream the commits of a repository that are no merges, with what they change, in bounded memory.

    Raises InputError as `read_history`.
    """
    asked = command(repository_of(folder), *_LOG)
    # Complaints go to a file: a pipe that nobody empties would stop git.
    with tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=complaints, env=environment()) as running:
            assert running.stdout is not None
            # Who reads no further than a cap closes the pipe, and git ends.
            yield from _parsed(running.stdout)
        complaints.seek(0)
        detail = complaints.read(4096).decode("utf-8", "replace").strip()
    if running.returncode:
        reason = f"git cannot read the history of {folder} ({detail or 'it gives no reason'})"
        raise InputError(reason, "check that it is a whole repository of your own")


def message_of(message: str) -> str:
    """The first line of a message and its body, without the trailers at its end, paragraphs joined."""
    paragraphs = [part.strip() for part in re.split(r"\n[ \t]*\n", message.strip())]
    while len(paragraphs) > 1 and all(
        _TRAILER.fullmatch(line.strip()) for line in paragraphs[-1].splitlines()
    ):
        paragraphs.pop()
    kept = [_SIGNED.sub("", f"{part}\n").strip() for part in paragraphs]
    return "\n\n".join(part for part in kept if part)


def _parsed(stream: IO[bytes]) -> Iterator[Commit]:
    """Commits begin with a zero byte and their hash, and a second zero byte ends the message."""
    held, size = bytearray(), 0
    while line := stream.readline(_MOST_BYTES):
        if re.match(rb"\0[0-9a-f]{40}", line):
            yield from _commit(held, size)
            held, size = bytearray(), 0
        size += len(line)
        if size <= _MOST_BYTES:
            held += line
    yield from _commit(held, size)


def _commit(held: bytearray, size: int) -> Iterator[Commit]:
    head, _, diff = bytes(held[1:]).partition(b"\0")
    key, _, message = head.partition(b"\n")
    if not held or size > _MOST_BYTES or b"\0" in diff:
        return
    try:
        yield Commit(key.decode("ascii"), message.decode("utf-8"), diff.decode("utf-8"))
    except UnicodeDecodeError:
        return


def _language(diff: str) -> str | None:
    """The language of the first source file that a small change touches; None where it is none, or binary."""
    names = _FILE.findall(diff)
    if not 0 < len(names) <= _MOST_FILES or re.search(r"^(Binary files |GIT binary patch)", diff, re.M):
        return None
    kinds: Sequence[tuple[str, str | None]] = [kind_of(Path(name)) for name in names]
    return next((language for kind, language in kinds if kind == "code"), None)


def _fits(said: str, change: str) -> bool:
    return (
        len(said.split()) >= _LEAST_WORDS
        and _LEAST_MESSAGE <= len(said) <= _MOST_MESSAGE
        and len(change) <= _MOST_DIFF
        and "\n@@ " in change
    )
