"""What the applications' pages show: answers with links to their passages, code with its lines, pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lingxi.apps.align import Alignment
from lingxi.apps.code import CodeHit
from lingxi.apps.served.aligning import told
from lingxi.apps.served.asking import Answered
from lingxi.serve.pages.passages import Passage, passages

# Lines of a unit that are shown before it is opened, and of the unit at most.
_BEFORE, _AFTER, _WHOLE, _LONGEST = 2, 6, 400, 400
MOST_PAIRS = 200
_CITED = re.compile(r"\[(\d+)\]")

Piece = tuple[str, int | None]


def pieces(said: str, known: frozenset[int] | None = None) -> Iterator[Piece]:
    """A statement as texts and, in their place, the numbers of citations (of those known, where given)."""
    at = 0
    for match in _CITED.finditer(said):
        number = int(match[1][:4])
        if known is None or number in known:
            yield said[at : match.start()].rstrip(), None
            yield match[0], number
            at = match.end()
    if said[at:]:
        yield said[at:], None


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer as the page shows it: its pieces, passages by number, and figures in hundredths."""

    pieces: tuple[Piece, ...]
    passages: tuple[Passage, ...]
    refused: bool
    how: str
    asked: str
    rewritten: bool
    sure: int
    threshold: int
    judged: int
    pairs: int
    saved: int
    withheld: int
    removed: int
    flagged: tuple[Any, ...]
    failed: bool
    ms: int


def shown(found: Answered, ms: int) -> Shown:
    """An answer as the page shows it."""
    answer = found.answer
    numbers = sorted(found.passages)
    rows = passages([found.passages[number] for number in numbers])
    return Shown(
        pieces=tuple(pieces(answer.text, frozenset(numbers))),
        passages=tuple(replace(row, number=n) for row, n in zip(rows, numbers, strict=True)),
        refused=answer.refused,
        how=answer.how,
        asked=answer.asked,
        rewritten=answer.asked != answer.question.strip(),
        sure=round(100 * answer.sure),
        threshold=round(100 * answer.threshold),
        judged=answer.reranking.judged,
        pairs=answer.reranking.pairs,
        saved=round(100 * answer.reranking.saved),
        withheld=len(answer.withheld),
        removed=answer.removed,
        flagged=answer.flagged,
        failed=any(step.startswith("the language model did not answer") for step in answer.steps),
        ms=ms,
    )


@dataclass(frozen=True, slots=True)
class Line:
    """A line of code by its number; `here` is the one to look at."""

    number: int
    text: str
    here: bool


@dataclass(frozen=True, slots=True)
class Unit:
    """A hit of code: its place in parts, and lines (`excerpt` of all `lines`)."""

    number: int
    place: str
    folder: str
    file: str
    name: str
    language: str
    excerpt: tuple[Line, ...]
    lines: tuple[Line, ...]
    is_cut: bool


def units(hits: Sequence[CodeHit]) -> list[Unit]:
    """Hits as the page shows them, in their order."""
    return [_unit(number, hit) for number, hit in enumerate(hits, 1)]


def _unit(number: int, hit: CodeHit) -> Unit:
    rows = hit.text.split("\n")
    lines = tuple(
        Line(n, row if len(row) <= _LONGEST else row[:_LONGEST] + "…", n == hit.line)
        for n, row in enumerate(rows, hit.first_line)
    )
    at = hit.line - hit.first_line
    folder, _, file = hit.place.rpartition("/")
    return Unit(
        number,
        hit.place,
        f"{folder}/" if folder else "",
        file,
        hit.name,
        hit.language,
        lines[max(0, at - _BEFORE) : at + _AFTER],
        lines[:_WHOLE],
        len(lines) > _WHOLE,
    )


def pairs(found: Alignment, least: int) -> tuple[list[dict[str, Any]], int]:
    """The first matches of at least a confidence in hundredths, and how many there are."""
    kept = told(found, least / 100)
    return kept[:MOST_PAIRS], len(kept)
