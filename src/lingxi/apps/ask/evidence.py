"""Sentences of passages scored against a question or a statement, by cosine and by shared words.

Words are those of `evaluate.lexical` (ideographs in pairs); a word counts for as much as it is rare among the
passages found, so that what all of them say tells nothing. No list of stop words, so any language will do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lingxi.evaluate.lexical import words
from lingxi.index import Hit
from lingxi.index.build import Embeds
from lingxi.inputs import texts_alone
from lingxi.parse import Span, kind_of, lines, sentences

# Of a passage with more, those that share most words with the question are scored.
_MOST = 24
# Texts from which on rarity is taken as it is counted.
_ENOUGH = 20
_NUMBER = re.compile(
    r"\d|[一二三四五六七八九十百千万亿]|\b(one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|half|dozen|"
    r"twenty|thirty|forty|fifty|hundreds?|thousands?|millions?|billions?|once|twice|daily|weekly|monthly|yearly|"
    r"(mon|tues|wednes|thurs|fri|satur|sun)days?|january|february|april|june|july|august|september|october|"
    r"november|december)\b",
    re.IGNORECASE,
)
# Questions that a number answers, and dates; of the languages of the calibration's questions.
_WANTS_NUMBER = re.compile(
    r"\b(how (many|much|old|long|far|tall|high|large|big|often)|when|"
    r"what (year|percent\w*|date|age|number|time)|"
    r"cuánt[oa]s?|cuándo|combien|quand|wie ?viele?|wann|сколько|когда)\b|"
    r"多少|几[个年月日岁次名位人号天]|何时|什么时候|哪[一]?[年天日月]|时间|日期|人数|多[大长高远久]|何年|何人|いつ|いくつ|何[年月日歳個人回番位]",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence of passage number `passage` (from 0): offsets in the file, and what it scores."""

    passage: int
    start: int
    end: int
    text: str
    cosine: float
    coverage: float
    fits: bool

    @property
    def score(self) -> float:
        """Similarity and words together, a number where one is asked for: what orders extracts."""
        return self.cosine + self.coverage + (0.25 if self.fits else 0.0)


class Weights:
    """How much each word counts, by its rarity in some texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = max(1, len(texts))
        self._seen: dict[str, int] = {}
        for text in texts:
            for word in set(words(text)):
                self._seen[word] = self._seen.get(word, 0) + 1

    def of(self, word: str) -> float:
        """The weight of one word, less the more texts have it; from few texts rarity is hardly known."""
        known = min(1.0, self._texts / _ENOUGH)
        rarity = 0.1 + math.log((self._texts + 1) / (self._seen.get(word, 0) + 1))
        return (1 - known) + known * rarity

    def coverage(self, wanted: str, text: str) -> float:
        """Share, 0 to 1, of the weight of the words of `wanted` that `text` has too."""
        asked = set(words(wanted))
        whole = self.sum(asked)
        return self.sum(asked & set(words(text))) / whole if whole else 0.0

    def sum(self, some: Collection[str]) -> float:
        """The weight of words together."""
        return sum(self.of(word) for word in some)


def parts(hit: Hit, question: str) -> list[Span]:
    """Spans in `hit.text` of its sentences (lines, in code), at most 24: those that share most words."""
    cut = lines if kind_of(Path(hit.path))[0] == "code" else sentences
    found = [s for s in cut(hit.text) if any(map(str.isalnum, hit.text[s.start : s.end]))]
    asked = set(words(question))
    found = sorted(found, key=lambda s: -len(asked & set(words(hit.text[s.start : s.end]))))[:_MOST]
    return sorted(found)


def evidence(embedder: Embeds, question: str, hits: Sequence[Hit], weights: Weights) -> list[Evidence]:
    """The sentences of passages, in order, scored against a question."""
    spans = [(i, s) for i, hit in enumerate(hits) for s in parts(hit, question)]
    texts = [hits[i].text[s.start : s.end] for i, s in spans]
    cosines = compared(embedder, question, texts)
    number = wants_number(question)
    return [
        Evidence(
            i,
            hits[i].start + s.start,
            hits[i].start + s.end,
            text,
            float(cosine),
            weights.coverage(question, text),
            number and has_number(text),
        )
        for (i, s), text, cosine in zip(spans, texts, cosines, strict=True)
    ]


def compared(embedder: Embeds, question: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Cosines [n] of a question with texts."""
    if not texts:
        return np.zeros(0, np.float32)
    embedder = texts_alone(embedder)
    query = np.asarray(embedder.encode_query([question])[0], np.float32)
    found = np.asarray(embedder.encode_document(list(texts), show_progress_bar=False), np.float32)
    return np.asarray(found @ query, np.float32)


def wants_number(question: str) -> bool:
    """Whether a question asks for a number or a date, by its words."""
    return _WANTS_NUMBER.search(question) is not None


def has_number(text: str) -> bool:
    """Whether a text holds a digit, a numeral of Chinese, or an English word for a number or a day."""
    return _NUMBER.search(text) is not None
