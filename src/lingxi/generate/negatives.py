"""Hard negatives: passages that an embedder ranks high for a query and that do not answer it.

Candidates are the positives of other rows of the same task and document language. Of their ranking a range
is taken (the very first are often right, Qwen3-Embedding#131), of that what scores clearly below the positive
(NV-Retriever, arXiv 2407.15831, "TopK-PercPos"), and, where a cross-encoder is given, what it says no to.
A passage, known by its id and by its text, is never a negative where any row says that it answers the same
query, or that it belongs to the same group.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lingxi.encoding import Encode
from lingxi.generate.settings import NegativeSettings
from lingxi.generate.strata import Known, Lookup, keys_of, rows_of, strata, text_key
from lingxi.records import Pair, Passage, drawn, stable_hash

Floats = NDArray[np.float32]
Rerank = Callable[[Sequence[tuple[str, str]], str], Floats]
"""Query–document pairs under an instruction to probabilities [n] that they match."""

# Rows searched at a time, and positives of a row that are scored.
_WINDOW = 256
_POSITIVES = 8
# A cross-encoder is asked about this many times the negatives that are wanted.
_CHECKED = 2


@dataclass(frozen=True, slots=True)
class Pool:
    """The candidates of one task and document language with vectors [n, dim], and where each is barred."""

    passages: list[Passage]
    vectors: Floats
    places: dict[int, int]
    of_group: Lookup
    of_query: Lookup

    def barred(self, row: Pair) -> NDArray[np.int64]:
        """Places of the passages that are no negatives of a row."""
        named = [key for item in (*row.positives, *row.negatives) for key in keys_of(item)]
        own = [self.places[key] for key in (*named, text_key(row.query)) if key in self.places]
        known = self.of_group(stable_hash(row.group)), self.of_query(text_key(row.query))
        return np.concatenate((np.array(own, np.int64), *known))


def mine_negatives(
    pairs: Sequence[Pair] | Path,
    encode: Encode,
    settings: NegativeSettings,
    rerank: Rerank | None = None,
    *,
    known_from: Path | None = None,
) -> Iterator[Pair]:
    """The rows of a list or Parquet file, each with up to `count` hard negatives behind those it has.

    Rows come by task and document language, in their order. A mined negative's `score` is its cosine to the
    query. In memory are one pool (its texts and vectors), `_WINDOW` rows with their scores [rows, pool], and
    48 bytes a positive; a file is parted in a temporary folder. `known_from` is a file that the rows are a
    part of: what its other rows say is right is no negative either. Raises InputError where one cannot be
    read.
    """
    known = Known(rows_of(pairs if known_from is None else known_from))
    with strata(pairs) as found:
        for (task, _), rows in found.items():
            if task not in settings.tasks:
                yield from rows()
                continue
            pool = _pool(rows(), known, encode, settings)
            stream = iter(rows())
            while window := list(islice(stream, _WINDOW)):
                yield from _mined(window, pool, encode, settings, rerank)


def ranked(scores: Floats, ranks: tuple[int, int]) -> NDArray[np.int64]:
    """Places [rows, last − first] of the candidates of these ranks, best first, by scores [rows, all].

    What is barred has the score −inf and comes last. Fewer candidates than ranks give fewer places.
    """
    first, last = ranks
    if last < scores.shape[1]:
        top = np.argpartition(-scores, last, axis=1)[:, :last]
    else:
        top = np.tile(np.arange(scores.shape[1]), (len(scores), 1))
    order = np.take_along_axis(scores, top, 1).argsort(axis=1)[:, ::-1]
    return np.take_along_axis(top, order, 1)[:, first:]


def limit(positive: Floats, settings: NegativeSettings) -> Floats:
    """The highest score [n] of a negative beside positives of these scores, of which some may be below 0."""
    if settings.rule == "difference":
        return positive - np.float32(settings.margin)
    return np.asarray(positive - (1 - settings.margin) * np.abs(positive), np.float32)


def _pool(rows: Iterable[Pair], known: Known, encode: Encode, settings: NegativeSettings) -> Pool:
    passages = _drawn(rows, settings)
    keys = [keys_of(item) for item in passages]
    places = {key: place for place, own in enumerate(keys) for key in own}
    owners = np.array([place for place, own in enumerate(keys) for _ in own], np.int64)
    named, groups, queries = known.of([key for own in keys for key in own])
    vectors = np.asarray(encode([item.text for item in passages], None), np.float32)
    return Pool(passages, vectors, places, Lookup(groups, owners[named]), Lookup(queries, owners[named]))


def _drawn(rows: Iterable[Pair], settings: NegativeSettings) -> list[Passage]:
    """Up to `pool` positives of different texts, those with the smallest hashes; no others are held."""
    heap: list[tuple[int, Passage]] = []
    held: set[int] = set()
    for item in (item for row in rows for item in row.positives):
        key = text_key(item.text)
        lot = -drawn(settings.seed, str(key))
        if key in held or (len(heap) == settings.pool and lot <= heap[0][0]):
            continue
        held.add(key)
        if len(heap) < settings.pool:
            heapq.heappush(heap, (lot, item))
        else:
            held.discard(text_key(heapq.heapreplace(heap, (lot, item))[1].text))
    return [item for _, item in sorted(heap, key=lambda entry: entry[0])]


def _mined(
    rows: list[Pair], pool: Pool, encode: Encode, settings: NegativeSettings, rerank: Rerank | None
) -> Iterator[Pair]:
    queries = _queries(rows, encode)
    positive = _positive_scores(rows, queries, pool, encode)
    scores = queries @ pool.vectors.T
    for place, row in enumerate(rows):
        scores[place, pool.barred(row)] = -np.inf
    most = limit(positive, settings)[:, None]
    order = ranked(scores, settings.ranks)
    near = np.take_along_axis(scores, order, 1)
    stands = np.isfinite(near) & (near <= most)
    found = [_by_lot(row, order[i][stands[i]], settings) for i, row in enumerate(rows)]
    if rerank is not None:
        found = _judged(rows, found, pool, rerank, settings)
    for place, row in enumerate(rows):
        chosen = sorted(found[place][: settings.count], key=lambda p: -scores[place, p])
        mined = (replace(pool.passages[p], score=round(float(scores[place, p]), 4)) for p in chosen)
        yield replace(row, negatives=(*row.negatives, *mined))


def _by_lot(row: Pair, places: NDArray[np.int64], settings: NegativeSettings) -> list[int]:
    """The candidates of a row in an order drawn by seed, whatever rows stand around it."""
    lot = np.random.default_rng(drawn(settings.seed, row.id))
    return [int(place) for place in lot.permutation(places)[: settings.count * _CHECKED]]


def _queries(rows: list[Pair], encode: Encode) -> Floats:
    """Vectors [n, dim] of the queries, each under its row's instruction."""
    parts: dict[int, Floats] = {}
    for instruction in dict.fromkeys(row.instruction for row in rows):
        places = [place for place, row in enumerate(rows) if row.instruction == instruction]
        parts |= zip(places, encode([rows[place].query for place in places], instruction), strict=True)
    return np.asarray([parts[place] for place in range(len(rows))], np.float32)


def _positive_scores(rows: list[Pair], queries: Floats, pool: Pool, encode: Encode) -> Floats:
    """The lowest cosine [n] of a row's positives: a negative is to stand below all of them."""
    texts = dict.fromkeys(item.text for row in rows for item in row.positives[:_POSITIVES])
    # What stands in the pool has its vector already; texts equal but for case have not.
    known = {text: place for text in texts if (place := pool.places.get(text_key(text))) is not None}
    known = {text: place for text, place in known.items() if pool.passages[place].text == text}
    others = [text for text in texts if text not in known]
    vectors = {text: pool.vectors[place] for text, place in known.items()}
    vectors |= zip(others, encode(others, None), strict=True) if others else ()
    return np.array(
        [
            min((float(query @ vectors[item.text]) for item in row.positives[:_POSITIVES]), default=-1.0)
            for row, query in zip(rows, queries, strict=True)
        ],
        np.float32,
    )


def _judged(
    rows: list[Pair],
    found: list[list[int]],
    pool: Pool,
    rerank: Rerank,
    settings: NegativeSettings,
) -> list[list[int]]:
    """Of each row's candidates those that the cross-encoder puts below the positives and says no to."""
    out: list[list[int]] = [[] for _ in rows]
    for instruction in dict.fromkeys(row.instruction for row in rows):
        places = [i for i, row in enumerate(rows) if row.instruction == instruction]
        right = [[(rows[i].query, item.text) for item in rows[i].positives[:_POSITIVES]] for i in places]
        asked = [[(rows[i].query, pool.passages[p].text) for p in found[i]] for i in places]
        said = iter(rerank([pair for one in zip(right, asked, strict=True) for part in one for pair in part],
                           instruction))  # fmt: skip
        for i, own in zip(places, right, strict=True):
            below = min((float(next(said)) for _ in own), default=0.0)
            out[i] = [p for p in found[i] if (s := float(next(said))) < below and s <= settings.most_relevant]
    return out
