"""What a row of training data says, whatever its shape: a query with its passages, or why it is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lingxi.collect.instructions import SEARCH
from lingxi.errors import InputError
from lingxi.records import Passage, Task, digest
from lingxi.tables import Row, number_of

TASKS: Mapping[str, Task] = {
    "bitext": "bitext", "retrieval": "retrieval", "code": "code", "sts": "sts",
    "classification": "classification", "pair": "pair",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Where:
    """A row's file and number, the corpus its ids name, and the largest similarity that the file states."""

    path: Path
    number: int
    corpus: Mapping[str, str] | None = None
    top: float = 1.0

    def wrong(self, what: str) -> InputError:
        """The error of this row."""
        return InputError(f"{self.path}:{self.number}: {what}", "mend or remove the row")


@dataclass(frozen=True, slots=True)
class Example:
    """What a row says: a query with its passages; `group` is what splits never cut, the query where unset."""

    query: str
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...] = ()
    task: Task = "retrieval"
    instruction: str = SEARCH
    group: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


def joined(title: object, text: object) -> str:
    """A text below its title, as a corpus is read."""
    return f"{title}\n{text}" if title else str(text)


def labelled(
    found: Sequence[Passage], labels: Any, where: Where
) -> tuple[Sequence[Passage], Sequence[Passage]]:
    """Passages by their labels: 0 is a negative, 1 a positive; grades of a list are kept as scores."""
    listed = labels if isinstance(labels, list) else [labels]
    if len(listed) != len(found):
        raise where.wrong(f"{len(found)} texts have {len(listed)} labels")
    values = [number_of(label, "the label", where.path, where.number) for label in listed]
    if not isinstance(labels, list) and values[0] not in (0.0, 1.0):
        raise where.wrong(f"the label {values[0]:g} is neither 0 nor 1")
    graded = [_with_score(item, value) for item, value in zip(found, values, strict=True)]
    kept = graded if isinstance(labels, list) else list(found)
    right = [item for item, value in zip(kept, values, strict=True) if value > 0]
    return right, [item for item, value in zip(kept, values, strict=True) if value <= 0]


def scored(
    right: Sequence[Passage], wrong: Sequence[Passage], values: Any, where: Where
) -> tuple[Sequence[Passage], Sequence[Passage]]:
    """A teacher's scores of the positives, then of the negatives."""
    listed = values if isinstance(values, list) else [values]
    if len(listed) not in (len(right), len(right) + len(wrong)):
        raise where.wrong(f"{len(right) + len(wrong)} texts have {len(listed)} scores")
    numbers = iter([number_of(value, "the score", where.path, where.number) for value in listed])
    scored = [_with_score(item, next(numbers)) for item in right]
    return scored, [_with_score(item, next(numbers, None)) for item in wrong]


def _with_score(item: Passage, score: float | None) -> Passage:
    return Passage(item.id, item.text, item.media, score)


def example(
    query: object,
    right: Sequence[Passage],
    wrong: Sequence[Passage],
    where: Where,
    row: Row,
    instruction: str,
    *,
    task: Task = "retrieval",
    group: str | None = None,
    scores: Mapping[str, float] | None = None,
) -> Example:
    """The example that a row makes; raises InputError where it lacks a query, or all passages."""
    if not isinstance(query, str) or not query.strip():
        raise where.wrong("the query is missing or empty")
    if not right and not wrong:
        raise where.wrong("there is neither a positive nor a negative")
    texts, ids = {item.text for item in right}, {item.id for item in right}
    apart = tuple(item for item in wrong if item.text not in texts and item.id not in ids)
    said = next((row[name] for name in ("instruction", "prompt") if isinstance(row.get(name), str)), "")
    named = TASKS.get(str(row.get("task")), task)
    return Example(
        query.strip(), tuple(right), apart, named, said.strip() or instruction, group, scores or {}
    )


def passages(
    values: Any, where: Where, name: str, *, ids: Any = None, scores: Any = None, by_id: bool = False
) -> list[Passage]:
    """The passages of a field: texts, objects with an id and a text, or ids of the corpus."""
    listed = values if isinstance(values, list) else [] if values is None else [values]
    found = []
    for place, value in enumerate(listed):
        text, key = _looked_up(value, where) if by_id else _text_of(value, where, name)
        key = str(ids[place]) if isinstance(ids, list) and place < len(ids) else key
        score = scores[place] if isinstance(scores, list) and place < len(scores) else None
        number = None if score is None else number_of(score, "a score", where.path, where.number)
        if text.strip():
            found.append(Passage(key or digest(text), text, None, number))
        elif "neg" not in name:
            raise where.wrong(f"the field {name!r} is empty")
    return found


def _text_of(value: Any, where: Where, name: str) -> tuple[str, str | None]:
    if isinstance(value, dict):
        key = next((str(value[k]) for k in ("docid", "_id", "id") if value.get(k) is not None), None)
        return joined(value.get("title"), value.get("text") or value.get("document_text") or ""), key
    if not isinstance(value, str):
        raise where.wrong(f"the field {name!r} holds {type(value).__name__}, no text")
    return value, None


def _looked_up(value: Any, where: Where) -> tuple[str, str]:
    key = str(value.get("id")) if isinstance(value, dict) else str(value)
    if where.corpus is None:
        raise where.wrong("it names documents by id, and there is no corpus beside it")
    if key not in where.corpus:
        raise where.wrong(f"the corpus has no document {key!r}")
    return where.corpus[key], key
