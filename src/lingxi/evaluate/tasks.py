"""What can be measured, as plain data: rankings, translations, pairs with a gold value, labelled texts.

A task is one set in one language. Texts are any sequence, so a corpus may stay on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

TaskType = Literal[
    "retrieval",
    "cross-lingual retrieval",
    "bitext mining",
    "reranking",
    "sts",
    "pair classification",
    "classification",
    "clustering",
    "code search",
    "long documents",
    "instruction following",
    "entity alignment",
    "rag",
]
# What a task's language ends with where it is measured only to compare another with it.
CONTROL = " (control)"
TASK_TYPES: tuple[str, ...] = get_args(TaskType)


@dataclass(frozen=True, slots=True)
class Head:
    """What a task is called: its set, its type, the language (or `from>to`) and the source of its rows."""

    name: str
    type: TaskType
    language: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """Queries that rank documents.

    `judged[i]` maps documents to the grade they have for query i. `candidates[i]`, where given, are the only
    documents ranked for it. Documents are positions in `documents`; where `parents` is given, a
    document is a segment of the text `parents[j]`, and judged and ranked are those texts by their best
    segment. `answers[i]`, where given, are strings of which a good passage contains one. With `alike` both
    sides are of equal standing, so the documents carry the instruction too.
    """

    head: Head
    metrics: tuple[str, ...]
    instruction: str
    query_ids: tuple[str, ...]
    queries: tuple[str, ...]
    document_ids: tuple[str, ...]
    documents: Sequence[str]
    judged: tuple[Mapping[int, float], ...]
    candidates: tuple[tuple[int, ...], ...] | None = None
    parents: tuple[int, ...] | None = None
    answers: tuple[tuple[str, ...], ...] | None = None
    alike: bool = False


@dataclass(frozen=True, slots=True)
class Bitext:
    """Sentences and their translations, row by row.

    Metrics: `accuracy` of the nearest neighbour, mean of both directions; `f1` from left to right as MTEB
    defines it.
    """

    head: Head
    metrics: tuple[str, ...]
    instruction: str
    ids: tuple[str, ...]
    left: tuple[str, ...]
    right: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Two texts a row with a gold value: a similarity (`spearman`) or 0/1 (`average_precision`)."""

    head: Head
    metrics: tuple[str, ...]
    instruction: str
    ids: tuple[str, ...]
    left: tuple[str, ...]
    right: tuple[str, ...]
    gold: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Texts with a class: `knn_accuracy` (5 nearest, leave one out) or `v_measure` of k-means clusters."""

    head: Head
    metrics: tuple[str, ...]
    instruction: str
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Instructed:
    """One query under two instructions: document `targets[i]` is right under the first, not under the other.

    The metric is `p_mrr` (FollowIR, arXiv 2403.15246): how far the target falls when the instruction
    changes.
    """

    head: Head
    ids: tuple[str, ...]
    queries: tuple[str, ...]
    instructions: tuple[str, ...]
    others: tuple[str, ...]
    documents: tuple[str, ...]
    targets: tuple[int, ...]


Task = Ranking | Bitext | Pairs | Labelled | Instructed


def ids_of(task: Task) -> tuple[str, ...]:
    """Ids of the items that a task's values stand for."""
    return task.query_ids if isinstance(task, Ranking) else task.ids


def texts_of(task: Task) -> tuple[str, ...]:
    """The text of each item: what a person reads to understand its value."""
    if isinstance(task, (Ranking, Instructed)):
        return task.queries
    return task.texts if isinstance(task, Labelled) else task.left


def expected_of(task: Task) -> list[str]:
    """What should have been found or said for each item, in words."""
    match task:
        case Ranking():
            return [_best(task, i) for i in range(len(task.queries))]
        case Instructed():
            return [task.documents[target] for target in task.targets]
        case Pairs():
            return [f"{right} ({gold:g})" for right, gold in zip(task.right, task.gold, strict=True)]
        case Bitext():
            return list(task.right)
        case Labelled():
            return list(task.labels)


def _best(task: Ranking, query: int) -> str:
    if not task.judged[query]:
        return " | ".join(task.answers[query]) if task.answers else ""
    best = max(task.judged[query], key=lambda position: task.judged[query][position])
    return task.documents[best] if task.parents is None else task.document_ids[best]
