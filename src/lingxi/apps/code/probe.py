"""Questions that a repository asks about itself: what its own comments say of functions, then hidden.

A function is asked for by the first sentence of its doc comment; one without, by a comment in it of four
words or more. What the question was taken from is taken out of the function, so that only an understanding
of the code, or words in common with it, can find it again. (Names were tried too, masked where they stand:
they ask for so little in words that they would have vectors count ten times what other questions do.)
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lingxi.apps.code.build import split_path
from lingxi.apps.code.query import read_query
from lingxi.apps.code.units import Unit, split_title
from lingxi.index.store import Row
from lingxi.parse.code import LANGUAGES
from lingxi.parse.documented import documented, summary_of

# Four words, or as many ideographs as are about four.
_SAYS = re.compile(r"\S+(?:\s+\S+){3}|(?:[\u3040-\u30ff\u3400-\u9fff][^\w]*){7}")
_FEWEST_LINES = 3
# Without one there is no docstring, and nothing to parse for.
_QUOTED = re.compile(r"\"\"\"|'''")
_HASHES = ("python", "ruby", "bash")
_DASHES = ("sql", "lua")


@dataclass(frozen=True, slots=True)
class Probe:
    """A question, the row of the function that it is about, and that function without what was asked."""

    query: str
    row: Row
    hidden: Unit


def probes(rows: Sequence[Row], most: int, seed: int = 0) -> list[Probe]:
    """At most so many questions for rows of the store, the better kinds first; the same ones each time."""
    named = [row for row in rows if split_title(row["title"])[1]]
    random.Random(seed).shuffle(named)
    out: list[Probe] = []
    seen: set[str] = set()
    for kind in (_by_summary, _by_comment):
        for row in named:
            if len(out) == most:
                return out
            if row["key"] not in seen and (made := kind(row)) and read_query(made.query).kind == "words":
                seen.add(row["key"])
                out.append(made)
    return out


def _by_summary(row: Row) -> Probe | None:
    language = split_path(row["path"])[0]
    if language not in LANGUAGES or (language == "python" and not _QUOTED.search(row["text"])):
        return None
    found = next(documented(row["text"], language), None)
    if found is None or found.name != _own(row):
        return None
    sentence = found.summary.split(". ")[0].strip()
    return _probe(sentence, row, found.code)


def _by_comment(row: Row) -> Probe | None:
    language = split_path(row["path"])[0]
    mark = "#" if language in _HASHES else "--" if language in _DASHES else "//"
    lines = row["text"].split("\n")
    alone = [i for i, line in enumerate(lines) if line.lstrip().startswith(mark)]
    best = max(alone, key=lambda i: len(lines[i].split()), default=None)
    if best is None:
        return None
    said = summary_of(lines[best].strip().lstrip(f"{mark}!").strip(), language)
    return _probe(said, row, "\n".join(lines[:best] + lines[best + 1 :]))


def _probe(said: str, row: Row, text: str) -> Probe | None:
    if not _SAYS.search(said) or text.count("\n") + 1 < _FEWEST_LINES:
        return None
    return Probe(said, row, Unit(0, len(text), 1, 1 + text.count("\n"), row["title"], text))


def _own(row: Row) -> str:
    return re.split(r"\.|::", split_title(row["title"])[1])[-1]
