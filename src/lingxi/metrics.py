"""Measures of ranking, matching and agreement, and the interval around their means.

All are vectorised over queries, and tests hold each against a slow reference and against ir-measures.
Rankings come as grades in ranked order, `[queries, depth]`, so nothing here knows what an id is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lingxi.errors import InputError

Floats = npt.NDArray[np.float64]


def ndcg_at_k(ranked: npt.ArrayLike, judged: Sequence[npt.ArrayLike], k: int) -> Floats:
    """Normalised discounted cumulative gain of each query, gain 2^grade - 1, discount log2(rank + 1).

    `ranked` [queries, depth] holds the grades in ranked order (0 where not judged); `judged` the grades of
    all judged passages of each query, in any order. A query without a relevant passage scores 0. Järvelin &
    Kekäläinen 2002, with the exponential gain of Burges et al. 2005.
    """
    _check_k(k)
    gains = np.exp2(_matrix(ranked)[:, :k]) - 1
    found = gains @ _discount(gains.shape[1])
    highest = np.array([_ideal(grades, k) for grades in judged])
    return _ratio(found, highest)


def mrr_at_k(ranked: npt.ArrayLike, k: int) -> Floats:
    """Reciprocal rank of each query's first relevant passage (grade above 0), 0 when none is in the top k."""
    _check_k(k)
    hits = _matrix(ranked)[:, :k] > 0
    if hits.shape[1] == 0:
        return np.zeros(len(hits))
    first = hits.argmax(axis=1)
    return np.where(hits.any(axis=1), 1.0 / (first + 1.0), 0.0)


def recall_at_k(ranked: npt.ArrayLike, relevant: npt.ArrayLike, k: int) -> Floats:
    """Share of each query's relevant passages found in the top k.

    `relevant` [queries] counts the relevant passages there are; a query with none scores 0.
    """
    _check_k(k)
    found = (_matrix(ranked)[:, :k] > 0).sum(axis=1).astype(np.float64)
    total = np.asarray(relevant, dtype=np.float64)
    return _ratio(found, total)


def nearest_accuracy(scores: npt.ArrayLike) -> Floats:
    """Whether column i scores highest in row i of `scores` [n, n], as 0 to 1 for each row.

    A tie for the highest score counts one part in as many as tie: what a fair draw would give on average.
    Raises InputError for a matrix that is not square.
    """
    table = np.asarray(scores, dtype=np.float32)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise InputError(
            f"scores of the shape {table.shape} match no pairs", "give one row and column for each pair"
        )
    if len(table) == 0:
        return np.zeros(0)
    best = table == table.max(axis=1, keepdims=True)
    return _ratio(np.diagonal(best).astype(np.float64), best.sum(axis=1))


def match_accuracy(left: npt.ArrayLike, right: npt.ArrayLike) -> tuple[Floats, Floats]:
    """`nearest_accuracy` of unit vectors `left` [n, dim] among `right` [n, dim], and the other way round."""
    scores = np.asarray(left, dtype=np.float32) @ np.asarray(right, dtype=np.float32).T
    return nearest_accuracy(scores), nearest_accuracy(scores.T)


def chance_ndcg(judged: Sequence[npt.ArrayLike], documents: int, k: int) -> Floats:
    """The nDCG@k that a shuffled ranking of `documents` passages has on average, exactly, for each query."""
    _check_k(k)
    depth = min(k, documents)
    found = np.array([(np.exp2(np.asarray(grades, np.float64)) - 1).sum() / documents for grades in judged])
    highest = np.array([_ideal(grades, k) for grades in judged])
    found = found * _discount(depth).sum()
    return _ratio(found, highest)


def spearman(left: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Spearman's rank correlation, -1 to 1, ties by mean rank; NaN when a side is constant.

    Raises InputError when the sides differ in length or hold fewer than two values.
    """
    first, second = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise InputError(
            f"a correlation of {first.shape} and {second.shape} values is undefined", "give two equal lists"
        )
    a, b = _mean_ranks(first), _mean_ranks(second)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm else float("nan")


def average_precision(values: npt.ArrayLike, gold: npt.ArrayLike) -> float:
    """Average precision of scores `values` [n] against labels `gold` [n] of 0 and 1, 0 without a true one.

    Mean of the precision at each threshold, weighted by the recall it adds: equal scores are one threshold.
    """
    scores, labels = np.asarray(values, np.float64), np.asarray(gold, np.float64) > 0
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    true = np.cumsum(labels[order])[ends]
    gained = np.diff(true, prepend=0)
    return float((gained * true / (ends + 1)).sum() / true[-1]) if len(true) and true[-1] else 0.0


def v_measure(clusters: npt.ArrayLike, classes: npt.ArrayLike) -> float:
    """Harmonic mean of homogeneity and completeness of a clustering [n] of classes [n] (Rosenberg 2007)."""
    _, left = np.unique(clusters, return_inverse=True)
    _, right = np.unique(classes, return_inverse=True)
    if len(left) == 0:
        return 0.0
    table = np.zeros((left.max() + 1, right.max() + 1))
    np.add.at(table, (left, right), 1)
    joint = table / table.sum()
    own = [_entropy(joint.sum(axis=axis)) for axis in (1, 0)]
    shared = own[0] + own[1] - _entropy(joint.ravel())
    homogeneity = shared / own[1] if own[1] else 1.0
    completeness = shared / own[0] if own[0] else 1.0
    both = homogeneity + completeness
    return float(2 * homogeneity * completeness / both) if both else 0.0


def bootstrap_interval(
    values: npt.ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values` [n]; the same seed gives the same interval.

    Efron 1979. Raises InputError when there are no values.
    """
    data = np.asarray(values, dtype=np.float64)
    chosen = _resamples(len(data), resamples, seed)
    return _percentiles(np.array([data[rows].mean() for rows in chosen]), level)


def bootstrap_spearman(
    left: npt.ArrayLike, right: npt.ArrayLike, *, level: float = 0.95, resamples: int = 500, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of Spearman's correlation, pairs drawn together; raises as `spearman`.

    A resample with a constant side, which ranks nothing, counts as a correlation of 0.
    """
    first, second = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    spearman(first, second)
    chosen = _resamples(len(first), resamples, seed)
    found = np.array([spearman(first[rows], second[rows]) for rows in chosen])
    return _percentiles(np.nan_to_num(found), level)


def bootstrap_macro(
    groups: Sequence[npt.ArrayLike], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of the groups' means, values drawn inside each group."""
    means = np.zeros(resamples)
    for number, group in enumerate(groups):
        data = np.asarray(group, dtype=np.float64)
        means += [data[rows].mean() for rows in _resamples(len(data), resamples, seed + number)]
    return _percentiles(means / max(len(groups), 1), level)


def _entropy(shares: Floats) -> float:
    held = shares[shares > 0]
    return float(-(held * np.log(held)).sum())


def _ideal(grades: npt.ArrayLike, k: int) -> float:
    best = np.exp2(np.sort(np.asarray(grades, dtype=np.float64))[::-1][:k]) - 1
    return float(best @ _discount(len(best)))


def _ratio(part: Floats, whole: npt.NDArray[Any]) -> Floats:
    """Part of whole, and 0 where there is no whole."""
    out: Floats = np.zeros(len(part))
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def _resamples(count: int, resamples: int, seed: int) -> Any:
    if count == 0:
        raise InputError("an interval of no values is undefined", "give at least one value")
    generator = np.random.default_rng(seed)
    return (generator.integers(0, count, count) for _ in range(resamples))


def _percentiles(found: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _mean_ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: Floats = last - (counts - 1) / 2.0
    return means[inverse]


def _discount(depth: int) -> Floats:
    ranks: Floats = np.arange(2, depth + 2, dtype=np.float64)
    return 1.0 / np.log2(ranks)


def _matrix(ranked: npt.ArrayLike) -> Floats:
    grades = np.asarray(ranked, dtype=np.float64)
    if grades.ndim != 2:
        raise InputError(
            f"rankings have the shape {grades.shape}",
            "give grades as [queries, depth], one row for each query",
        )
    return grades


def _check_k(k: int) -> None:
    if k < 1:
        raise InputError(f"k is {k}", "give a k of at least 1")
