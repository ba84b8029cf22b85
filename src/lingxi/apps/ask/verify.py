"""Statements held against the passages they cite: what nothing supports is not shown.

A sentence of a passage supports a statement by cosine and by shared words (`Calibration.support`), or by
standing in it word for word; if it has to do with the question, if every number of the statement is in
sentences that have, and if the statement has no word of the passage that only others have: so nothing can
ride along with a true answer. Orders are no evidence (they were taken out before), and links are cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lingxi.apps.ask.calibration import Logistic
from lingxi.apps.ask.evidence import Evidence, Weights
from lingxi.apps.ask.orders import order
from lingxi.apps.ask.plain import visible
from lingxi.apps.ask.prompt import REFUSAL, Guarded
from lingxi.apps.ask.records import Citation, Statement
from lingxi.evaluate.lexical import words
from lingxi.index.build import Embeds
from lingxi.inputs import texts_alone
from lingxi.parse import sentences

_CITED = re.compile(
    r"\s*[\[【（(]\s*(?:passages?\s*)?(\d{1,3}(?:\s*[,，、;]\s*\d{1,3})*)\s*[\]】）)]", re.IGNORECASE
)
_LEAD = re.compile(rf"(?:{_CITED.pattern})+", re.IGNORECASE)
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)?|<img\b[^>]*>?", re.IGNORECASE)
_LINKED = re.compile(r"\[([^\]]*)\]\(([^)]*)\)?")
_URL = re.compile(r"(?:https?|ftp|data|javascript|mailto|file):\S+|www\.\S+|\S+@[\w-]+\.\w+", re.IGNORECASE)
_NUMBERS = re.compile(r"\d+(?:[.,:]\d+)*")
_REFUSED = re.compile(rf"{REFUSAL}|\bnot in (these|the) (documents|passages)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Verifier:
    """What verification needs: the passages, their sentences that may be cited, and the scale of support.

    `relevance` is the least part of the best sentence's score that a sentence needs to bear on the question.
    """

    embedder: Embeds
    question: str
    passages: Sequence[Guarded]
    evidence: Sequence[Evidence]
    weights: Weights
    support: Logistic
    relevance: float

    def verified(self, said: str) -> Statement:
        """A sentence of a model as a statement with the citations that hold, or withheld with the reason."""
        text, cited = uncited(said)
        text = unlinked(visible(text))
        if not any(map(str.isalnum, text)):
            return Statement(text, (), "says nothing")
        if order(text):
            return Statement(text, (), "reads as an order")
        scored = self._scored(text)
        known = [n for n in cited if 1 <= n <= len(self.passages)]
        found = [self._citation(n, text, scored) for n in known]
        if not any(c.verified for c in found) and (best := self._best(text, scored)):
            found.append(best)
        wrong = len(cited) - len(known)
        right = tuple(c for c in found if c.verified)
        return Statement(text, right or tuple(found), "" if right else _reason(cited, wrong))

    def trusted(self, said: str) -> Statement:
        """A sentence as the model said it, unverified: only to measure what verification does."""
        text, cited = uncited(said)
        known = [n for n in cited if 1 <= n <= len(self.passages)]
        return Statement(text, tuple(cited_at(n, self.passages[n - 1], None, 0.0, False) for n in known))

    def _scored(self, text: str) -> list[float]:
        """Probability of each sentence of evidence that it supports the text."""
        if not self.evidence:
            return []
        vectors = texts_alone(self.embedder).encode_document(
            [text, *(item.text for item in self.evidence)], show_progress_bar=False
        )
        cosines = np.asarray(vectors[1:], np.float32) @ np.asarray(vectors[0], np.float32)
        rows = [
            [float(cosine), self.weights.coverage(text, item.text)]
            for cosine, item in zip(cosines, self.evidence, strict=True)
        ]
        chances = self.support.of(rows)
        # What stands there word for word needs no scale.
        chances[[_letters(text) in _letters(item.text) for item in self.evidence]] = 1.0
        least = self._least()
        return [
            float(chance) if item.score >= least else 0.0
            for chance, item in zip(chances, self.evidence, strict=True)
        ]

    def _citation(self, number: int, text: str, scored: Sequence[float]) -> Citation:
        own = [i for i, item in enumerate(self.evidence) if item.passage == number - 1]
        best = max(own, key=lambda i: scored[i], default=None)
        passage = self.passages[number - 1]
        item = self.evidence[best] if best is not None else None
        score = scored[best] if best is not None else 0.0
        held = score >= self.support.threshold and self._fits(text, own)
        return cited_at(number, passage, item, score, held)

    def _fits(self, text: str, own: Sequence[int]) -> bool:
        """Whether numbers and words of a statement come from sentences that have to do with the question."""
        near = [self.evidence[i].text for i in own if self.evidence[i].score >= self._least()]
        known = {word for said in (*near, self.question) for word in words(said)}
        riders = {word for i in own for word in words(self.evidence[i].text)} - known
        return numbers_held(text, " ".join((*near, self.question))) and not riders & set(words(text))

    def _least(self) -> float:
        return self.relevance * max(item.score for item in self.evidence)

    def _best(self, text: str, scored: Sequence[float]) -> Citation | None:
        """The citation that the model did not give: of the sentence that supports best, if any does."""
        if not scored:
            return None
        best = self._citation(self.evidence[int(np.argmax(scored))].passage + 1, text, scored)
        return best if best.verified else None


def cited_at(number: int, passage: Guarded, item: Evidence | None, score: float, held: bool) -> Citation:
    """The citation of a sentence of passage `number` (of none: of the passage)."""
    hit = passage.hit if item is None else replace(passage.hit, sentence=(item.start, item.end))
    said = "" if item is None else visible(item.text)
    return Citation(number, hit.path, hit.first_line, hit.last_line, hit.place, said, score, held)


def numbers_held(statement: str, passage: str) -> bool:
    """Whether every number of a statement stands in the passage."""
    there = {_bare(n) for n in _NUMBERS.findall(passage)}
    return all(_bare(n) in there for n in _NUMBERS.findall(statement))


def uncited(said: str) -> tuple[str, list[int]]:
    """A sentence without its citations, and their numbers in order."""
    numbers = [int(n) for match in _CITED.finditer(said) for n in re.findall(r"\d+", match.group(1))]
    return _CITED.sub("", said).strip(), list(dict.fromkeys(numbers))


def unlinked(text: str) -> str:
    """Text without pictures and addresses: a link may carry away what was asked. Its words stay."""
    bare = _LINKED.sub(r"\1", _IMAGE.sub("", text))
    return " ".join(_URL.sub("", bare).split())


def refused(said: str) -> bool:
    """Whether a model says that the passages hold no answer."""
    return _REFUSED.search(said) is not None


def in_sentences(pieces: Iterable[str]) -> Iterator[str]:
    """Whole sentences of a text that comes in pieces, each with its citations, as soon as it has ended.

    What a model thinks aloud between `<think>` and `</think>` is not part of its answer.
    """
    held = ""
    for piece in pieces:
        done, held = _ended(_unthought(held + piece))
        yield from done
    if not held.startswith("<think>"):
        yield from _whole(held)


def _ended(held: str) -> tuple[list[str], str]:
    """Sentences that have ended, and what may go on: citations may come behind a full stop."""
    spans = [] if held.startswith("<think>") else sentences(held)
    if len(spans) < 2:
        return [], held
    last = spans[-1].start
    lead = _LEAD.match(held, last)
    open_still = held[last] in "[【" and (lead is None or lead.end() == len(held))
    if open_still:
        return [], held
    cut = lead.end() if lead else last
    return list(_whole(held[:cut])), held[cut:]


def _whole(text: str) -> Iterator[str]:
    """Sentences with the citations that a full stop cut off them."""
    said: list[str] = []
    for start, end in sentences(text):
        part = text[start:end]
        lead = _LEAD.match(part)
        if lead and said:
            said[-1] += " " + lead.group().strip()
            part = part[lead.end() :]
        if part.strip(" .。"):
            said.append(part.strip())
    yield from said


def _unthought(text: str) -> str:
    return re.sub(r"<think>.*?</think>", "", text.lstrip(), flags=re.DOTALL).lstrip()


def _letters(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


def _bare(number: str) -> str:
    return re.sub(r"[.,:]", "", number)


def _reason(cited: Sequence[int], wrong: int) -> str:
    if not cited:
        return "no passage supports it"
    return (
        "cites a passage that does not exist" if wrong == len(cited) else "its citation does not support it"
    )
