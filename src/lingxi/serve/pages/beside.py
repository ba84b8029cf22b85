"""Pictures, pages and sound as the search page shows them: a row of each kind, thumbnails and players."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lingxi.index.media import KINDS, MediaHit


@dataclass(frozen=True, slots=True)
class Thing:
    """One of them: its key, where it is, and the cosine as shown."""

    key: str
    place: str
    folder: str
    file: str
    value: str


@dataclass(frozen=True, slots=True)
class Row:
    """Things of one kind, nearest first."""

    kind: str
    things: tuple[Thing, ...]


def rows(hits: Sequence[MediaHit]) -> list[Row]:
    """The rows of what was found; a kind of which there is nothing has none."""
    by_kind = {kind: tuple(_thing(hit) for hit in hits if hit.kind == kind) for kind in KINDS}
    return [Row(kind, things) for kind, things in by_kind.items() if things]


def _thing(hit: MediaHit) -> Thing:
    folder, _, file = hit.place.rpartition("/")
    return Thing(hit.key, hit.place, folder + "/" if folder else "", file, f"{hit.score:.3f}")
