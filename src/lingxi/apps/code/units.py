"""A source file as units to find: each function, method and type with its comment, and code between them.

The text that is embedded is the unit's path and qualified name, then the beginning of the code itself
(comment, signature, body). A function that is too long is cut by lines, each part with path and name.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

from lingxi.parse import Definition, Span, definitions, lines
from lingxi.parse.code import LANGUAGES
from lingxi.parse.segments import CODE_BYTES, Segment, pack

# What stands between path and name in a title; no path of a source file that is indexed holds it.
_BETWEEN = "\t"
# Characters that are embedded: more of them take a third more time and find nothing better (docs/code.md).
_EMBEDDED = 700

# Lines that only say what else is needed.
_IMPORTS = re.compile(
    r"""\s*(?:(?:package|import|using|use|require|require_relative|namespace)\b|from\s+\S+\s+import\b
    |\#\s*include\b|export\s+\*|['"]use\ strict['"]|\)?;?\s*$)""",
    re.X,
)


class Unit(Segment):
    """A segment of code whose beginning is embedded."""

    __slots__ = ()

    def for_embedding(self) -> str:
        """Path, qualified name and code, up to 700 characters."""
        return f"{self.title}\n{self.text}"[:_EMBEDDED]


def units(text: str, language: str, path: str) -> list[Segment]:
    """The units of a file, in order, none over another; lines count from 1.

    A segment's title is the path and the qualified name (empty for code outside definitions): `split_title`.
    """
    found = definitions(text, language) if language in LANGUAGES else ()
    newlines = list(accumulate((len(line) + 1 for line in text.split("\n")), initial=0))
    out: list[Segment] = []
    for start, end, name in _pieces(text, 0, len(text), found, ""):
        start, end = _trimmed(text, start, end)
        if any(map(str.isalnum, text[start:end])) and (name or not _only_imports(text[start:end])):
            first, last = bisect_right(newlines, start), bisect_right(newlines, end - 1)
            out.append(Unit(start, end, first, last, f"{path}{_BETWEEN}{name}", text[start:end]))
    return out


def split_title(title: str) -> tuple[str, str]:
    """Path and qualified name of a unit's title."""
    path, _, name = title.rpartition(_BETWEEN)
    return path, name


def _pieces(
    text: str, start: int, end: int, found: tuple[Definition, ...], name: str
) -> Iterator[tuple[int, int, str]]:
    at = start
    for definition in found:
        begin = _line_start(text, at, definition.start)
        yield from _by_lines(text, at, begin, name)
        own = f"{name}.{definition.name}" if name and definition.name else definition.name or name
        yield from _defined(text, begin, definition, own)
        at = definition.end
    yield from _by_lines(text, at, end, name)


def _defined(text: str, begin: int, definition: Definition, name: str) -> Iterator[tuple[int, int, str]]:
    """A function whole, with what is nested in it; a type, or what is too long, by what it holds."""
    fits = len(text[begin : definition.end].encode("utf-8", "replace")) <= CODE_BYTES
    if fits and (definition.is_function or not definition.members):
        yield begin, definition.end, name
    else:
        yield from _pieces(text, begin, definition.end, definition.members, name)


def _by_lines(text: str, start: int, end: int, name: str) -> Iterator[tuple[int, int, str]]:
    spans: list[Span] = lines(text, start, end)
    for piece in pack(text, spans, CODE_BYTES):
        yield piece.start, piece.end, name


def _line_start(text: str, least: int, offset: int) -> int:
    """Where the line of an offset begins, if only white space lies between."""
    start = max(least, text.rfind("\n", 0, offset) + 1)
    return start if not text[start:offset].strip() else offset


def _only_imports(text: str) -> bool:
    return all(_IMPORTS.match(line) for line in text.split("\n"))


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without blank lines around; the indentation of the first line stays."""
    inner = text[start:end]
    first = start + len(inner) - len(inner.lstrip())
    return _line_start(text, start, first), start + len(inner.rstrip())
