"""The units that the frames of a stack trace name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from lingxi.apps.code.build import LEFT_OUT, split_path
from lingxi.apps.code.query import Place
from lingxi.index.store import LanceStore, Row

# Of a long trace the first frames say most.
_MOST_FRAMES = 20


class Framed(NamedTuple):
    """A unit that frame `number` (1 where it was raised) of a trace names."""

    number: int
    place: Place
    row: Row


def rows_of_places(
    store: LanceStore, stored: Collection[str], places: Sequence[Place], below: Sequence[str]
) -> list[Framed]:
    """The unit of each frame whose file is indexed and has the line, where it was raised first."""
    inside = [one for one in stored if split_path(one)[0] != LEFT_OUT and _is_inside(one, below)]
    found: list[Framed] = []
    rows: dict[str, list[Row]] = {}
    for number, place in enumerate(places[:_MOST_FRAMES], 1):
        file = file_of(place.file, inside)
        if file is None:
            continue
        if file not in rows:
            rows[file] = store.rows([file])
        holding = [row for row in rows[file] if row["first_line"] <= place.line <= row["last_line"]]
        found += [Framed(number, place, row) for row in holding[:1]]
    return found


def file_of(written: str, stored: Collection[str]) -> str | None:
    """The indexed file that shares most of its path's end with a path as a trace writes it."""
    parts = [part for part in written.split("/") if part not in ("", ".", "..")]
    best: tuple[int, int, str] | None = None
    for one in stored:
        own = split_path(one)[1].split("/")
        shared = _shared_end(parts, own)
        # Of equals the one nearest to the top: less of its path is unexplained.
        if shared and (best is None or (shared, -len(own)) > best[:2]):
            best = (shared, -len(own), one)
    return best[2] if best else None


def _shared_end(left: Sequence[str], right: Sequence[str]) -> int:
    count = 0
    for a, b in zip(reversed(left), reversed(right), strict=False):
        if a != b:
            break
        count += 1
    return count


def _is_inside(stored: str, below: Sequence[str]) -> bool:
    return not below or any(stored == place or stored.startswith(f"{place}/") for place in below)
