"""What tells whether passages answer a question: twelve numbers, in no language's words.

Beside likeness and shared words, these ask what passages say that the question does not: where the answer is
there, passages that speak of the same thing agree on it; where it is not, each says something else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lingxi.apps.ask.evidence import Evidence, Weights, wants_number
from lingxi.evaluate.lexical import words
from lingxi.index import Hit

NAMES = (
    "cosine of the best sentence",
    "cosine of the best passage",
    "share of the question's words in the sentence that scores best",
    "the same in the best passage",
    "a number is asked for that this sentence lacks",
    "share of the question's pairs of words in the best passage",
    "a number of the question is in no sentence that has its words",
    "passages that tell the same new number",
    "words that the best sentences of the passages share beside the question's",
    "weight of the rarest new word that two of them share",
    "lead of the best passage in cosine",
    "lead of the best sentence in cosine",
)
_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")
# A sentence has a question's words if it has this part of what the best sentence has of them.
_MOSTLY, _LARGELY = 0.8, 0.7


def features(question: str, hits: Sequence[Hit], found: Sequence[Evidence], weights: Weights) -> list[float]:
    """The numbers of `NAMES`, which `Calibration.sure` weighs; all are 0 where there is no sentence."""
    if not found:
        return [0.0] * len(NAMES)
    best = max(found, key=lambda item: item.score)
    cosines = [hit.scores["vector"] for hit in hits if "vector" in hit.scores] or [best.cosine]
    asked = set(words(question))
    shared = _beside(found, asked)
    return [
        max(item.cosine for item in found),
        max(cosines),
        best.coverage,
        max(weights.coverage(question, hit.text) for hit in hits),
        float(wants_number(question) and not best.fits),
        max(_pairs_in(question, hit.text) for hit in hits),
        float(_number_is_missing(question, found)),
        _same_number(found, asked),
        _agreement(shared, weights),
        _rarest_shared(shared, weights),
        _lead(cosines),
        _lead([item.cosine for item in found]),
    ]


def _pairs_in(question: str, text: str) -> float:
    """Share of the pairs of neighbouring words of a question that a text has too."""
    wanted, there = (set(pairwise(said)) for said in (words(question), words(text)))
    return len(wanted & there) / max(1, len(wanted))


def _number_is_missing(question: str, found: Sequence[Evidence]) -> bool:
    wanted = _numbers(question)
    least = _MOSTLY * max(item.coverage for item in found)
    return bool(wanted) and not any(item.coverage > least and wanted <= _numbers(item.text) for item in found)


def _numbers(text: str) -> set[str]:
    return {number.replace(",", "") for number in _DIGITS.findall(text)}


def _same_number(found: Sequence[Evidence], asked: set[str]) -> float:
    """How much of the passages, by their share of the question's words, tells one number, 0 to 1."""
    told: dict[str, float] = {}
    for own in _by_passage(found):
        most = max(item.coverage for item in own)
        near = [item for item in own if item.coverage >= _LARGELY * most]
        fresh = {word for item in near for word in words(item.text)} - asked
        for word in filter(lambda word: any(map(str.isdigit, word)), fresh):
            told[word] = told.get(word, 0.0) + most
    return min(1.0, max(told.values(), default=0.0) / 5)


def _by_passage(found: Sequence[Evidence]) -> list[list[Evidence]]:
    numbers = sorted({item.passage for item in found})
    return [[item for item in found if item.passage == number] for number in numbers]


def _beside(found: Sequence[Evidence], asked: set[str]) -> list[set[str]]:
    """For each passage the words of its best sentence that are not the question's."""
    best = [max(own, key=lambda item: item.cosine + item.coverage) for own in _by_passage(found)]
    return [set(words(item.text)) - asked for item in best]


def _agreement(shared: Sequence[set[str]], weights: Weights) -> float:
    """The mean over pairs of passages of the weight they share, as a part of the lighter one's."""
    pairs = [(one, other) for i, one in enumerate(shared) for other in shared[:i]]
    parts = [
        weights.sum(one & other) / least
        for one, other in pairs
        if (least := min(weights.sum(one), weights.sum(other))) > 0
    ]
    return sum(parts) / len(pairs) if pairs else 0.0


def _rarest_shared(shared: Sequence[set[str]], weights: Weights) -> float:
    told = Counter(word for one in shared for word in one)
    return max((weights.of(word) for word, count in told.items() if count >= 2), default=0.0) / 10


def _lead(cosines: Sequence[float]) -> float:
    """The highest above the mean of the nine after it."""
    first, *rest = sorted(cosines, reverse=True)[:10]
    return first - float(np.mean(rest)) if rest else 0.0
