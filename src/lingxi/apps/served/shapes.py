"""What the applications' tools give, as models that JSON schemas are made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from lingxi.apps.align import Alignment
from lingxi.apps.code import CodeAnswer
from lingxi.apps.served.asking import Answered
from lingxi.serve.mcp_shapes import NOTICE, Notice


class TurnBefore(BaseModel):
    """An earlier question, and what was searched for then (`asked` of its answer)."""

    question: str = Field(max_length=4000)
    asked: str = Field(max_length=4000)


class Cited(BaseModel):
    """The passage behind `[number]`: `sentence` of `source` supports the statement."""

    number: int
    source: str
    first_line: int
    last_line: int
    sentence: str
    passage: str


class Asked(BaseModel):
    """An answer with numbers of citations in brackets, or a refusal; `sure` is a probability."""

    notice: Notice = NOTICE
    answer: str
    refused: bool
    asked: str
    sure: float
    citations: list[Cited]
    reranked: int = Field(description="Passages that a reranker judged.")
    saved: float = Field(description="Share of the passages that it did not have to judge.")


class CodePlace(BaseModel):
    """A function, type or piece of code: lines of a file, `line` is the one to look at."""

    source: str
    line: int
    column: int
    first_line: int
    last_line: int
    name: str
    language: str
    score: float
    text: str


class CodePlaces(BaseModel):
    """Places in code, best first; `kind` is what the query was taken for."""

    notice: Notice = NOTICE
    kind: str
    hits: list[CodePlace]


class Neighbours(BaseModel):
    """A neighbour of the left entity that is matched with one of the right."""

    left_relation: str
    left: str
    right_relation: str
    right: str


class Pair(BaseModel):
    """Two entities held to be the same: ids, names, how sure, how alike the names, what neighbours agree."""

    left: str
    right: str
    left_name: str
    right_name: str
    confidence: float
    text: float
    mutual: bool
    neighbours: list[Neighbours]


class Pairs(BaseModel):
    """Pairs by falling confidence, which `calibration` has the source of; `notes` say what was left out."""

    notice: Notice = NOTICE
    calibration: str
    notes: list[str]
    pairs: list[Pair]


def answer_shape(found: Answered) -> Asked:
    """An answer as it is given."""
    answer = found.answer
    return Asked(
        answer=answer.text,
        refused=answer.refused,
        asked=answer.asked,
        sure=answer.sure,
        citations=[
            Cited(
                number=one.number,
                source=one.path,
                first_line=one.first_line,
                last_line=one.last_line,
                sentence=one.sentence,
                passage=found.passages[one.number].text if one.number in found.passages else "",
            )
            for one in answer.citations
        ],
        reranked=answer.reranking.judged,
        saved=answer.reranking.saved,
    )


def code_shape(found: CodeAnswer) -> CodePlaces:
    """Places in code as they are given."""
    names = ("line", "column", "first_line", "last_line", "name", "language", "score", "text")
    hits = [CodePlace(source=hit.path, **{name: getattr(hit, name) for name in names}) for hit in found.hits]
    return CodePlaces(kind=found.kind, hits=hits)


def pairs_shape(found: Alignment, matches: list[dict[str, Any]]) -> Pairs:
    """Pairs as they are given."""
    notes = [note for graph in (found.left, found.right) for note in graph.notes]
    return Pairs(
        calibration=found.calibration, notes=notes, pairs=[Pair.model_validate(match) for match in matches]
    )
