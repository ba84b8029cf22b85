"""What an answer is made of: statements, the places they cite, and what it cost to find them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

How = Literal["llm", "extract", "none"]
NOT_HERE = "not in these documents"


@dataclass(frozen=True, slots=True)
class Citation:
    """The passage behind `[number]`: the sentence of it that supports the statement best.

    `place` is where to look (`path:line`), lines count from 1; `score` is the probability, by the
    calibration, that the sentence supports the statement, and `verified` whether it is high enough.
    """

    number: int
    path: str
    first_line: int
    last_line: int
    place: str
    sentence: str
    score: float
    verified: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence of an answer with its citations; a `withheld` one says why, and is not shown."""

    text: str
    citations: tuple[Citation, ...]
    withheld: str = ""


@dataclass(frozen=True, slots=True)
class Reranking:
    """How many pairs of question and passage a full reranking judges, and how many were judged."""

    pairs: int = 0
    judged: int = 0

    @property
    def saved(self) -> float:
        """Share of the pairs that was not judged, 0 where there was nothing to judge."""
        return 1 - self.judged / self.pairs if self.pairs else 0.0


@dataclass(frozen=True, slots=True)
class Flag:
    """A line of a passage that reads as an order to the model: left out, never cited."""

    place: str
    rule: str
    line: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, or a refusal.

    `text` is what to show, numbers of `citations` in brackets. `asked` is the question that was searched
    for (rewritten in a conversation). `sure` is the probability that the passages answer it, `threshold`
    the least that is answered. `how` names who wrote the answer. `withheld` are sentences of the model that
    no passage supports, `removed` counts citations that were wrong, `steps` says what was done, in words.
    """

    question: str
    asked: str
    text: str
    refused: bool
    how: How
    sure: float
    threshold: float
    citations: tuple[Citation, ...] = ()
    withheld: tuple[Statement, ...] = ()
    removed: int = 0
    flagged: tuple[Flag, ...] = ()
    reranking: Reranking = Reranking()
    steps: tuple[str, ...] = ()
    seconds: float = 0.0
