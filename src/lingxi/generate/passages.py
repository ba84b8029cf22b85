"""A document as passages: its parts under their headings, its paragraphs of prose, lengths that mean the same
in every language.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from lingxi import languages
from lingxi.parse.headings import HOLLOW, sections
from lingxi.parse.sentences import sentences
from lingxi.records import Document

# ISO 639 for a language that nobody stated.
UNKNOWN = "und"
# Dense scripts say in one character what others say in 2.5, as `languages.weighted_length` counts.
_DENSITY = 2.5
# A bracket ends where the next one begins, so that many without an end cost no more than their number.
_LINK = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\n]*\)")
_FENCED = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.S | re.M)
_BLANK = re.compile(r"\n[ \t]*\n")
# Tables, quotations, lists, markup, indented code, pictures.
_NO_PROSE = re.compile(r"\s*(?:[|>#<=]|[-*+]\s|\d+[.)]\s|!\[)| {4}|\t")


@dataclass(frozen=True, slots=True)
class Part:
    """The text below one heading; `path` is its headings, outermost first, without the name of the page."""

    path: tuple[str, ...]
    body: str

    @property
    def heading(self) -> str:
        """The innermost heading; empty for what stands before the first."""
        return self.path[-1] if self.path else ""


@lru_cache(maxsize=2)
def parts(document: Document) -> tuple[Part, ...]:
    """The parts of a document that hold text, in order; those that every page has (references) left out."""
    own = {title_of(document), _first_heading(document.text)}
    found = []
    for section in sections(document.text):
        path = tuple(name for name in map(plain, section.title.split(" > ")) if name)
        path = path[1:] if path and path[0] in own else path
        body = document.text[section.body : section.end].strip()
        if body and not any(name.casefold() in HOLLOW for name in path):
            found.append(Part(path, body))
    return tuple(found)


def title_of(document: Document) -> str:
    """The title of a document, or its first heading where that is of the first level; else empty."""
    return plain(document.title or "") or _first_heading(document.text)


def language_of(document: Document) -> str:
    """Our code of a document's language; `und` where none is stated."""
    return languages.normalise(document.language) if document.language else UNKNOWN


def plain(heading: str) -> str:
    """A heading without the links and marks of Markdown, on one line."""
    return " ".join(_LINK.sub(r"\1", heading).replace("**", "").replace("`", "").split())


def paragraphs(text: str) -> list[str]:
    """The paragraphs of prose of a Markdown text: no headings, lists, tables, quotations or code."""
    blocks = _BLANK.split(_FENCED.sub("\n\n", text))
    return [block.strip() for block in blocks if block.strip() and not _NO_PROSE.match(block.lstrip("\n"))]


def fits(text: str, least: int, code: str) -> bool:
    """Whether a text in a language has at least `least` characters, of which ideographs count 2.5."""
    return len(text) >= _room(least, code)


def within(text: str, most: int, code: str) -> bool:
    """Whether a text in a language has at most `most` characters, counted as `fits` does."""
    return len(text) <= _room(most, code)


def clipped(text: str, most: int, code: str) -> str:
    """The beginning of a text, at most `most` characters as `fits` counts, up to a sentence or word."""
    room = _room(most, code)
    if len(text) <= room:
        return text
    # The last sentence of the window goes on behind it.
    ends = [span.end for span in sentences(text, 0, room)][:-1]
    if ends and ends[-1] * 2 >= room:
        return text[: ends[-1]]
    spaced = max(text.rfind(" ", 0, room + 1), text.rfind("\n", 0, room + 1))
    return text[: spaced if spaced * 2 >= room else room].rstrip()


def _room(length: int, code: str) -> int:
    return int(length / _DENSITY) if languages.script(code) in languages.DENSE_SCRIPTS else length


def _first_heading(text: str) -> str:
    """The heading of the first level with which a text begins; empty where it begins otherwise."""
    found = re.match(r"\s*# +([^\n]+?)[ \t#]*\n|\s*([^\n#][^\n]*)\n=+[ \t]*\n", text)
    return plain(found[1] or found[2]) if found else ""
