"""Whole documents by their segments: parents are files, and the best of its passages speak for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lingxi.errors import InputError
from lingxi.index.build import Embeds
from lingxi.index.search import EVERYWHERE, Hit, query_vector, to_hit, with_sentences
from lingxi.index.store import Row, Store, in_words
from lingxi.index.within import Within

Scored = Literal["max", "mean3"]
SCORES: tuple[str, ...] = get_args(Scored)
# Segments looked at for each document wanted: long documents have many that are near.
_SEGMENTS_A_DOCUMENT = 50
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class DocumentHit:
    """A file found: its score, and its best passages (at most three, best first) with their spans."""

    path: str
    score: float
    hits: tuple[Hit, ...]


def document_score(cosines: Sequence[float], score: str) -> float:
    """A document's score from those of its segments: the best, or the mean of the three best there are."""
    best = sorted(cosines, reverse=True)
    return best[0] if score == "max" else float(np.mean(best[:3]))


def search_documents(
    store: Store,
    embedder: Embeds,
    query: str,
    *,
    top_k: int = 10,
    instruction: str | None = None,
    within: Within = EVERYWHERE,
    score: Scored = "max",
) -> list[DocumentHit]:
    """The best `top_k` documents within, best first, with absolute paths.

    Raises InputError for an empty query, a `top_k` below 1 or another `score`.
    """
    if score not in SCORES:
        raise InputError(f"no score of documents {score!r}", f"choose from: {', '.join(SCORES)}")
    vector = query_vector(embedder, query, top_k, instruction)
    store.refresh()
    with in_words(store.path):
        near = store.nearest(vector, top_k * _SEGMENTS_A_DOCUMENT, within)
    by_path: dict[str, list[Row]] = {}
    for row in near:
        by_path.setdefault(row["path"], []).append(row)
    scored = {
        path: document_score([1 - row["_distance"] for row in own], score) for path, own in by_path.items()
    }
    best = sorted(scored, key=lambda path: -scored[path])[:top_k]
    hits = [to_hit(row, 1 - row["_distance"]) for path in best for row in by_path[path][:_SHOWN]]
    marked: dict[str, list[Hit]] = {}
    for hit in with_sentences(embedder, query, vector, hits):
        marked.setdefault(hit.path, []).append(hit)
    return [DocumentHit(path, scored[path], tuple(marked[path])) for path in best]
