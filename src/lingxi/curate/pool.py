"""From a run's kept rows to a selection: a pool drawn evenly from tasks and languages, then the choice."""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lingxi.curate.agreement import FEWEST, diversity_score, overlap_of
from lingxi.curate.agreement import difficulty as difficulty_of
from lingxi.curate.evenly import Kind, even_cap, kind_of, kinds_in
from lingxi.curate.select import (
    Places,
    SelectSettings,
    Vectors,
    bands_of,
    coverage,
    ngram_diversity,
    select,
)
from lingxi.encoding import Encode
from lingxi.errors import InputError
from lingxi.records import Pair, drawn, read_pairs, write_pairs

# Characters of a side that are read, and rows among which the hardest answer is looked for.
_MOST, _AMONG = 600, 1000


@dataclass(frozen=True, slots=True)
class Selected:
    """What was selected: rows, of how many in the pool and the run, rows by band from easy to hard.

    `coverage` is that of the pool by the chosen rows, `random` that by as many drawn at random, both None
    without a model; `diversity` is the Vendi score, `ngrams` the n-gram diversity of the queries.
    """

    rows: int
    pool: int
    kept: int
    bands: tuple[int, ...]
    coverage: float | None
    random: float | None
    diversity: float | None
    ngrams: float


def select_rows(
    curated: Path, out: Path, settings: SelectSettings, encode: Encode | None, pool: int
) -> Selected:
    """Write the rows chosen from a pool of at most `pool` rows of the Parquet file `curated` to `out`.

    Without an embedder, coverage is counted in n-grams of words, and rows lie in bands by the difficulty
    they have; where one has none, all lie by the share of the query's words that the answer lacks. Only the
    pool is in memory. Raises InputError where the pool is smaller than the selection, or has no rows.
    """
    if pool < settings.rows:
        raise InputError(f"a pool of {pool} rows for {settings.rows}", "ask for a larger --pool")
    rows, kept = pooled(curated, pool, settings.seed)
    if not rows:
        raise InputError(f"{curated} holds no rows", "run the curate stage first")
    if encode is None:
        vectors, hard = None, word_difficulties(rows)
    else:
        vectors = query_vectors(rows, encode)
        hard = difficulties(rows, vectors, encode)
    points = [row.query for row in rows] if vectors is None else vectors
    chosen = select(points, hard, settings, [row.id for row in rows])
    write_pairs((_with(rows[i], float(hard[i]), encode is not None) for i in chosen), out)
    return _selected(rows, kept, chosen, hard, vectors, settings)


def _selected(
    rows: Sequence[Pair],
    kept: int,
    chosen: Places,
    hard: NDArray[np.float64],
    vectors: Vectors | None,
    settings: SelectSettings,
) -> Selected:
    """What is to be told of the places chosen from a pool."""
    ids, bands = [row.id for row in rows], len(settings.mix)
    counts = np.bincount(bands_of(hard, ids, bands)[chosen], minlength=bands)
    ngrams = round(ngram_diversity([rows[i].query for i in chosen]), 1)
    told = len(chosen), len(rows), kept, tuple(int(count) for count in counts)
    if vectors is None:
        return Selected(*told, None, None, None, ngrams)
    draw = np.random.default_rng(settings.seed).choice(len(rows), len(chosen), replace=False)
    random = np.argsort(np.array(ids), kind="stable")[draw]
    vendi = round(diversity_score(np.asarray(vectors[chosen], np.float64)), 1)
    best, chance = round(coverage(vectors, chosen), 4), round(coverage(vectors, random), 4)
    return Selected(*told, best, chance, vendi, ngrams)


def pooled(curated: Path, pool: int, seed: int) -> tuple[list[Pair], int]:
    """At most `pool` rows by seed, every task and pair of languages up to one cap; and how many there are."""
    counts = Counter(kinds_in(curated))
    most = even_cap(((count, 1) for count in counts.values()), pool)
    heaps: dict[Kind, list[tuple[int, str, int, Pair]]] = defaultdict(list)
    for position, row in enumerate(read_pairs(curated)):
        heap = heaps[kind_of(row)]
        entry = (-drawn(seed, row.id), row.id, position, row)
        if len(heap) < most:
            heapq.heappush(heap, entry)
        elif entry[:3] > heap[0][:3]:
            heapq.heapreplace(heap, entry)
    found = sorted((entry for heap in heaps.values() for entry in heap), key=lambda entry: entry[:3])
    # Where there are more kinds than places, some kinds have none.
    rows = sorted(found[-pool:], key=lambda entry: entry[2])
    return [row for *_, row in rows], counts.total()


def query_vectors(rows: Sequence[Pair], encode: Encode) -> Vectors:
    """Unit vectors [n, dim] of the queries, each under its row's instruction."""
    return _encoded([row.query for row in rows], [row.instruction for row in rows], encode)


def difficulties(rows: Sequence[Pair], queries: Vectors, encode: Encode) -> NDArray[np.float64]:
    """The Difficulty Score [n] that rows have, or that the embedder gives them.

    The hardest answer is looked for among rows of the pool with the same task and language of answers; where
    these are few, among those of any language.
    """
    found = np.array([row.scores.get("difficulty", np.nan) for row in rows])
    lack = np.flatnonzero(np.isnan(found)).tolist()
    if not lack:
        return found
    under = [None if rows[i].task in ("retrieval", "code") else rows[i].instruction for i in lack]
    answers = _encoded([rows[i].positives[0].text for i in lack], under, encode)
    at = {i: place for place, i in enumerate(lack)}
    for own in _kinds(rows, lack):
        kind = [rows[i] for i in own]
        similar = np.asarray(queries[own] @ answers[[at[i] for i in own]].T, np.float64)
        found[own] = difficulty_of(similar, kind, np.array([overlap_of(row) for row in kind]))
    return found


def word_difficulties(rows: Sequence[Pair]) -> NDArray[np.float64]:
    """The Difficulty Score [n] that rows have; where one has none, one minus the overlap of words for all."""
    known = all("difficulty" in row.scores for row in rows)
    return np.array([row.scores["difficulty"] if known else 1 - overlap_of(row) for row in rows])


def _encoded(texts: Sequence[str], under: Sequence[str | None], encode: Encode) -> Vectors:
    """Unit vectors of texts, those of one instruction together."""
    groups: dict[str | None, list[int]] = defaultdict(list)
    for i, instruction in enumerate(under):
        groups[instruction].append(i)
    found: dict[int, NDArray[np.float32]] = {}
    for instruction, own in groups.items():
        vectors = np.asarray(encode([texts[i][:_MOST] for i in own], instruction), np.float32)
        found |= dict(zip(own, vectors, strict=True))
    return np.array([found[i] for i in range(len(texts))], np.float32)


def _kinds(rows: Sequence[Pair], places: Sequence[int]) -> Iterator[list[int]]:
    """Places of rows of one task and language of answers, few ones together, about `_AMONG` at a time.

    They are parted by id, into parts of one size: which rows stand together, and that each stands among
    enough, does not depend on the order in which they come.
    """
    counts = Counter((rows[i].task, rows[i].document_language) for i in places)
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i in places:
        key = (rows[i].task, rows[i].document_language)
        groups[key if counts[key] >= FEWEST else (rows[i].task, "")].append(i)
    for own in groups.values():
        ordered = np.array(sorted(own, key=lambda i: (rows[i].id, rows[i].query)), np.int64)
        yield from (part.tolist() for part in np.array_split(ordered, math.ceil(len(own) / _AMONG)))


def _with(row: Pair, hard: float, measured: bool) -> Pair:
    # What words alone say of difficulty is no Difficulty Score.
    return replace(row, scores={"difficulty": round(hard, 4), **row.scores}) if measured else row
