"""A reranker's pool as it is met in use: each query with the documents that an embedder finds for it.

Documents are those of rows drawn by the pool's mixture, so that a query has others of its own source near.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from lingxi import prompts
from lingxi.compress.pool import Pool, asked_task
from lingxi.compress.settings import PoolSettings
from lingxi.encoding import Encode
from lingxi.train.feeding import CHARACTERS_A_TOKEN
from lingxi.train.mixture import sampler
from lingxi.train.store import Row, Store

# Rows drawn together.
_DRAWN = 64
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Corpus:
    """Rows and their distinct documents: where each row's own stands, and which rows are of one group."""

    rows: list[Row]
    known: dict[str, int]
    texts: list[str]
    places: list[int]
    kin: dict[int, list[int]]


def draw_lists(store: Store, settings: PoolSettings, seed: int, encode: Encode) -> Pool:
    """Queries, each with its right document first and then the nearest that are not right, best first.

    `settings.rows` queries of the `settings.corpus` rows drawn; `settings.candidates` documents each, with
    the right one.
    """
    rng = np.random.default_rng((seed, 80))
    corpus = _corpus(store, settings, rng)
    asked = corpus.rows[: settings.rows]
    most = settings.max_tokens * CHARACTERS_A_TOKEN
    queries = [row.query[:most] for row in asked]
    tasks = [asked_task(row, rng) or prompts.DEFAULT_TASK for row in asked]
    found = _asked(encode, queries, tasks) @ encode(corpus.texts, None).T
    known: dict[str, int] = {}
    table = np.full((len(asked), settings.candidates), -1, np.int32)
    for i, (row, query, task) in enumerate(zip(asked, queries, tasks, strict=True)):
        chosen = _nearest(corpus, i, row, found[i], settings)
        bodies = [prompts.rerank_body(query, corpus.texts[j], task) for j in chosen]
        table[i, : len(bodies)] = [known.setdefault(body, len(known)) for body in bodies]
    return Pool("reranker", tuple(known), table)


def _corpus(store: Store, settings: PoolSettings, rng: np.random.Generator) -> _Corpus:
    mixture = settings.mixture
    draws = sampler(store, mixture.tasks, mixture.language_balance, mixture.emphasis, sources=mixture.sources)
    rows: list[Row] = []
    while len(rows) < settings.corpus:
        rows += store.rows(draws.draw(rng, _DRAWN).numbers)
    rows = rows[: settings.corpus]
    known: dict[str, int] = {}
    most = settings.max_tokens * CHARACTERS_A_TOKEN
    places = [known.setdefault(row.positives[0].text[:most], len(known)) for row in rows]
    kin: dict[int, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        kin[row.group].append(i)
    return _Corpus(rows, known, list(known), places, kin)


def _asked(encode: Encode, queries: list[str], tasks: list[str]) -> Vectors:
    """Vectors of queries, each under its own task."""
    order = sorted(range(len(queries)), key=lambda i: tasks[i])
    parts = [
        encode([queries[i] for i in numbers], task)
        for task, group in groupby(order, key=lambda i: tasks[i])
        for numbers in [list(group)]
    ]
    return np.concatenate(parts)[np.argsort(order)]


def _nearest(corpus: _Corpus, number: int, row: Row, scores: Vectors, settings: PoolSettings) -> list[int]:
    """The right document and the nearest wrong ones: neither a positive's text nor of the row's group."""
    most = settings.max_tokens * CHARACTERS_A_TOKEN
    kin = {corpus.places[i] for i in corpus.kin[row.group]}
    right = {corpus.places[number]}.union(corpus.known.get(each.text[:most], -1) for each in row.positives)
    order = [int(j) for j in np.argsort(-scores) if j not in kin and j not in right]
    return [corpus.places[number], *order[: settings.candidates - 1]]
