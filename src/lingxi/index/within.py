"""Where in an index to look: below folders, and among files of some kinds or programming languages.

What a file is, is read off its name, as when it was indexed; a script without an ending counts as text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lingxi.errors import InputError
from lingxi.parse.files import KINDS, LANGUAGES, suffixes_of


@dataclass(frozen=True, slots=True)
class Within:
    """Files below one of `below` (absolute paths), of one of `kinds` and `languages`; none means any.

    Raises InputError for a kind or language there is not.
    """

    below: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what, given, known in (("kind", self.kinds, KINDS), ("language", self.languages, LANGUAGES)):
            for name in given:
                if name not in known:
                    raise InputError(f"no {what} of files {name!r}", f"choose from: {', '.join(known)}")

    def clause(self) -> str | None:
        """The condition in the store's SQL, or None where it holds for every file."""
        parts = [" OR ".join(below(path) for path in self.below)] if self.below else []
        parts += [_of(self.kinds)] if self.kinds else []
        parts += [_of(self.languages)] if self.languages else []
        return " AND ".join(f"({part})" for part in parts) or None


def below(path: str) -> str:
    """The condition that a row's path is `path` or lies in it."""
    return f"(path = {quoted(path)} OR starts_with(path, {quoted(path.rstrip('/') + '/')}))"


def quoted(text: str) -> str:
    """A text as a literal of the store's SQL."""
    return "'" + text.replace("'", "''") + "'"


def _of(names: Iterable[str]) -> str:
    return " OR ".join(map(_one, names))


def _one(name: str) -> str:
    if name == "text":  # whatever no other kind claims
        others = [ending for kind in KINDS if kind != "text" for ending in suffixes_of(kind)]
        return f"NOT ({_ends(others)})"
    return _ends(suffixes_of(name))


def _ends(endings: Iterable[str]) -> str:
    return " OR ".join(f"ends_with(lower(path), {quoted(ending)})" for ending in endings)
