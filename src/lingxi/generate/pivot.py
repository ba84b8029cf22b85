"""Translations that nobody made: two texts that were translated into the same English say the same.

The two stand in one group (a message, a sentence) and have the same English beside them, but for case.
Rows of one group lie far apart in a file, so they are sorted on disk first, by a hash of their group that the
seed draws: in memory is one group at a time. In that order each pair of languages takes the first `cap` rows,
so what is taken does not depend on the order of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import combinations, groupby
from typing import NamedTuple

from lingxi.collect.instructions import PARALLEL
from lingxi.collect.origin import Origin, pair
from lingxi.generate.ordered import ordered
from lingxi.generate.settings import PivotSettings
from lingxi.records import Pair, digest, drawn

_ENGLISH = "en"


class Side(NamedTuple):
    """One text with its English: a row of a file, as it is sorted."""

    lot: int
    group: str
    english: str
    language: str
    text: str
    source: str
    licence: str


def pivot(rows: Iterable[Pair], settings: PivotSettings) -> Iterator[Pair]:
    """X → Y rows from the X → English and Y → English rows among `rows`; other rows count for nothing."""
    wanted = {language for both in settings.pairs for language in both}
    sides = (side for row in rows for side in _sides(row, settings.seed, wanted))
    taken: Counter[tuple[str, str]] = Counter()
    for _, same in groupby(map(Side._make, ordered(sides)), key=lambda side: (side.group, side.english)):
        for one, other in combinations(list(same), 2):
            yield from _joined(one, other, settings, taken)


def _sides(row: Pair, seed: int, wanted: set[str]) -> Iterator[Side]:
    """What a row gives, if it is a translation into English from a language that is wanted."""
    if row.task != "bitext" or row.document_language != _ENGLISH or row.query_language == _ENGLISH:
        return
    if row.dropped is not None or (wanted and row.query_language not in wanted):
        return
    # A lot of 63 bits: the integers of what sorts them have a sign.
    lot = drawn(seed, row.group) >> 1
    for item in row.positives:
        english = " ".join(item.text.casefold().split())
        yield Side(lot, row.group, english, row.query_language, row.query, row.source, row.licence)


def _joined(
    one: Side, other: Side, settings: PivotSettings, taken: Counter[tuple[str, str]]
) -> Iterator[Pair]:
    """The row of two sides, if it is wanted, drawn, and its pair of languages has room."""
    both = (one.language, other.language) if one.language < other.language else (other.language, one.language)
    if one.language == other.language or taken[both] >= settings.cap:
        return
    ways = [(a, b) for a, b in ((one, other), (other, one)) if (a.language, b.language) in settings.pairs]
    if settings.pairs and not ways:
        return
    lot = drawn(settings.seed, digest(one.group, *both, one.text, other.text))
    # The low bit says which way, the others whether at all.
    if (lot >> 1) >= settings.share * 2**63:
        return
    taken[both] += 1
    asking, answering = ways[lot % len(ways)] if ways else ((one, other) if lot & 1 else (other, one))
    yield _row(asking, answering)


def _row(one: Side, other: Side) -> Pair:
    origin = Origin(_both(one.source, other.source), _both(one.licence, other.licence))
    key = digest(one.group, one.language, one.text, other.language, other.text)
    return pair(
        origin, key, one.group, one.text, other.text,
        task="bitext", instruction=PARALLEL, languages=(one.language, other.language),
    )  # fmt: skip


def _both(one: str, other: str) -> str:
    return one if one == other else " / ".join(sorted((one, other)))
