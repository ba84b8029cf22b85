"""Questions asked over a sample of units in memory: what speaks for each unit, as the index would say it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lingxi.apps.code.probe import Probe
from lingxi.apps.code.query import Asked, read_query, reads_instructions
from lingxi.apps.code.rank import Weights, candidates
from lingxi.index.build import Embeds
from lingxi.index.store import Row
from lingxi.index.words import search_words

# Units that each ranking gives to be ranked together, as in the index.
POOL = 100
_WORD = re.compile(r"\w+")
_K1, _B = 1.2, 0.75
Vectors = Mapping[tuple[str, str], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Tried:
    """The candidates of a question: what speaks for them [n, 5], and which is the function asked for."""

    values: NDArray[np.float64]
    right: NDArray[np.bool_]


def tried_on(asked: Sequence[Probe], rows: Sequence[Row], vectors: Vectors, embedder: Embeds) -> list[Tried]:
    """Each question over the sample, in which the functions asked for stand without what was asked."""
    hidden = {probe.row["key"]: probe for probe in asked}
    shown = [_without(row, hidden.get(row["key"])) for row in rows]
    matrix = np.stack([vectors[row["title"], row["text"]] for row in rows])
    at = {row["key"]: i for i, row in enumerate(rows)}
    places = [at[probe.row["key"]] for probe in asked]
    matrix[places] = embedder.encode_document(
        [probe.hidden.for_embedding() for probe in asked], show_progress_bar=False
    )
    readings = [read_query(probe.query) for probe in asked]
    task = readings[0].instruction if reads_instructions(embedder) else None
    queries = np.asarray(embedder.encode_query([one.text for one in readings], instruction=task))
    text = _Bm25([f"{Path(row['path']).name} {row['title']}\n{row['text']}" for row in shown])
    cosines = queries @ matrix.T
    return [
        _candidates(reading, shown, own, text.scores(reading.words), place)
        for reading, own, place in zip(readings, cosines, places, strict=True)
    ]


def _without(row: Row, probe: Probe | None) -> Row:
    return row if probe is None else {**row, "title": probe.hidden.title, "text": probe.hidden.text}


def _candidates(
    asked: Asked, rows: Sequence[Row], cosines: NDArray[np.float32], bm25: NDArray[np.float64], right: int
) -> Tried:
    near = [{**rows[i], "_distance": 1 - float(cosines[i])} for i in np.argsort(-cosines)[:POOL]]
    matching = [{**rows[i], "_score": float(bm25[i])} for i in np.argsort(-bm25)[:POOL] if bm25[i] > 0]
    found = candidates(asked, near, matching)
    values = np.array([(c.vector, c.text, c.shared, c.name, -c.apart) for c in found], np.float64)
    return Tried(values, np.array([c.row["key"] == rows[right]["key"] for c in found]))


def mrr_under(tried: Sequence[Tried], weights: Weights) -> float:
    """MRR@10 in hundredths."""
    by = np.array([weights.vector, weights.text, weights.shared, weights.name, weights.apart])
    return round(100 * float(np.mean([_reciprocal(one.values @ by, one.right) for one in tried])), 2)


def _reciprocal(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    if not right.any():
        return 0.0
    rank = 1 + int((scores > scores[right].max()).sum())
    return 1 / rank if rank <= 10 else 0.0


class _Bm25:
    """BM25 of texts in memory, the words those of the index (`k1` 1.2, `b` 0.75, as in the store)."""

    def __init__(self, texts: Sequence[str]) -> None:
        bags = [Counter(_WORD.findall(search_words(text).lower())) for text in texts]
        self._long = np.array([sum(bag.values()) for bag in bags], np.float64)
        self._held: dict[str, list[tuple[int, int]]] = {}
        for i, bag in enumerate(bags):
            for word, count in bag.items():
                self._held.setdefault(word, []).append((i, count))

    def scores(self, query: str) -> NDArray[np.float64]:
        """BM25 of each text."""
        out = np.zeros(len(self._long))
        mean = max(1.0, float(self._long.mean()))
        for word in set(_WORD.findall(search_words(query).lower())):
            held = np.array(self._held.get(word, ()), np.float64).reshape(-1, 2)
            places, counts = held[:, 0].astype(int), held[:, 1]
            rarity = math.log(1 + (len(out) - len(held) + 0.5) / (len(held) + 0.5))
            out[places] += (
                rarity * counts * (_K1 + 1) / (counts + _K1 * (1 - _B + _B * self._long[places] / mean))
            )
        return out
