"""Metrics against slow references, ir-measures and scipy."""

import math
from collections.abc import Sequence

import ir_measures
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, nDCG

from lingxi import metrics
from lingxi.errors import InputError

GRADES = st.lists(st.integers(0, 3), min_size=1, max_size=12)


def slow_ndcg(ranked: Sequence[float], judged: Sequence[float], k: int) -> float:
    def dcg(grades: Sequence[float]) -> float:
        return sum((2**grade - 1) / math.log2(rank + 2) for rank, grade in enumerate(grades[:k]))

    best = dcg(sorted(judged, reverse=True))
    return dcg(ranked) / best if best else 0.0


@given(GRADES, st.integers(1, 15), st.randoms())
def test_ndcg_is_the_slow_one(grades: list[int], k: int, random: "np.random.RandomState") -> None:
    judged = list(grades)
    random.shuffle(grades)
    found = metrics.ndcg_at_k([grades], [judged], k)
    assert found[0] == pytest.approx(slow_ndcg(grades, judged, k))
    assert 0 <= found[0] <= 1 + 1e-12


@given(GRADES, st.integers(1, 15))
def test_mrr_and_recall_are_the_slow_ones(grades: list[int], k: int) -> None:
    first = next((1 / (rank + 1) for rank, grade in enumerate(grades[:k]) if grade > 0), 0.0)
    relevant = sum(grade > 0 for grade in grades)
    share = sum(grade > 0 for grade in grades[:k]) / relevant if relevant else 0.0
    assert metrics.mrr_at_k([grades], k)[0] == pytest.approx(first)
    assert metrics.recall_at_k([grades], [relevant], k)[0] == pytest.approx(share)


def test_known_answers_of_ir_measures() -> None:
    generator = np.random.default_rng(0)
    qrels, run, ranked, judged = {}, {}, [], []
    for query in range(20):
        grades = generator.integers(0, 2, 40)
        grades[query] = 1
        scores = generator.permutation(40)
        qrels[str(query)] = {str(d): int(g) for d, g in enumerate(grades)}
        run[str(query)] = {str(d): float(s) for d, s in enumerate(scores)}
        ranked.append(grades[np.argsort(-scores)])
        judged.append(grades)
    theirs = ir_measures.calc_aggregate([nDCG @ 10, RR @ 10, R @ 10], qrels, run)
    relevant = [int(grades.sum()) for grades in judged]
    assert metrics.ndcg_at_k(ranked, judged, 10).mean() == pytest.approx(theirs[nDCG @ 10])
    assert metrics.mrr_at_k(ranked, 10).mean() == pytest.approx(theirs[RR @ 10])
    assert metrics.recall_at_k(ranked, relevant, 10).mean() == pytest.approx(theirs[R @ 10])


def test_graded_gain_as_ir_measures_with_the_gain_written_out() -> None:
    qrels = {"q": {"a": 2**3 - 1, "b": 2**1 - 1, "c": 0}}
    theirs = ir_measures.calc_aggregate([nDCG @ 10], qrels, {"q": {"c": 3.0, "b": 2.0, "a": 1.0}})
    assert metrics.ndcg_at_k([[0, 1, 3]], [[3, 1, 0]], 10)[0] == pytest.approx(theirs[nDCG @ 10])


def test_queries_without_relevant_passages_score_zero() -> None:
    assert metrics.ndcg_at_k([[0, 0]], [[0, 0]], 10)[0] == 0
    assert metrics.recall_at_k([[0, 0]], [0], 10)[0] == 0
    assert metrics.mrr_at_k(np.zeros((1, 0)), 10)[0] == 0


def test_chance_is_the_mean_of_shuffles() -> None:
    generator, grades = np.random.default_rng(0), np.array([3, 1, 0, 0, 0, 0, 0])
    drawn = np.array([generator.permutation(grades) for _ in range(20_000)])
    shuffled = metrics.ndcg_at_k(drawn, [grades] * len(drawn), 5).mean()
    assert metrics.chance_ndcg([grades], 7, 5)[0] == pytest.approx(shuffled, abs=0.01)


def test_nearest_accuracy_shares_ties() -> None:
    scores = [[1.0, 1.0, 0.0], [0.2, 0.9, 0.1], [0.5, 0.0, 0.4]]
    assert metrics.nearest_accuracy(scores).tolist() == [0.5, 1.0, 0.0]
    assert metrics.nearest_accuracy(np.zeros((4, 4))).tolist() == [0.25] * 4
    assert len(metrics.nearest_accuracy(np.zeros((0, 0)))) == 0
    with pytest.raises(InputError):
        metrics.nearest_accuracy([[1.0, 2.0]])


@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_matching_is_the_slow_one(count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    left, right = generator.normal(size=(2, count, 5)).astype(np.float32)
    forward, backward = metrics.match_accuracy(left, right)
    scores = left @ right.T
    assert forward.tolist() == [
        float(max(range(count), key=row.__getitem__) == i) for i, row in enumerate(scores)
    ]
    turned = scores.T
    assert backward.tolist() == [
        float(max(range(count), key=row.__getitem__) == i) for i, row in enumerate(turned)
    ]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_spearman_is_scipys(pairs: list[tuple[int, int]]) -> None:
    left, right = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    found = metrics.spearman(left, right)
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(scipy.stats.spearmanr(left, right).statistic)


def test_intervals_cover_and_repeat() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.1, 200)
    low, high = metrics.bootstrap_interval(values, seed=3)
    assert (low, high) == metrics.bootstrap_interval(values, seed=3)
    assert low < values.mean() < high
    exact = 1.96 * values.std() / math.sqrt(len(values))
    assert high - low == pytest.approx(2 * exact, rel=0.15)
    assert metrics.bootstrap_interval([0.5, 0.5]) == (0.5, 0.5)
    with pytest.raises(InputError):
        metrics.bootstrap_interval([])


def test_intervals_of_means_and_correlations() -> None:
    generator = np.random.default_rng(2)
    groups = [generator.normal(level, 0.1, 100) for level in (0.2, 0.8)]
    low, high = metrics.bootstrap_macro(groups, resamples=500)
    assert low < 0.5 < high and high - low < 0.1
    left = generator.normal(size=100)
    right = left + generator.normal(size=100)
    low, high = metrics.bootstrap_spearman(left, right, resamples=300)
    assert low < metrics.spearman(left, right) < high


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match="k is 0"):
        metrics.ndcg_at_k([[1]], [[1]], 0)
    with pytest.raises(InputError, match="shape"):
        metrics.mrr_at_k([1, 2], 3)
    with pytest.raises(InputError, match="undefined"):
        metrics.spearman([1.0], [2.0])
