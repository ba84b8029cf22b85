"""Questions to the index that is served: whom to ask, what may be said of how it went."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lingxi.apps.ask import Answer, Calibration, Conversation, opened, read_calibration
from lingxi.apps.ask.calibration import shipped
from lingxi.apps.ask.llm import Says
from lingxi.apps.ask.prompt import Messages
from lingxi.apps.served.settings import AskApp
from lingxi.asking import NoAnswerError
from lingxi.index import Hit, Index
from lingxi.index.build import Embeds
from lingxi.index.search import Ranks

LOG = logging.getLogger("lingxi.serve")
# What a failing language model's words may hold, its address for one, is for the operator.
_FAILED = ("the model failed", "rewriting failed")
_SAID = "the language model did not answer; "


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier question, and what was searched for then."""

    question: str
    asked: str


@dataclass(frozen=True, slots=True)
class Question:
    """What a person asks; `below` are paths as hits show them."""

    question: str
    turns: tuple[Turn, ...] = ()
    below: tuple[str, ...] = ()
    rerank: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and the passage of each citation, by its number, with the cited sentence marked."""

    answer: Answer
    passages: dict[int, Hit]


@dataclass(frozen=True, slots=True)
class Asker:
    """The application, opened: an index, the thresholds of its embedder, and who writes, if anyone."""

    index: Index
    app: AskApp
    calibration: Calibration
    llm: Says | None = None

    def answer(
        self,
        asked: Question,
        embedder: Embeds,
        reranker: Ranks | None,
        show: Callable[[str], None] = lambda text: None,
        is_over: Callable[[], bool] = lambda: False,
    ) -> Answered:
        """Answer by faces of the index's model; `is_over` ends the writing of an answer nobody waits for.

        Raises InputError for a question that is none, and a path that the index does not hold.
        """
        seen = _Seen(self.index, embedder)
        talk = Conversation(tuple(map(_answer_of, asked.turns)))
        _, answer = talk.asked(
            seen,
            asked.question,
            embedder=embedder,
            reranker=reranker,
            llm=_ending(self.llm, is_over) if self.llm else None,
            settings=self.app.answers,
            calibration=self.calibration,
            below=asked.below,
            show=show,
        )
        answer = replace(answer, steps=tuple(map(_plain, answer.steps)))
        return Answered(answer, _cited(answer, seen.hits))


def open_asker(app: AskApp, index: Index, fingerprint: dict[str, str | int]) -> Asker:
    """The application over an index; raises InputError for a calibration or key file that cannot be used."""
    scale = read_calibration(app.calibration) if app.calibration else shipped(fingerprint)
    return Asker(index, app, scale, opened(app.llm) if app.llm else None)


@dataclass(slots=True)
class _Seen:
    """An index searched by a face of its model, and the hits it gave."""

    index: Index
    embedder: Embeds
    hits: list[Hit] = field(default_factory=list)

    def search(
        self,
        query: str,
        top_k: int = 10,
        instruction: str | None = None,
        rerank: bool = True,
        below: Sequence[str | Path] = (),
        mark: bool = True,
    ) -> list[Hit]:
        """As the index does; reranking is left to who asks."""
        options: dict[str, Any] = {"top_k": top_k, "instruction": instruction, "mark": mark}
        self.hits = self.index.search_as(
            self.embedder, None, query, below=[str(path) for path in below], **options
        )
        return self.hits


def _answer_of(turn: Turn) -> Answer:
    return Answer(turn.question, turn.asked, "", True, "none", 0.0, 0.0)


def _ending(llm: Says, is_over: Callable[[], bool]) -> Says:
    def said(messages: Messages) -> Iterator[str]:
        for piece in llm(messages):
            if is_over():
                raise NoAnswerError("nobody waits for the answer", "ask again")
            yield piece

    return said


def _plain(step: str) -> str:
    """A step for whoever asks: without what a failing server said."""
    if not step.startswith(_FAILED):
        return step
    LOG.warning("ask: %s", step[:300])
    carried = (
        "the question before was carried over" if step.startswith(_FAILED[1]) else "the best sentences stand"
    )
    return _SAID + carried


def _cited(answer: Answer, hits: Sequence[Hit]) -> dict[int, Hit]:
    """The first cited sentence of each passage is marked in it."""
    places = {(hit.path, hit.first_line, hit.last_line, hit.start): hit for hit in hits}
    found: dict[int, Hit] = {}
    for citation in answer.citations:
        same = [
            hit
            for (path, first, last, _), hit in places.items()
            if (path, first, last) == (citation.path, citation.first_line, citation.last_line)
        ]
        holding = [hit for hit in same if citation.sentence in hit.text] or same
        if holding and citation.number not in found:
            found[citation.number] = _marked(holding[0], citation.sentence)
    return found


def _marked(hit: Hit, sentence: str) -> Hit:
    at = hit.text.find(sentence) if sentence else -1
    return hit if at < 0 else replace(hit, sentence=(hit.start + at, hit.start + at + len(sentence)))
