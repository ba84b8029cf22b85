"""From candidates to one to one: optimal transport, the best assignment, or each other's best."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.apps.align.nearest import Candidates
from lingxi.errors import MissingExtraError
from lingxi.vectors import Floats

Pairs = NDArray[np.int64]
# Rounds of scaling; the order of candidates no longer changes after that.
_ROUNDS = 10


def packed(left: Pairs, right: Pairs, scores: Floats, rows: int, k: int) -> Candidates:
    """Scored pairs as the best `k` candidates of each of `rows` entities; -1 and -inf where fewer."""
    order = np.lexsort((-scores, left))
    left, right, scores = left[order], right[order], scores[order]
    rank = np.arange(len(left)) - np.searchsorted(left, np.arange(rows))[left]
    kept = rank < k
    found, said = np.full((rows, k), -1, np.int64), np.full((rows, k), -np.inf, np.float32)
    found[left[kept], rank[kept]] = right[kept]
    said[left[kept], rank[kept]] = scores[kept]
    return Candidates(found, said)


def transport(found: Candidates, columns: int, temperature: float) -> Candidates:
    """The same candidates by their share of an entropic transport plan (Sinkhorn, arXiv 1306.0895).

    exp(score / temperature), brought to a sum of one over each column and each row in turn: a right entity
    that many want goes to the one that wants it most. Scores become shares, 0 to 1.
    """
    kept = found.rows >= 0
    at = np.where(kept, found.rows, 0)
    highest = np.where(kept[:, :1], found.scores[:, :1], 0).astype(np.float64)
    shares = np.where(kept, np.exp((np.where(kept, found.scores, highest) - highest) / temperature), 0)
    for _ in range(_ROUNDS):
        wanted = np.bincount(at.ravel(), shares.ravel(), columns)
        shares /= np.maximum(wanted, 1e-12)[at]
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    order = np.lexsort((np.arange(at.shape[1])[None].repeat(len(at), 0), ~kept, -shares), axis=1)
    said = np.where(kept, shares, -np.inf).astype(np.float32)
    return Candidates(np.take_along_axis(found.rows, order, 1), np.take_along_axis(said, order, 1))


def mutual(found: Candidates, columns: int) -> Pairs:
    """The pairs [pairs, 2] in which each is the other's best; of equals the first row has it."""
    kept = found.rows >= 0
    best = np.full(columns, -np.inf)
    np.maximum.at(best, found.rows[kept], found.scores[kept])
    first = found.rows[:, 0]
    wins = np.flatnonzero(kept[:, 0] & (found.scores[:, 0] >= best[first]))
    _, unique = np.unique(first[wins], return_index=True)
    rows = wins[np.sort(unique)]
    return np.stack([rows, first[rows]], axis=1)


def greedy(found: Candidates, columns: int) -> Pairs:
    """Pairs [pairs, 2] by falling score, each row and each column once."""
    kept = np.flatnonzero(found.rows.ravel() >= 0)
    order = kept[np.argsort(-found.scores.ravel()[kept], kind="stable")]
    lefts, rights = order // found.rows.shape[1], found.rows.ravel()[order]
    free = np.ones(len(found.rows), bool), np.ones(columns, bool)
    pairs = []
    for left, right in zip(lefts.tolist(), rights.tolist(), strict=True):
        if free[0][left] and free[1][right]:
            free[0][left] = free[1][right] = False
            pairs.append((left, right))
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def assigned(found: Candidates, columns: int) -> Pairs:
    """The pairs [pairs, 2] with the largest sum of scores, each row and each column at most once.

    By scipy's LAPJV on the candidates; a row whose candidates all go to others stays alone.
    """
    sparse = scipy_sparse()
    rows, k = found.rows.shape
    kept = np.flatnonzero(found.rows.ravel() >= 0)
    scores = found.scores.ravel()[kept].astype(np.float64)
    # No weight may be 0, and to stay alone is worth less than any candidate.
    gains = np.concatenate([scores - scores.min(initial=0.0) + 1.0, np.full(rows, 1e-3)])
    owner = np.concatenate([kept // k, np.arange(rows)])
    other = np.concatenate([found.rows.ravel()[kept], columns + np.arange(rows)])
    matrix = sparse.csr_matrix((gains, (owner, other)), (rows, columns + rows))
    left, right = sparse.csgraph.min_weight_full_bipartite_matching(matrix, maximize=True)
    taken = right < columns
    return np.stack([left[taken], right[taken]], axis=1).astype(np.int64)


def scipy_sparse() -> Any:
    """scipy.sparse; raises MissingExtraError where scipy is not installed."""
    try:
        import scipy.sparse
        import scipy.sparse.csgraph
    except ImportError:
        raise MissingExtraError("scipy", "graphs", "aligning graphs") from None
    return scipy.sparse
