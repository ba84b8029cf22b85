"""What is measured, behind one face: texts in, scores out, a block of documents at a time.

`dense.py` holds models, `lexical.py` the floors under them, `reranked.py` a reranker over either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Candidates = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts with the instruction they carry: one for all, one each, or None for documents."""

    texts: Sequence[str]
    instruction: str | tuple[str, ...] | None = None

    def __len__(self) -> int:
        """How many texts there are."""
        return len(self.texts)


class System(Protocol):
    """Anything that scores texts against texts."""

    @property
    def name(self) -> str:
        """The name it has in reports."""

    @property
    def fingerprint(self) -> str:
        """What its scores depend on: another model, width or prefix has another one."""

    def blocks(
        self, queries: Texts, documents: Texts, candidates: Candidates | None = None
    ) -> Iterator[Matrix]:
        """Scores [queries, some documents], higher is nearer, block after block in the order of the corpus.

        Of scores outside a query's `candidates` nothing is promised: who asks masks them.
        """

    def compare(self, left: Texts, right: Texts) -> Matrix:
        """Scores [n] of texts row by row."""

    def vectors(self, texts: Texts) -> Any | None:
        """Vectors [n, dim] (dense or sparse) that clusters can be made of, or None where it has none."""


class Ranks(Protocol):
    """What a pipeline's second stage must offer; `lingxi.Reranker` does."""

    name: str

    def predict(self, pairs: Any, *, instruction: str | None = None) -> npt.NDArray[Any]:
        """Probabilities [n] that each (query, document) pair is a match."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best documents of each query: positions and scores [queries, depth], best first; −1 where none."""

    positions: npt.NDArray[np.int64]
    scores: Matrix


def top_k(blocks: Iterator[Matrix], queries: int, k: int) -> Ranked:
    """The k best of all blocks, in memory for one block at a time; equal scores keep the corpus's order."""
    positions = np.full((queries, 0), -1, np.int64)
    scores = np.zeros((queries, 0), np.float32)
    start = 0
    for block in blocks:
        width = block.shape[1]
        ours = np.broadcast_to(np.arange(start, start + width), block.shape)
        positions = np.concatenate((positions, ours), axis=1)
        scores = np.concatenate((scores, block), axis=1)
        start += width
        order = best_first(scores, k)
        positions = np.take_along_axis(positions, order, axis=1)
        scores = np.take_along_axis(scores, order, axis=1)
    return Ranked(positions, scores)


def masked(blocks: Iterator[Matrix], candidates: Candidates) -> Matrix:
    """All scores of all documents, −inf outside each query's candidates."""
    scores = np.concatenate(list(blocks), axis=1)
    inside = np.full(scores.shape, -np.inf, np.float32)
    for row, own in enumerate(candidates):
        inside[row, list(own)] = scores[row, list(own)]
    return inside


def best_first(scores: Matrix, k: int) -> npt.NDArray[np.int64]:
    """Columns of the k highest scores of each row, highest first, the leftmost of equal ones first."""
    width = scores.shape[1]
    if width > 4 * k:
        # All that tie with the k-th highest stay in, so that which of them is first is not left to chance.
        limit = np.partition(scores, width - k, axis=1)[:, width - k]
        keep = max(k, int((scores >= limit[:, None]).sum(axis=1).max()))
        near = np.sort(np.argpartition(-scores, min(keep, width) - 1, axis=1)[:, :keep], axis=1)
        order = np.argsort(-np.take_along_axis(scores, near, axis=1), axis=1, kind="stable")[:, :k]
        return np.asarray(np.take_along_axis(near, order, axis=1), np.int64)
    return np.asarray(np.argsort(-scores, axis=1, kind="stable")[:, :k], np.int64)
