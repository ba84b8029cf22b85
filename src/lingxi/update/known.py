"""Texts of documents by the names that feedback has for them: an id of the queue, or `path:line` of a hit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from lingxi.index.store import LanceStore
from lingxi.records import digest
from lingxi.update.inbox import SPOOL


def texts_of(home: Path, index: Path) -> Callable[[str], str | None]:
    """A function from a name to the passage that the index holds under it, None where it holds none."""
    store = LanceStore(index, None)
    known = store.files()

    @cache
    def rows(path: str) -> list[tuple[int, int, str]]:
        return [(row["first_line"], row["last_line"], row["text"]) for row in store.rows([path])]

    def text(name: str) -> str | None:
        spooled = str((home / SPOOL / f"{digest(name)}.md").resolve())
        if spooled in known:
            return "\n".join(part for _, _, part in rows(spooled)) or None
        path, _, line = name.rpartition(":")
        place = str(Path(path).resolve()) if path else ""
        if place not in known or not line.isdecimal():
            return None
        return next((part for first, last, part in rows(place) if first <= int(line) <= last), None)

    return text
