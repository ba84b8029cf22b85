"""A pipeline: the first documents of any system, ordered by a reranker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lingxi.evaluate.systems import Candidates, Matrix, Ranks, System, Texts, masked, top_k


class Reranked:
    """The first `depth` documents in a reranker's order; the others behind them, as they were."""

    def __init__(
        self, first: System, reranker: Ranks, depth: int, fingerprint: str, name: str | None = None
    ) -> None:
        self._first = first
        self._reranker = reranker
        self._depth = depth
        self.name = name or f"{first.name}+{Path(reranker.name).name}/{depth}"
        self.fingerprint = f"{first.fingerprint}+{fingerprint}/{depth}"

    def blocks(
        self, queries: Texts, documents: Texts, candidates: Candidates | None = None
    ) -> Iterator[Matrix]:
        """Probabilities above those not reranked, whose scores keep their order below zero."""
        blocks = self._first.blocks(queries, documents)
        scores = np.concatenate(list(blocks), axis=1) if candidates is None else masked(blocks, candidates)
        behind = np.asarray(scores - scores.max(initial=0.0) - 1.0, np.float32)
        ranks = top_k(iter([scores]), len(queries), self._depth).positions
        asked = {row: ranked[np.isfinite(scores[row, ranked])] for row, ranked in enumerate(ranks)}
        # All queries of an instruction at once: a reranker may read a document once for all of them.
        for instruction in dict.fromkeys(_of(queries, row) for row in asked):
            rows = [row for row in asked if _of(queries, row) == instruction]
            pairs = [(queries.texts[row], documents.texts[column]) for row in rows for column in asked[row]]
            found = self._reranker.predict(pairs, instruction=instruction)
            stops = np.cumsum([len(asked[row]) for row in rows])[:-1]
            for row, part in zip(rows, np.split(found, stops), strict=True):
                behind[row, asked[row]] = part
        yield behind

    def compare(self, left: Texts, right: Texts) -> Matrix:
        """Probabilities [n] of the pairs, under the left texts' instruction."""
        found = [
            self._reranker.predict([(left.texts[i], right.texts[i])], instruction=_of(left, i))
            for i in range(len(left))
        ]
        return np.asarray(np.concatenate(found) if found else [], np.float32)

    def vectors(self, texts: Texts) -> None:
        """A reranker has no vectors."""


def _of(queries: Texts, row: int) -> str | None:
    return queries.instruction[row] if isinstance(queries.instruction, tuple) else queries.instruction
