"""Which rows to keep where not all can be: those that cover the rest best, at a wanted mix of difficulties.

Rows are put in bands of difficulty, each of the same number of rows; each band gives its share. Among the
rows of a band those are taken, one by one, that add most to the coverage of all rows:

- with vectors, facility location: coverage = mean over rows of the largest cosine to a chosen row;
- with texts alone, coverage of n-grams of words: each new one counts ln(rows that have it), divided by the
  number of n-grams of the text, so that neither length nor rarity is a merit in itself.

Greedy choice reaches at least 1 − 1/e of the best coverage (Nemhauser et al. 1978), half of it under quotas.
With vectors each step looks at a random part of the candidates, which loses a tenth of that at most, in the
mean (Mirzasoleiman et al. 2015, arXiv 1409.7938).
"""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from lingxi.config import Settings
from lingxi.curate.noise import MARKS
from lingxi.errors import InputError

Vectors = NDArray[np.float32]
Places = NDArray[np.int64]
# Rows that stand for all when coverage is counted, and how far from sure a step may be of its best candidate.
_REFERENCES, _DOUBT = 2048, 0.1
# Rows whose cosines to the references are in memory at a time.
_AT_ONCE = 2048
# Scripts without spaces between words are read sign by sign.
_WORD = re.compile(rf"[぀-ヿ一-鿿㐀-䶿ก-๛ກ-ໟက-႟ក-៩ༀ-࿚]|[\w{MARKS}]+")


class SelectSettings(Settings):
    """How many rows, and which."""

    rows: int = Field(ge=1)
    """Rows to keep; all are kept where there are fewer."""
    mix: tuple[float, ...] = (0.2, 0.5, 0.3)
    """Share of each band of difficulty, from easy to hard; they add up to 1."""
    seed: int = 0
    """Seed of the draws."""

    @field_validator("mix")
    @classmethod
    def _is_whole(cls, mix: tuple[float, ...]) -> tuple[float, ...]:
        if not mix or min(mix) < 0 or abs(sum(mix) - 1) > 1e-6:
            raise ValueError("the shares of a mix are 0 or more and add up to 1")
        return mix


def select(
    points: Vectors | Sequence[str],
    difficulty: NDArray[np.float64],
    settings: SelectSettings,
    ids: Sequence[str],
) -> Places:
    """The places of the rows to keep, in order of the rows.

    `points` are unit vectors [n, dim] or n texts, `difficulty` [n] any numbers that rise with it. The same
    rows in another order give the same choice: ties fall by id. Raises InputError where the lengths differ.
    """
    if not len(points) == len(difficulty) == len(ids):
        raise InputError(
            f"{len(points)} points, {len(difficulty)} difficulties and {len(ids)} ids", "give one of each row"
        )
    order = np.array(sorted(range(len(ids)), key=lambda i: (ids[i], float(difficulty[i]), i)), np.int64)
    bands = bands_of(difficulty, ids, len(settings.mix))[order]
    wanted = quotas(settings.mix, np.bincount(bands, minlength=len(settings.mix)).tolist(), settings.rows)
    if isinstance(points, np.ndarray):
        chosen = _by_vectors(points[order], bands, wanted, settings.seed)
    else:
        chosen = _by_words([points[int(i)] for i in order], bands, wanted)
    return np.sort(order[np.array(chosen, np.int64)])


def bands_of(difficulty: NDArray[np.float64], ids: Sequence[str], count: int) -> Places:
    """The band of each row, 0 the easiest, each of the same number of rows but for one; ties fall by id."""
    order = sorted(range(len(ids)), key=lambda i: (float(difficulty[i]), ids[i]))
    bands = np.empty(len(ids), np.int64)
    bands[order] = np.arange(len(ids)) * count // max(len(ids), 1)
    return bands


def quotas(mix: Sequence[float], sizes: Sequence[int], rows: int) -> list[int]:
    """Rows of each band: its share, by largest remainders; what a band lacks, the others give alike."""
    rows, found = min(rows, sum(sizes)), [0] * len(mix)
    while (left := rows - sum(found)) > 0:
        open_ = [i for i in range(len(mix)) if found[i] < sizes[i]]
        weights = [mix[i] for i in open_] if any(mix[i] for i in open_) else [1.0] * len(open_)
        exact = [left * weight / sum(weights) for weight in weights]
        parts = [int(value) for value in exact]
        rest = sorted(range(len(open_)), key=lambda i: (parts[i] - exact[i], i))[: left - sum(parts)]
        for i, band in enumerate(open_):
            found[band] = min(sizes[band], found[band] + parts[i] + (i in rest))
    return found


def coverage(vectors: Vectors, chosen: Places) -> float:
    """Mean over all rows [n, dim] of the largest cosine to a chosen row: at most 1."""
    best = np.full(len(vectors), -1.0, np.float32)
    for start in range(0, len(chosen), 1024):
        similar = vectors @ vectors[chosen[start : start + 1024]].T
        np.maximum(best, similar.max(axis=1), out=best)
    return float(best.mean())


def ngram_diversity(texts: Sequence[str], order: int = 2) -> float:
    """Diversity of a set of texts by their words: exp of the entropy of its n-grams of `order` words.

    How many n-grams that are all as frequent the set is worth: 1 where it repeats one, and as many as it has
    where none comes twice; 0 for a set without any.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = _words(text)
        counts.update(zip(*(words[i:] for i in range(order)), strict=False))
    if not counts:
        return 0.0
    shares = np.array(list(counts.values()), np.float64) / counts.total()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _by_vectors(vectors: Vectors, bands: Places, wanted: Sequence[int], seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    few = len(vectors) > _REFERENCES
    seen = vectors[np.sort(rng.choice(len(vectors), _REFERENCES, replace=False))] if few else vectors
    best = np.full(len(seen), -1.0, np.float32)
    chosen: list[int] = []
    for band, count in enumerate(wanted):
        left = np.flatnonzero(bands == band)
        size = math.ceil(len(left) * math.log(1 / _DOUBT) / max(count, 1))
        for _ in range(count):
            at = np.sort(rng.choice(len(left), min(size, len(left)), replace=False))
            place = int(_gains(vectors, left[at], seen, best).argmax())
            np.maximum(best, seen @ vectors[left[at[place]]], out=best)
            chosen.append(int(left[at[place]]))
            left = np.delete(left, at[place])
    return chosen


def _gains(vectors: Vectors, places: Places, seen: Vectors, best: Vectors) -> Vectors:
    """What each of these rows adds [n] to the cosines `best` [references], so many rows at a time."""
    parts = (places[start : start + _AT_ONCE] for start in range(0, len(places), _AT_ONCE))
    return np.concatenate([np.maximum(vectors[own] @ seen.T - best, 0).sum(axis=1) for own in parts])


def _by_words(texts: Sequence[str], bands: Places, wanted: Sequence[int]) -> list[int]:
    found = [{*(words := _words(text)), *pairwise(words)} for text in texts]
    counts = Counter(gram for grams in found for gram in grams)
    weights = {gram: math.log(count) for gram, count in counts.items()}
    covered: set[object] = set()
    chosen: list[int] = []
    for band, count in enumerate(wanted):
        # What a row adds only falls: a row that still leads after it was counted anew is the best.
        heap = [(-math.inf, int(i)) for i in np.flatnonzero(bands == band)]
        for _ in range(count):
            while True:
                _, place = heapq.heappop(heap)
                grams = found[place]
                gain = math.fsum(weights[gram] for gram in grams - covered) / max(len(grams), 1)
                if not heap or (-gain, place) <= heap[0]:
                    break
                heapq.heappush(heap, (-gain, place))
            covered |= grams
            chosen.append(place)
    return chosen


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
