"""From ranked rows to hits: one for each definition, the line to look at, what a trace names first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lingxi.apps.code.build import split_path
from lingxi.apps.code.frames import Framed
from lingxi.apps.code.git import BlameLine
from lingxi.apps.code.query import Asked
from lingxi.apps.code.rank import Candidate, Weights, words_of
from lingxi.apps.code.units import split_title
from lingxi.index.store import Row


@dataclass(frozen=True, slots=True)
class CodeHit:
    """A function, type or piece of code: `text` is lines `first_line` to `last_line` of `path` (from 1).

    `line` and `column` (from 1) are the place to look at. `name` is qualified, empty for code outside
    definitions. `score` orders the hits; `scores` holds what is known of `vector` (cosine), `text` (BM25),
    `name` (likeness, 0 to 1) and `trace` (the frame's number, 1 where it was raised). `blame` is who wrote
    its lines, where that was asked.
    """

    path: str
    line: int
    column: int
    first_line: int
    last_line: int
    name: str
    language: str
    text: str
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)
    blame: tuple[BlameLine, ...] = ()

    @property
    def place(self) -> str:
        """`path:line`, as editors open it."""
        return f"{self.path}:{self.line}"


def hits_of(
    asked: Asked, found: Sequence[Candidate], weights: Weights, framed: Sequence[Framed], top_k: int
) -> tuple[CodeHit, ...]:
    """The first `top_k` hits: what the frames of a trace name, then the candidates, none twice."""
    seen: set[str] = set()
    out: list[CodeHit] = []
    for hit, title in (*_of_frames(framed), *_of_candidates(asked, found, weights)):
        # Code outside definitions has one title a file: each piece of it is a hit of its own.
        key = title if split_title(title)[1] else f"{title}{hit.first_line}"
        if key not in seen:
            seen.add(key)
            out.append(hit)
        if len(out) == top_k:
            break
    return tuple(out)


def _of_frames(framed: Sequence[Framed]) -> Iterator[tuple[CodeHit, str]]:
    for number, place, row in framed:
        # Above all that is only alike, in the order of the frames.
        score = 10.0 + 1 / number
        yield _hit(row, place.line - row["first_line"], score, {"trace": float(number)}), row["title"]


def _of_candidates(
    asked: Asked, found: Sequence[Candidate], weights: Weights
) -> Iterator[tuple[CodeHit, str]]:
    for one in found:
        known = {"vector": one.cosine, "text": one.bm25, "name": one.name}
        scores = {name: float(value) for name, value in known.items() if value is not None}
        yield _hit(one.row, _line(asked, one.row), one.score(weights), scores), one.row["title"]


def _hit(row: Row, below: int, score: float, scores: Mapping[str, float]) -> CodeHit:
    language, path = split_path(row["path"])
    lines = row["text"].split("\n")
    line = lines[min(max(below, 0), len(lines) - 1)]
    return CodeHit(
        path,
        row["first_line"] + below,
        len(line) - len(line.lstrip()) + 1,
        row["first_line"],
        row["last_line"],
        split_title(row["title"])[1],
        language,
        row["text"],
        score,
        scores,
    )


def _line(asked: Asked, row: Row) -> int:
    """The line of a unit to look at: that of its name, or for code and errors the one most alike."""
    lines = row["text"].split("\n")
    own = re.split(r"\.|::", split_title(row["title"])[1])[-1]
    named = next((i for i, line in enumerate(lines) if own and re.search(rf"\b{re.escape(own)}\b", line)), 0)
    if asked.kind not in ("code", "error") and own:
        return named
    wanted = words_of(asked.text if asked.kind == "error" else asked.words)
    shared = [len(wanted & words_of(line)) for line in lines]
    return shared.index(max(shared)) if max(shared) else named
