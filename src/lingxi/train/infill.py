"""Texts with holes: what a language model reads, and which of its tokens it must say.

A text is given plain; with its middle asked for at the end (fill in the middle, Bavarian et al. 2022,
arXiv 2207.14255), in the order prefix–suffix–middle or suffix–prefix–middle; or with several
spans masked and asked for in order (span corruption, Raffel et al. 2019, arXiv 1910.10683, in the causal
form of Aghajanyan et al. 2022, arXiv 2201.07520). Every function is a pure one of its random numbers. A
tokenizer without Qwen's infill tokens writes the marks as plain text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lingxi import prompts
from lingxi.languages import is_spaced
from lingxi.model.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Sample:
    """A training sequence: `counted[i]` says that `ids[i]` is predicted from the ids before it."""

    ids: list[int]
    counted: list[bool]


@dataclass(frozen=True, slots=True)
class Marks:
    """Ids of the marks: one each where the tokenizer has Qwen's infill tokens, else those of plain text."""

    prefix: list[int]
    suffix: list[int]
    middle: list[int]
    hole: list[int]
    end: int

    @property
    def room(self) -> int:
        """Tokens that a sequence with one hole has besides its text."""
        return len(self.prefix) + len(self.suffix) + len(self.middle) + 1


@dataclass(frozen=True, slots=True)
class Words:
    """A stretch of a text as ids; `starts` are the places where words begin, then the length of `ids`.

    `finished` says that the text ends with it.
    """

    ids: list[int]
    starts: list[int]
    finished: bool

    @property
    def count(self) -> int:
        """Number of words."""
        return len(self.starts) - 1


def read_infill_marks(tokens: Tokens) -> Marks:
    """The marks as a tokenizer writes them."""
    return Marks(
        prefix=tokens.prompt(prompts.FIM_PREFIX),
        suffix=tokens.prompt(prompts.FIM_SUFFIX),
        middle=tokens.prompt(prompts.FIM_MIDDLE),
        hole=tokens.prompt(prompts.FIM_HOLE),
        end=tokens.end,
    )


def read_words(rng: np.random.Generator, tokens: Tokens, language: str, text: str, room: int) -> Words:
    """A text as ids, or where it has more than `room` of them a stretch of it that begins with a word.

    A word is what the pre-tokenizer keeps together; a token, where the language writes no spaces. Ids of
    whole words are the same cut out of the text as in it.
    """
    encoding = tokens.user.encode(text, add_special_tokens=False)
    # Read once: every access builds the whole list.
    ids: list[int] = encoding.ids
    offsets = encoding.offsets
    owners = encoding.word_ids if is_spaced(language) else range(len(ids))
    starts = [i for i in range(len(ids)) if i == 0 or _begins(text, offsets, owners, i)]
    first = int(rng.choice([s for s in starts if s == 0 or s <= len(ids) - room])) if len(ids) > room else 0
    last = min(len(ids), first + room)
    inside = [s - first for s in starts if first <= s < last]
    return Words(ids[first:last], [*inside, last - first], last == len(ids))


def _begins(text: str, offsets: Sequence[tuple[int, int]], owners: Sequence[int | None], i: int) -> bool:
    start = offsets[i][0]
    # Neither within the bytes of a character, nor before an accent or a vowel sign.
    apart = start >= offsets[i - 1][1] and not unicodedata.category(text[start]).startswith("M")
    return apart and owners[i] != owners[i - 1]


def stretch(rng: np.random.Generator, text: str, most: int) -> str:
    """A text, or `most` characters of a longer one, from the beginning of a line where one is near."""
    if len(text) <= most:
        return text
    start = int(rng.integers(len(text) - most + 1))
    start = text.find("\n", start, start + most // 8) + 1 or start
    return text[start : start + most]


def plain(words: Words, marks: Marks) -> Sample:
    """The text as it is; the end token is said where the text ends."""
    return joined(said(words.ids, True), said([marks.end] if words.finished else [], True))


def infill(
    rng: np.random.Generator, words: Words, marks: Marks, *, suffix_first: bool, context: bool
) -> Sample:
    """A run of words, between two borders drawn at random, is said after what stands around it.

    `context` counts the text around too: without it a model learns less of every text (arXiv 2207.14255).
    """
    first, last = (words.starts[i] for i in np.sort(rng.choice(words.count + 1, 2, replace=False)))
    before, after = said(words.ids[:first], context), said(words.ids[last:], context)
    return around(before, words.ids[first:last], after, marks, suffix_first=suffix_first)


def around(
    before: Sample, middle: Sequence[int], after: Sample, marks: Marks, *, suffix_first: bool
) -> Sample:
    """`<prefix> before <suffix> after <middle> middle <end>`, or with the suffix first
    `<prefix> <suffix> after <middle> before middle <end>`.

    Marks are never predicted; the end token is, which says where the middle ends.
    """
    answer = said([*middle, marks.end], True)
    prefix, suffix, between = (said(mark, False) for mark in (marks.prefix, marks.suffix, marks.middle))
    if suffix_first:
        return joined(prefix, suffix, after, between, before, answer)
    return joined(prefix, before, suffix, after, between, answer)


def masked(
    rng: np.random.Generator, words: Words, marks: Marks, *, rate: float, span: float, context: bool
) -> Sample:
    """`<prefix> a <hole> c <hole> e <middle> b <hole> d <end>`: spans of words, said in order at the end.

    About `rate` of the words are masked, in spans of `span` words in the mean. The mark between two answers
    counts: it says that a span ends.
    """
    asked, answers = [said(marks.prefix, False)], [said(marks.middle, False)]
    reached = 0
    for first, last in mask_spans(rng, words.count, rate, span):
        start, end = words.starts[first], words.starts[last]
        asked += [said(words.ids[reached:start], context), said(marks.hole, False)]
        answers += [said(marks.hole, True)] if len(answers) > 1 else []
        answers += [said(words.ids[start:end], True)]
        reached = end
    return joined(*asked, said(words.ids[reached:], context), *answers, said([marks.end], True))


def masked_room(marks: Marks, most: int, rate: float, span: float) -> int:
    """Ids of text that a masked sequence of at most `most` ids has room for."""
    hole = 2 * len(marks.hole)
    fixed = len(marks.prefix) + len(marks.middle) + 1 + hole
    return int((most - fixed) / (1 + hole * rate / span))


def mask_spans(rng: np.random.Generator, words: int, rate: float, span: float) -> list[tuple[int, int]]:
    """Spans `[first, last)` of round(words · rate) words, one at least, in order and never touching.

    There are round(masked / span) spans; lengths and places are drawn. `words` must be 2 or more.
    """
    hidden = min(max(1, round(words * rate)), words - 1)
    count = min(max(1, round(hidden / span)), words - hidden + 1)
    lengths = [1 + more for more in _parts(rng, hidden - count, count)]
    gaps = _parts(rng, words - hidden - (count - 1), count + 1)
    spans, place = [], 0
    for gap, length in zip(gaps, lengths, strict=False):
        first = place + gap + (1 if place else 0)
        spans.append((first, first + length))
        place = first + length
    return spans


def _parts(rng: np.random.Generator, total: int, count: int) -> list[int]:
    """`count` whole numbers from 0, with the sum `total`."""
    cuts = np.sort(rng.integers(0, total + 1, count - 1))
    return [int(part) for part in np.diff([0, *cuts, total])]


def said(ids: Sequence[int], counted: bool) -> Sample:
    """Ids that all count, or none."""
    return Sample(list(ids), [counted] * len(ids))


def joined(*pieces: Sample) -> Sample:
    """Pieces in a row, as one sequence."""
    ids = [i for piece in pieces for i in piece.ids]
    counted = [c for piece in pieces for c in piece.counted]
    # Nothing stands before the first.
    return Sample(ids, [False, *counted[1:]] if ids else [])
