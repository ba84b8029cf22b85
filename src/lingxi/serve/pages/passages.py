"""A hit as the page shows it: an excerpt, the best sentence marked, and why it stands where it does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lingxi.index.search import Hit
from lingxi.parse import kind_of

# So much of the prose around the sentence is shown, of the sentence and of all, in characters.
_AROUND = 220
_SENTENCE = 420
_WHOLE = 20_000
_LINES_AROUND = 2
# A line that was wrapped is long, and goes on with a word.
_WRAPPED = re.compile(r"(?<=[^\n]{60})\n(?=[\w(`\"'“*\[])")
_BLANK = re.compile(r"\s*\n\s*")
_SIGNALS = ("vector", "text", "rerank")


@dataclass(frozen=True, slots=True)
class Signal:
    """One reason: its value as shown, how long its bar is (0 to 100), its rank in that order (1 is best)."""

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
    """The hits as the page shows them, in their order."""
    most = max((hit.scores.get("text", 0.0) for hit in hits), default=0.0)
    return [
        _passage(number, hit, tuple(_signal(hit, name, most) for name in _SIGNALS))
        for number, hit in enumerate(hits, 1)
    ]


def _signal(hit: Hit, name: str, most: float) -> Signal:
    value = hit.scores.get(name)
    if value is None:
        return Signal(name, "", 0, None)
    # BM25 has no upper end: its bar is against the best passage shown.
    share = value / most if name == "text" and most > 0 else value
    shown = f"{value:.1f}" if name == "text" else f"{value:.3f}"
    return Signal(name, shown, round(100 * min(1.0, max(0.0, share))), hit.ranks.get(name))


def _passage(number: int, hit: Hit, signals: tuple[Signal, ...]) -> Passage:
    kind, language = kind_of(Path(hit.path))
    start, stop = (min(max(at - hit.start, 0), len(hit.text)) for at in hit.sentence)
    is_code = kind == "code"
    before, best, after = (_lines_around if is_code else _words_around)(hit.text, start, stop)
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
        best,
        after,
        whole,
        # Lines of extracted text are not lines of the file.
        None if kind in ("html", "pdf") else hit.first_line,
        len(hit.text) > _WHOLE,
        signals,
    )


def _words_around(text: str, start: int, stop: int) -> tuple[str, str, str]:
    """A span and the prose around it, cut at spaces where there are any."""
    before = _folded(text[max(0, start - _AROUND) : start])
    after = _folded(text[stop : stop + _AROUND])
    if start > _AROUND:
        before = "…" + (before.partition(" ")[2] or before)
    if stop + _AROUND < len(text):
        after = (after.rpartition(" ")[0] or after) + "…"
    return before, _folded(_short(text[start:stop], _SENTENCE)), after


def _folded(text: str) -> str:
    """Prose as running text: a line is joined with the next where it was wrapped, and blank lines go."""
    return _BLANK.sub("\n", _WRAPPED.sub(" ", text))


def _lines_around(text: str, start: int, stop: int) -> tuple[str, str, str]:
    """A span and the lines of code around it, each cut where it is huge, moved to the left."""
    before = text[:start].split("\n")
    after = text[stop:].split("\n")
    head = [_short(line) for line in before[-1 - _LINES_AROUND : -1]] + [before[-1][-_AROUND:]]
    tail = [_short(line) for line in after[: 1 + _LINES_AROUND]]
    while len(head) > 1 and not head[0].strip():
        head.pop(0)
    while len(tail) > 1 and not tail[-1].strip():
        tail.pop()
    return _dedented("\n".join(head), _short(text[start:stop], _SENTENCE), "\n".join(tail))


def _dedented(before: str, best: str, after: str) -> tuple[str, str, str]:
    lines = [line for line in (before + best + after).split("\n") if line.strip()]
    margin = min((len(line) - len(line.lstrip(" ")) for line in lines), default=0)
    first, later = re.compile(f"^ {{{margin}}}", re.M), re.compile(f"\n {{{margin}}}")
    return first.sub("", before), later.sub("\n", best), later.sub("\n", after)


def _short(text: str, most: int = _AROUND) -> str:
    return text if len(text) <= most else text[:most] + "…"


def _marked_lines(text: str, start: int, stop: int) -> tuple[tuple[str, str, str], ...]:
    """Each line as (before, marked, after) the span."""
    found, at = [], 0
    for line in text.split("\n"):
        first = min(max(start - at, 0), len(line))
        last = min(max(stop - at, first), len(line))
        found.append((line[:first], line[first:last], line[last:]))
        at += len(line) + 1
    return tuple(found)
