"""Documents in segments of whole sentences, measured in tokens."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from lingxi.parse import Span, sentences
from lingxi.parse.sentences import trimmed

Offsets = Sequence[tuple[int, int]]


def pieces(text: str, offsets: Offsets, most: int) -> list[Span]:
    """Spans of at most `most` tokens that hold every word of a text, in order, cut between sentences.

    `offsets` are the tokens' places in the text. A sentence that is longer is cut between tokens, at white
    space where its last half has some.
    """
    starts = [start for start, _ in offsets]

    def count(start: int, stop: int) -> int:
        return bisect_left(starts, stop) - bisect_left(starts, start)

    out: list[Span] = []
    for whole in sentences(text):
        for part in _cut(text, whole, starts, most):
            if out and count(out[-1].start, part.end) <= most:
                out[-1] = Span(out[-1].start, part.end)
            elif text[part.start : part.end].strip():
                out.append(part)
    return [trimmed(text, *span) for span in out]


def _cut(text: str, span: Span, starts: Sequence[int], most: int) -> Iterator[Span]:
    start = span.start
    while (at := bisect_left(starts, start) + most) < len(starts) and starts[at] < span.end:
        stop = max(starts[at], start + 1)
        blank = max(text.rfind(space, (start + stop) // 2, stop) for space in " \n\t")
        stop = blank + 1 if blank > start else stop
        yield Span(start, stop)
        start = stop
    yield Span(start, span.end)
