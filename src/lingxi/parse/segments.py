"""A document's segments: the passages that are embedded and found, each an exact span of the text.

Markdown is cut by heading, code by definition (a class that is too long by its methods), anything else by
sentence. Together the segments hold every word of the text, in order, none twice.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

from lingxi.parse import Content, Definition, Section, Span, definitions, lines, sections, sentences

# Largest segment in UTF-8 bytes: a byte-level tokenizer makes a token of about four bytes of English and
# of three bytes of Chinese or Thai, so bytes weigh all scripts alike. Prose: about 250 tokens.
PROSE_BYTES = 1000
CODE_BYTES = 1600


@dataclass(frozen=True, slots=True)
class Segment:
    """`content.text[start:end] == text`; lines count from 1, of the file as opened (pages, for a PDF).

    `title` says where it stands: the path of headings, or the qualified name of the definition.
    """

    start: int
    end: int
    first_line: int
    last_line: int
    title: str
    text: str

    def for_embedding(self) -> str:
        """The text with its title above, where the text does not begin with it anyway."""
        return self.text if self.title in self.text[:200] else f"{self.title}\n{self.text}"


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    end: int
    title: str = ""


def segments(content: Content) -> list[Segment]:
    """Cut a document; an empty list for a text of white space alone."""
    text = content.text
    pieces = [p for p in (_trim(text, piece) for piece in _pieces(content)) if p.start < p.end]
    newlines = list(accumulate((len(line) + 1 for line in text.split("\n")), initial=0))

    def line(offset: int) -> int:
        number = bisect_right(newlines, offset)
        return content.places[number - 1] if content.places else number

    return [
        Segment(p.start, p.end, line(p.start), line(p.end - 1), p.title, text[p.start : p.end])
        for p in _with_words(text, pieces)
    ]


def _pieces(content: Content) -> Iterable[_Piece]:
    text = content.text
    if content.kind == "code" and content.language:
        return _code(text, 0, len(text), definitions(text, content.language), "")
    if content.kind in ("markdown", "html"):
        return _prose(text, sections(text))
    if content.kind == "rst":
        return _prose(text, sections(text, "rst"))
    return pack(text, sentences(text), PROSE_BYTES)


def _prose(text: str, found: list[Section]) -> Iterator[_Piece]:
    waiting = None
    for section in found:
        start = section.start if waiting is None else waiting
        is_bare = not text[section.body : section.end].strip()
        waiting = start if is_bare and section is not found[-1] else None
        if waiting is None:
            for piece in _fit_prose(text, start, section.end):
                yield replace(piece, title=section.title)


def _fit_prose(text: str, start: int, end: int) -> list[_Piece]:
    if not _exceeds(text, start, end, PROSE_BYTES):
        return [_Piece(start, end)]
    return pack(text, sentences(text, start, end), PROSE_BYTES)


def _code(text: str, start: int, end: int, found: tuple[Definition, ...], title: str) -> Iterator[_Piece]:
    at = start
    for definition in found:
        begin = _line_start(text, at, definition.start)
        yield from _gap(text, at, begin, title)
        name = f"{title}.{definition.name}" if title and definition.name else definition.name or title
        if _exceeds(text, begin, definition.end, CODE_BYTES):
            yield from _code(text, begin, definition.end, definition.members, name)
        else:
            yield _Piece(begin, definition.end, name)
        at = definition.end
    yield from _gap(text, at, end, title)


def _gap(text: str, start: int, end: int, title: str) -> Iterator[_Piece]:
    """Code between definitions, or a definition without members that is too long: by its lines."""
    for piece in pack(text, lines(text, start, end), CODE_BYTES):
        yield replace(piece, title=title)


def pack(text: str, spans: list[Span], budget: int) -> list[_Piece]:
    """Join neighbouring spans into pieces of at most `budget` bytes, from half of it on at a blank line."""
    out: list[_Piece] = []
    for span in (part for whole in spans for part in _cut(text, whole, budget)):
        last = out[-1] if out else None
        if (
            last is None
            or _exceeds(text, last.start, span.end, budget)
            or _is_good_end(text, last, span, budget)
        ):
            out.append(_Piece(*span))
        else:
            out[-1] = _Piece(last.start, span.end)
    return out


def _is_good_end(text: str, last: _Piece, span: Span, budget: int) -> bool:
    between = text[last.end : span.start]
    if "\f" in text[last.end - 1 : span.start]:
        return True
    return between.count("\n") > 1 and _exceeds(text, last.start, last.end, budget // 2)


def _cut(text: str, span: Span, budget: int) -> Iterator[Span]:
    """Cut a span that is too long at white space, or else between two characters (never before a mark)."""
    start = span.start
    while _exceeds(text, start, span.end, budget):
        room = len(text[start : start + budget].encode("utf-8")[:budget].decode("utf-8", "ignore"))
        end = start + room
        space = max(text.rfind(blank, start + room // 2, end) for blank in " \n\t")
        while space < 0 and end > start + 1 and unicodedata.category(text[end])[0] == "M":
            end -= 1
        yield Span(start, space if space > start else end)
        start = space if space > start else end
    yield Span(start, span.end)


def _with_words(text: str, pieces: list[_Piece]) -> list[_Piece]:
    """Pieces without a word (a closing brace, a rule) joined to the one before, or to the one after."""
    out: list[_Piece] = []
    for piece in pieces:
        if out and not _has_word(text, piece):
            out[-1] = replace(out[-1], end=piece.end)
        elif out and not _has_word(text, out[-1]):
            out[-1] = replace(piece, start=out[-1].start)
        else:
            out.append(piece)
    return out


def _has_word(text: str, piece: _Piece) -> bool:
    return any(map(str.isalnum, text[piece.start : piece.end]))


def _trim(text: str, piece: _Piece) -> _Piece:
    """Without blank lines around it and space behind it; the indentation of its first line stays."""
    inner = text[piece.start : piece.end]
    blank = len(inner) - len(inner.lstrip())
    start = _line_start(text, piece.start, piece.start + blank)
    return replace(piece, start=start, end=max(start, piece.start + len(inner.rstrip())))


def _line_start(text: str, least: int, offset: int) -> int:
    """Where the line of `offset` begins, if only white space lies between, and not before `least`."""
    start = max(least, text.rfind("\n", 0, offset) + 1)
    return start if not text[start:offset].strip() else offset


def _exceeds(text: str, start: int, end: int, budget: int) -> bool:
    """Whether a stretch has more UTF-8 bytes than the budget; long ones are not encoded to know it."""
    return end - start > budget or len(text[start:end].encode("utf-8")) > budget
