"""One task under one system: a value for each item and metric, and what was found.

Most values are means of their items. Three are not: `spearman` and `average_precision` compare the items'
values with their gold, `v_measure` compares clusters with classes; for these the items carry both, and the
number is computed from all of them (`statistic`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lingxi import metrics
from lingxi.errors import MissingExtraError
from lingxi.evaluate.systems import Matrix, Ranked, System, Texts, best_first, masked, top_k
from lingxi.evaluate.tasks import Bitext, Instructed, Labelled, Pairs, Ranking, Task

Floats = metrics.Floats
_NEIGHBOURS = 5
# Letters of scripts that put spaces between words.
_SPACED = re.compile(r"[\u0000-\u0dff\u10a0-\u10ff\u1200-\u137f\u1e00-\u1fff]+")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Measured:
    """Values of one metric, item by item; `gold` where the number is not their mean.

    `found` holds the ids of the first documents found for each item, `top` the first of them in words.
    """

    metric: str
    values: Floats
    gold: Floats | None
    found: tuple[tuple[str, ...], ...]
    top: tuple[str, ...]


def measure(task: Task, system: System) -> list[Measured]:
    """Every metric of a task that the system can have (a system without vectors makes no clusters)."""
    match task:
        case Ranking():
            return _ranking(task, system)
        case Bitext():
            return _bitext(task, system)
        case Pairs():
            return _pairs(task, system)
        case Labelled():
            return [found for metric in task.metrics if (found := _labelled(task, metric, system))]
        case Instructed():
            return [_instructed(task, system)]


def statistic(metric: str) -> Callable[[Floats, Floats | None], float]:
    """From items to the number that is reported: the mean, or what compares values with gold."""
    return _STATISTICS.get(metric, lambda values, gold: float(values.mean()))


def is_mean(metric: str) -> bool:
    """Whether a metric's number is the mean of its items."""
    return metric not in _STATISTICS


# --- rankings ------------------------------------------------------------------------------------


def _ranking(task: Ranking, system: System) -> list[Measured]:
    depth = max(_depth(metric, task) for metric in task.metrics)
    ranked = rank(task, system, max(depth, _SHOWN))
    grades = graded(ranked, task)
    found = tuple(
        tuple(task.document_ids[int(p)] for p in row[:_SHOWN] if p >= 0) for row in ranked.positions
    )
    top = tuple(_text(task, row) for row in ranked.positions)
    return [
        Measured(metric, _value(metric, grades, ranked, task), None, found, top) for metric in task.metrics
    ]


def rank(task: Ranking, system: System, depth: int) -> Ranked:
    """The best documents (or parents of segments) of each query, among its candidates where it has some."""
    queries = Texts(task.queries, task.instruction)
    documents = Texts(task.documents, task.instruction if task.alike else None)
    blocks = system.blocks(queries, documents, task.candidates)
    if task.candidates is not None:
        blocks = iter([masked(blocks, task.candidates)])
    if task.parents is not None:
        blocks = iter([_by_parent(np.concatenate(list(blocks), axis=1), task.parents)])
    ranked = top_k(blocks, len(queries), depth)
    return Ranked(np.where(np.isfinite(ranked.scores), ranked.positions, -1), ranked.scores)


def _by_parent(scores: Matrix, parents: Sequence[int]) -> Matrix:
    """The best segment's score for each parent: MaxP, Dai and Callan 2019."""
    best = np.full((len(scores), max(parents) + 1), -np.inf, np.float32)
    for segment, parent in enumerate(parents):
        np.maximum(best[:, parent], scores[:, segment], out=best[:, parent])
    return best


def graded(ranked: Ranked, task: Ranking) -> Floats:
    """Grades [queries, depth] in ranked order, 0 where not judged."""
    rows = [
        [own.get(int(p), 0.0) for p in row] for row, own in zip(ranked.positions, task.judged, strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(ranked.positions.shape)


def _value(metric: str, grades: Floats, ranked: Ranked, task: Ranking) -> Floats:
    name, _, at = metric.partition("@")
    k = int(at) if at else grades.shape[1]
    if name == "ndcg":
        return metrics.ndcg_at_k(grades, [list(own.values()) for own in task.judged], k)
    if name == "mrr":
        return metrics.mrr_at_k(grades, k)
    if name == "recall":
        return metrics.recall_at_k(grades, [sum(g > 0 for g in own.values()) for own in task.judged], k)
    if name == "hits":
        return np.asarray((grades[:, :k] > 0).any(axis=1), np.float64)
    return _answered(ranked, task, k)


def _answered(ranked: Ranked, task: Ranking, k: int) -> Floats:
    """Whether one of the first k passages contains an answer, letters and digits compared."""
    answers = task.answers or ((),) * len(task.queries)
    found = []
    for row, wanted in zip(ranked.positions, answers, strict=True):
        passages = [task.documents[int(p)] for p in row[:k] if p >= 0]
        found.append(any(contains(passage, answer) for answer in wanted for passage in passages))
    return np.array(found, np.float64)


def contains(passage: str, answer: str) -> bool:
    """Whether a passage holds an answer: its words in order (Chen et al. 2017), or its signs where words are
    not spaced. An answer without letters or digits is in none.
    """
    wanted = plain(answer)
    if not wanted:
        return False
    if wanted not in plain(passage):
        return False
    if not _SPACED.fullmatch(wanted):
        return True
    return f" {_words(answer)} " in f" {_words(passage)} "


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold()))


def plain(text: str) -> str:
    """Letters and digits alone, in one case: how an answer is compared with a passage."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


def _depth(metric: str, task: Ranking) -> int:
    _, _, at = metric.partition("@")
    size = (max(task.parents) + 1) if task.parents else len(task.documents)
    return min(int(at), size) if at else size


def _text(task: Ranking, positions: Sequence[int]) -> str:
    first = int(positions[0]) if len(positions) else -1
    if first < 0:
        return ""
    return task.document_ids[first] if task.parents is not None else task.documents[first]


# --- the others ----------------------------------------------------------------------------------


def _bitext(task: Bitext, system: System) -> list[Measured]:
    left, right = Texts(task.left, task.instruction), Texts(task.right, task.instruction)
    forward = np.concatenate(list(system.blocks(left, right)), axis=1)
    backward = np.concatenate(list(system.blocks(right, left)), axis=1)
    both = (metrics.nearest_accuracy(forward) + metrics.nearest_accuracy(backward)) / 2
    nearest = forward.argmax(axis=1)
    values = {"accuracy": both, "f1": _f1(nearest)}
    found = tuple((task.ids[int(p)],) for p in nearest)
    top = tuple(task.right[int(p)] for p in nearest)
    return [Measured(metric, values[metric], None, found, top) for metric in task.metrics]


def _f1(nearest: np.ndarray) -> Floats:
    """F1 of each right text as the answer to its left one: 2 / (1 + how many chose it), or 0."""
    chosen = np.bincount(nearest, minlength=len(nearest))
    right = nearest == np.arange(len(nearest))
    return np.where(right, 2 / (1 + np.maximum(chosen, 1)), 0.0)


def _pairs(task: Pairs, system: System) -> list[Measured]:
    left, right = Texts(task.left, task.instruction), Texts(task.right, task.instruction)
    values = np.asarray(system.compare(left, right), np.float64)
    top = tuple(f"{value:.3f}" for value in values)
    return [
        Measured(metric, values, np.array(task.gold), ((),) * len(values), top) for metric in task.metrics
    ]


def _labelled(task: Labelled, metric: str, system: System) -> Measured | None:
    texts = Texts(task.texts, task.instruction)
    classes, labels = np.unique(task.labels, return_inverse=True)
    if metric == "v_measure":
        vectors = system.vectors(texts)
        if vectors is None:
            return None
        clusters = _clusters(vectors, len(classes))
        top = tuple(f"cluster {c}" for c in clusters)
        gold = labels.astype(np.float64)
        return Measured(metric, clusters.astype(np.float64), gold, ((),) * len(top), top)
    neighbours = _neighbours(system, texts)
    guesses = np.array([_vote(labels[row]) for row in neighbours])
    found = tuple(tuple(task.ids[int(i)] for i in row) for row in neighbours)
    top = tuple(str(classes[guess]) for guess in guesses)
    return Measured(metric, (guesses == labels).astype(np.float64), None, found, top)


def _neighbours(system: System, texts: Texts) -> np.ndarray:
    """The five nearest texts of each, itself left out; a thousand rows of scores are in memory at a time."""
    rows = []
    for start in range(0, len(texts), 1000):
        part = Texts(texts.texts[start : start + 1000], texts.instruction)
        scores = np.concatenate(list(system.blocks(part, texts)), axis=1)
        scores[np.arange(len(part)), start + np.arange(len(part))] = -np.inf
        rows.append(best_first(scores, _NEIGHBOURS))
    return np.concatenate(rows)


def _vote(labels: np.ndarray) -> int:
    """The most frequent label, the nearer one where two are."""
    names, first, counts = np.unique(labels, return_index=True, return_counts=True)
    return int(names[np.lexsort((first, -counts))[0]])


def _clusters(vectors: object, count: int) -> np.ndarray:
    try:
        from sklearn.cluster import KMeans
    except ImportError:
        raise MissingExtraError("scikit-learn", "evaluate", "clustering") from None
    return np.asarray(KMeans(n_clusters=count, n_init=4, random_state=0).fit_predict(vectors))


def _instructed(task: Instructed, system: System) -> Measured:
    """p-MRR: 1 − MRR_other / MRR_own where the target falls, MRR_own / MRR_other − 1 where it rises."""
    documents = Texts(task.documents)
    own, other = (
        np.concatenate(list(system.blocks(Texts(task.queries, said), documents)), axis=1)
        for said in (task.instructions, task.others)
    )
    targets = np.asarray(task.targets)
    before, after = _rank_of(own, targets), _rank_of(other, targets)
    # Ranks are inverted MRRs of one relevant document.
    values = np.where(before > after, after / before - 1, 1 - before / after)
    top = tuple(task.documents[int(p)] for p in own.argmax(axis=1))
    return Measured("p_mrr", values, None, ((),) * len(top), top)


def _rank_of(scores: Matrix, targets: np.ndarray) -> Floats:
    own = scores[np.arange(len(scores)), targets]
    # Ties count half: a system that tells no two documents apart ranks the target in the middle.
    return np.asarray(
        1 + (scores > own[:, None]).sum(1) + ((scores == own[:, None]).sum(1) - 1) / 2, np.float64
    )


# --- numbers that are no means -------------------------------------------------------------------


def _spearman(values: Floats, gold: Floats | None) -> float:
    assert gold is not None
    # Constant scores rank nothing: their correlation is undefined, and reported as none.
    return float(np.nan_to_num(metrics.spearman(values, gold)))


def _average_precision(values: Floats, gold: Floats | None) -> float:
    """Mean precision at each true pair, ties in the middle of their places (by mean over both orders)."""
    assert gold is not None
    return metrics.average_precision(values, gold)


def _v_measure(values: Floats, gold: Floats | None) -> float:
    assert gold is not None
    return metrics.v_measure(values, gold)


_STATISTICS: dict[str, Callable[[Floats, Floats | None], float]] = {
    "spearman": _spearman,
    "average_precision": _average_precision,
    "v_measure": _v_measure,
}
