"""Where sentences and lines begin and end, in the punctuation of many scripts.

Latin, Cyrillic and Greek end with `. ! ?` and a space; Chinese and Japanese with `。！？` and no space;
Devanagari, Arabic, Ethiopic, Burmese, Khmer and Armenian have marks of their own; Thai and Lao write a
space where a clause ends and nothing else. Blank lines, page breaks and list items end a sentence anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """A stretch of a text: `text[start:end]`, in characters."""

    start: int
    end: int


_CLOSERS = "\"'”’»)\\]"
_BOUNDARY = re.compile(
    rf"(?P<stop>[.!?…]+[{_CLOSERS}]*(?=\s|$))"
    "|(?P<cjk>[。！？｡]+[」』”’）〕】》]*)"
    "|(?P<mark>[؟۔।॥။៕።։]+|។)"
    r"|(?P<hard>\n[^\S\n]*\n\s*|\f\s*|\n(?=[^\S\n]*(?:[-*+•|>]|\d{1,3}[.)])\s))"
    "|(?P<clause>(?<=[\u0e00-\u0eff])[ \u3000]+(?=\\S))"
)
# A clause of Thai shorter than this is joined with the next: its spaces also stand around numbers and names.
_SHORTEST_CLAUSE = 30
# Abbreviations that a capital letter follows without ending the sentence.
_ABBREVIATIONS = (
    "|mr|mrs|ms|dr|prof|st|vs|fig|figs|eq|no|nos|al|jr|sr|cf|vol|pp|ca|e.g|i.e|bzw|z.b|d.h|nr|sra|srta"
    "|г|ул|им|см|рис|"
)
_LAST_WORD = re.compile(r"[\w.]*$")


def sentences(text: str, start: int = 0, end: int | None = None) -> list[Span]:
    """Spans of the sentences of `text[start:end]`, in order, without the white space around them.

    Every character that is not white space is in exactly one span.
    """
    stop = len(text) if end is None else end
    found: list[Span] = []
    begin = start
    for match in _BOUNDARY.finditer(text, start, stop):
        if _ends(text, match, begin):
            _append(found, text, begin, match.end())
            begin = match.end()
    _append(found, text, begin, stop)
    return found


def lines(text: str, start: int = 0, end: int | None = None) -> list[Span]:
    """Spans of the lines of `text[start:end]` that hold more than white space, indentation included."""
    stop = len(text) if end is None else end
    return [span for span in _lines(text, start, stop) if text[span.start : span.end].strip()]


def trimmed(text: str, start: int, end: int) -> Span:
    """The span without the white space around it (empty where there is nothing else)."""
    inner = text[start:end]
    left = start + len(inner) - len(inner.lstrip())
    return Span(left, max(left, start + len(inner.rstrip())))


def _lines(text: str, start: int, stop: int) -> Iterator[Span]:
    while start < stop:
        newline = text.find("\n", start, stop)
        end = stop if newline < 0 else newline
        yield Span(start, start + len(text[start:end].rstrip()))
        start = end + 1


def _append(found: list[Span], text: str, start: int, end: int) -> None:
    span = trimmed(text, start, end)
    if span.start < span.end:
        found.append(span)


def _ends(text: str, match: re.Match[str], begin: int) -> bool:
    if match.lastgroup == "clause":
        return match.start() - begin >= _SHORTEST_CLAUSE
    if match.lastgroup != "stop" or not match.group().startswith(".") or len(match.group()) > 1:
        return True
    return not _goes_on(text, match, begin)


def _goes_on(text: str, match: re.Match[str], begin: int) -> bool:
    """Whether a single full stop is part of an abbreviation, an initial or a list number."""
    following = text[match.end() : match.end() + 3].strip()[:1]
    if following.islower():
        return True
    found = _LAST_WORD.search(text, max(begin, match.start() - 12), match.start())
    word = found.group() if found else ""
    is_list_number = word.isdigit() and not text[begin : match.start() - len(word)].strip()
    is_initial = len(word) == 1 and word.isupper()
    return is_list_number or is_initial or f"|{word.lower()}|" in _ABBREVIATIONS
