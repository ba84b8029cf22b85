"""From a file's bytes to text and its parts, every part an exact span of the text.

Comes in: the bytes of one file. Goes out: `Content` (decoded text, its kind, where its lines stand in the
file) and spans of it: sections of Markdown, definitions of code, sentences of prose. A span is a pair of
character offsets, and `text[span.start:span.end]` is what it names; nothing here rewrites text.
"""

from lingxi.parse.code import Definition, definitions
from lingxi.parse.files import Content, Skip, decode, kind_of, size_limit
from lingxi.parse.headings import Section, sections
from lingxi.parse.sentences import Span, lines, sentences

__all__ = [
    "Content",
    "Definition",
    "Section",
    "Skip",
    "Span",
    "decode",
    "definitions",
    "kind_of",
    "lines",
    "sections",
    "sentences",
    "size_limit",
]
