"""One question, from the search to a verified answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from lingxi.apps.ask.adaptive import Rule, reranked
from lingxi.apps.ask.calibration import Calibration, shipped
from lingxi.apps.ask.evidence import Evidence, Weights, evidence
from lingxi.apps.ask.extract import extracted
from lingxi.apps.ask.llm import Says
from lingxi.apps.ask.prompt import Guarded, guarded, messages
from lingxi.apps.ask.records import NOT_HERE, Answer, Citation, Reranking, Statement
from lingxi.apps.ask.settings import AskSettings
from lingxi.apps.ask.signals import features
from lingxi.apps.ask.verify import Verifier, in_sentences, refused, uncited
from lingxi.asking import NoAnswerError
from lingxi.errors import InputError
from lingxi.index import Hit
from lingxi.index.build import Embeds
from lingxi.index.search import Ranks

# A question is a question, not a document: more is a mistake, or an attack.
LONGEST_QUESTION = 4000
Shows = Callable[[str], None]


class Searches(Protocol):
    """What is asked of an index."""

    def search(
        self,
        query: str,
        top_k: int = 10,
        instruction: str | None = None,
        rerank: bool = True,
        below: Sequence[str | Path] = (),
        *,
        mark: bool = True,
    ) -> list[Hit]:
        """The best passages, best first."""


@dataclass(slots=True)
class _Found:
    """What is known before an answer is written."""

    question: str
    hits: list[Hit]
    passages: list[Guarded]
    evidence: list[Evidence]
    weights: Weights
    sure: float
    reranking: Reranking
    steps: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Written:
    """Statements as they come, shown as they pass."""

    show: Shows
    kept: list[Statement] = field(default_factory=list)
    withheld: list[Statement] = field(default_factory=list)
    removed: int = 0

    def take(self, statement: Statement, cited: int) -> None:
        if statement.withheld:
            self.withheld.append(statement)
            self.removed += cited
            return
        self.removed += max(0, cited - len(statement.citations))
        self.show(("" if not self.kept else " ") + shown(statement))
        self.kept.append(statement)


def ask(
    index: Searches,
    question: str,
    *,
    embedder: Embeds,
    reranker: Ranks | None = None,
    llm: Says | None = None,
    settings: AskSettings = AskSettings(),
    calibration: Calibration | None = None,
    below: Sequence[str | Path] = (),
    show: Shows = lambda text: None,
) -> Answer:
    """Answer a question from the passages of an index, every statement with a verified citation.

    `embedder` is the index's; `llm` writes the answer (`llm.opened`), without one the best sentences are the
    answer; where it fails, they are too, and `steps` says so. `show` gets each statement as soon as it is
    verified. `calibration` defaults to the shipped one. Raises InputError for an empty or endless question.
    """
    began = time.monotonic()
    asked = checked_question(question)
    scale = calibration or shipped(embedder.fingerprint())
    found = _found(index, asked, embedder, reranker, settings, scale, below)
    threshold = scale.sure.threshold if settings.threshold is None else settings.threshold
    base = Answer(question, asked, NOT_HERE, True, "none", found.sure, threshold)
    if found.sure < threshold or not found.evidence:
        found.steps.append("refused: the passages do not answer it surely enough")
        answer = base
    elif llm is None:
        answer = _extract(base, found, settings, show)
    else:
        answer = _by_llm(base, found, embedder, llm, settings, scale, show)
    return replace(
        answer,
        flagged=tuple(flag for passage in found.passages for flag in passage.flags()),
        reranking=found.reranking,
        steps=tuple(found.steps),
        seconds=round(time.monotonic() - began, 3),
    )


def checked_question(question: str) -> str:
    """The question without white space around it; raises InputError where it is none."""
    if not isinstance(question, str) or not any(map(str.isalnum, question)):
        raise InputError("the question is empty", "ask in words")
    if len(question) > LONGEST_QUESTION:
        raise InputError(
            f"the question has {len(question):,} characters", f"ask in at most {LONGEST_QUESTION:,}"
        )
    return question.strip()


def shown(statement: Statement) -> str:
    """A statement with the numbers of its citations."""
    return statement.text + "".join(f" [{citation.number}]" for citation in statement.citations)


def _found(
    index: Searches,
    question: str,
    embedder: Embeds,
    reranker: Ranks | None,
    settings: AskSettings,
    scale: Calibration,
    below: Sequence[str | Path],
) -> _Found:
    """Search, rerank, and how sure it is that the answer is there."""
    # The whole pool even without a reranker: how rare a word is, is counted in it.
    depth = max(settings.pool, settings.passages)
    hits = index.search(question, top_k=depth, rerank=False, below=below, mark=False)
    pool = hits
    steps = [f"found {len(hits)} passages"]
    reranking = Reranking()
    if reranker is not None and hits:
        margin = scale.margin if settings.rerank == "adaptive" else None
        rule = Rule(margin, settings.confidence, settings.piece, settings.blend)
        hits, reranking, said = reranked(reranker, question, hits, rule)
        steps.append(said)
    passages = guarded(hits[: settings.passages], settings.defences)
    weights = Weights([hit.text for hit in pool])
    kept = _evidence(embedder, question, passages, weights)
    chosen = [passage.hit for passage in passages]
    sure = float(scale.sure.of(features(question, chosen, kept, weights))[0]) if chosen else 0.0
    return _Found(question, hits, passages, kept, weights, sure, reranking, steps)


def _evidence(
    embedder: Embeds, question: str, passages: Sequence[Guarded], weights: Weights
) -> list[Evidence]:
    flagged = [(number, span) for number, p in enumerate(passages) for span, _ in p.orders]
    found = evidence(embedder, question, [p.hit for p in passages], weights)
    return [
        item
        for item in found
        if not any(
            item.passage == number
            and item.start < p.hit.start + span.end
            and p.hit.start + span.start < item.end
            for number, span in flagged
            for p in (passages[number],)
        )
    ]


def _extract(base: Answer, found: _Found, settings: AskSettings, show: Shows) -> Answer:
    statements = extracted(found.passages, found.evidence, settings.sentences)
    found.steps.append(f"answered by the best {len(statements)} sentences")
    text = " ".join(shown(statement) for statement in statements)
    show(text)
    return replace(base, text=text, refused=False, how="extract", citations=_citations(statements))


def _by_llm(
    base: Answer,
    found: _Found,
    embedder: Embeds,
    llm: Says,
    settings: AskSettings,
    scale: Calibration,
    show: Shows,
) -> Answer:
    """The model's answer as far as it holds; the best sentences where the model fails."""
    written = _Written(show)
    verifier = Verifier(
        embedder,
        found.question,
        found.passages,
        found.evidence,
        found.weights,
        scale.support,
        settings.relevance,
    )
    try:
        pieces = llm(messages(found.question, found.passages, settings.defences))
        says_no = _write(written, verifier.verified if settings.defences else verifier.trusted, pieces)
    except NoAnswerError as problem:
        found.steps.append(f"the model failed: {problem.reason}; {problem.remedy}")
        if not written.kept:
            return _extract(base, found, settings, show)
        says_no = False
    answer = replace(base, withheld=tuple(written.withheld), removed=written.removed)
    if written.kept:
        found.steps.append(
            f"{len(written.kept)} statements of the model hold, {len(written.withheld)} withheld"
        )
        text = " ".join(shown(statement) for statement in written.kept)
        return replace(answer, text=text, refused=False, how="llm", citations=_citations(written.kept))
    if says_no:
        found.steps.append("refused: the model finds no answer in the passages")
        return answer
    found.steps.append("nothing the model said is supported")
    return _extract(answer, found, settings, show)


def _write(written: _Written, judge: Callable[[str], Statement], pieces: Iterable[str]) -> bool:
    """Take a model's sentences one by one; returns whether it says that there is no answer."""
    for said in in_sentences(pieces):
        if refused(said):
            return True
        written.take(judge(said), len(uncited(said)[1]))
    return False


def _citations(statements: Sequence[Statement]) -> tuple[Citation, ...]:
    return tuple(dict.fromkeys(c for statement in statements for c in statement.citations))
