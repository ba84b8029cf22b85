"""A hit as the page shows it: an excerpt, the best sentence marked, and why it stands where it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lingxi.index.search import Hit
from lingxi.parse import kind_of

# A word longer than this is data; prose around the sentence is shown up to so many characters.
_AROUND = 220
_SENTENCE = 900
_WHOLE = 20_000
_LINES_AROUND = 2
_SIGNALS = ("vector", "text", "rerank")


@dataclass(frozen=True, slots=True)
class Signal:
    """One reason: its value as shown, how long its bar is (0 to 100), its rank among the hits shown."""

    name: str
    value: str
    share: int
    rank: int | None


@dataclass(frozen=True, slots=True)
class Passage:
    """One hit: where, the marked excerpt (before, best, after) and the numbered lines of all of it."""

    number: int
    place: str
    folder: str
    file: str
    kind: str
    language: str
    is_code: bool
    before: str
    best: str
    after: str
    lines: tuple[tuple[str, str, str], ...]
    first_line: int | None
    is_cut: bool
    signals: tuple[Signal, ...]


def passages(hits: Sequence[Hit]) -> list[Passage]:
    """The hits as the page shows them, in their order; ranks are among these hits."""
    ranks = {name: _ranks([hit.scores.get(name) for hit in hits]) for name in _SIGNALS}
    most = max((hit.scores.get("text", 0.0) for hit in hits), default=0.0)
    return [
        _passage(number, hit, tuple(_signal(hit, name, ranks[name][number - 1], most) for name in _SIGNALS))
        for number, hit in enumerate(hits, 1)
    ]


def _ranks(values: Sequence[float | None]) -> list[int | None]:
    known = sorted((value for value in values if value is not None), reverse=True)
    return [None if value is None else known.index(value) + 1 for value in values]


def _signal(hit: Hit, name: str, rank: int | None, most: float) -> Signal:
    value = hit.scores.get(name)
    if value is None:
        return Signal(name, "", 0, None)
    # BM25 has no upper end: its bar is against the best passage shown.
    share = value / most if name == "text" and most > 0 else value
    shown = f"{value:.1f}" if name == "text" else f"{value:.3f}"
    return Signal(name, shown, round(100 * min(1.0, max(0.0, share))), rank)


def _passage(number: int, hit: Hit, signals: tuple[Signal, ...]) -> Passage:
    kind, language = kind_of(Path(hit.path))
    start, stop = (min(max(at - hit.start, 0), len(hit.text)) for at in hit.sentence)
    is_code = kind == "code"
    before, after = (_lines_around if is_code else _words_around)(hit.text, start, stop)
    best = hit.text[start:stop]
    whole = _marked_lines(hit.text[:_WHOLE], start, stop)
    folder, _, file = hit.place.rpartition("/")
    return Passage(
        number,
        hit.place,
        folder + "/" if folder else "",
        file,
        kind,
        language or "",
        is_code,
        before,
        best if len(best) <= _SENTENCE else best[:_SENTENCE] + "…",
        after,
        whole,
        # Lines of extracted text are not lines of the file.
        None if kind in ("html", "pdf") else hit.first_line,
        len(hit.text) > _WHOLE,
        signals,
    )


def _words_around(text: str, start: int, stop: int) -> tuple[str, str]:
    """The prose around a span, cut at spaces where there are any."""
    before = " ".join(text[max(0, start - _AROUND) : start].split())
    after = " ".join(text[stop : stop + _AROUND].split())
    if start > _AROUND:
        before = "…" + (before.partition(" ")[2] or before)
    if stop + _AROUND < len(text):
        after = (after.rpartition(" ")[0] or after) + "…"
    glue = " " if text[start - 1 : start].isspace() else ""
    return before + (glue if before else ""), (" " if text[stop : stop + 1].isspace() else "") + after


def _lines_around(text: str, start: int, stop: int) -> tuple[str, str]:
    """The lines of code around a span, whole ones, each cut where it is huge."""
    before = text[:start].split("\n")
    after = text[stop:].split("\n")
    head = [_short(line) for line in before[-1 - _LINES_AROUND : -1]] + [before[-1][-_AROUND:]]
    tail = [_short(line) for line in after[: 1 + _LINES_AROUND]]
    while len(head) > 1 and not head[0].strip():
        head.pop(0)
    while len(tail) > 1 and not tail[-1].strip():
        tail.pop()
    return "\n".join(head), "\n".join(tail)


def _short(line: str) -> str:
    return line if len(line) <= _AROUND else line[:_AROUND] + "…"


def _marked_lines(text: str, start: int, stop: int) -> tuple[tuple[str, str, str], ...]:
    """Each line as (before, marked, after) the span."""
    found, at = [], 0
    for line in text.split("\n"):
        first = min(max(start - at, 0), len(line))
        last = min(max(stop - at, first), len(line))
        found.append((line[:first], line[first:last], line[last:]))
        at += len(line) + 1
    return tuple(found)
