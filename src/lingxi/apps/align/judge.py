"""The close calls: a reranker reads what is known of the first candidates, and has a say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lingxi.apps.align.nearest import Candidates
from lingxi.apps.align.records import Graph
from lingxi.apps.align.settings import AlignSettings
from lingxi.apps.align.words import contexts

TASK = "Given an entity of one knowledge graph, retrieve the same entity in another graph or language"


class Judge(Protocol):
    """What a reranker has to offer: the probability [n] that each pair is a match."""

    def predict(self, pairs: Sequence[tuple[str, str]], *, instruction: str | None = None) -> NDArray[Any]:
        """Probabilities of (query, document) pairs under an instruction."""


def judged(
    shares: Candidates, graphs: tuple[Graph, Graph], reranker: Judge, settings: AlignSettings
) -> tuple[Candidates, dict[tuple[int, int], float]]:
    """The candidates after the reranker was asked about the close ones, and what it said of each pair.

    A left entity is a close call where the second share is more than `margin` of the first; of its first
    `close` candidates each share is multiplied by the probability, and brought back to their sum.
    """
    rows, scores = shares.rows.copy(), shares.scores.copy()
    at = _close(shares, settings)
    width = min(settings.close, rows.shape[1])
    asked = [(int(r), int(c)) for r in at for c in rows[r, :width] if c >= 0]
    if not asked:
        return shares, {}
    texts = [_texts(graph) for graph in graphs]
    said = reranker.predict([(texts[0][r], texts[1][c]) for r, c in asked], instruction=TASK)
    known = dict(zip(asked, map(float, said), strict=True))
    for row in at:
        part = slice(0, int((rows[row, :width] >= 0).sum()))
        weight = scores[row, part] * np.array([known[int(row), int(c)] for c in rows[row, part]])
        weight *= scores[row, part].sum() / max(weight.sum(), 1e-12)
        order = np.argsort(-weight, kind="stable")
        rows[row, part], scores[row, part] = rows[row, part][order], weight[order]
    return Candidates(rows, scores), known


def _close(shares: Candidates, settings: AlignSettings) -> NDArray[np.int64]:
    if shares.rows.shape[1] < 2:
        return np.empty(0, np.int64)
    second = np.where(shares.rows[:, 1] >= 0, shares.scores[:, 1], 0)
    return np.flatnonzero((shares.rows[:, 1] >= 0) & (second > settings.margin * shares.scores[:, 0]))


def _texts(graph: Graph) -> list[str]:
    return [
        text or entity.name or entity.id for text, entity in zip(contexts(graph), graph.entities, strict=True)
    ]
