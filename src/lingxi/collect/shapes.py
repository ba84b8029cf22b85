"""Rows of training data as others write them: sentence-transformers, FlagEmbedding, Tevatron, ms-swift, …

A shape is recognised by the fields of its rows. A label of 0 makes a negative; what is empty is no negative,
nor is a text that is a positive of the same row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lingxi.collect.instructions import ANSWER, SEARCH, SIMILAR
from lingxi.errors import InputError
from lingxi.records import Passage, Task, digest
from lingxi.tables import Row, number_of

TASKS: Mapping[str, Task] = {
    "bitext": "bitext", "retrieval": "retrieval", "code": "code", "sts": "sts",
    "classification": "classification", "pair": "pair",
}  # fmt: skip
# The first column of a pair, and those that may answer it; the sides of the last ones say the same or do not.
_PAIRS = (
    *(("anchor", answer) for answer in ("positive", "positives")),
    *(
        ("query", answer)
        for answer in ("positive", "positives", "answer", "response", "document", "passage", "text")
    ),
    *(("question", answer) for answer in ("positive", "answer", "document", "passage")),
)
_ALIKE = (
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("text1", "text2"),
    ("premise", "hypothesis"),
)
_NEGATIVE = re.compile(r"(?:hard_)?negatives?(?:_\d+)?")
_LARGEST_SIMILARITY = 5.0


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


Read = Callable[[Row, Where], Iterator[Example]]


def read_row(row: Row, where: Where) -> Iterator[Example]:
    """The examples of a row; raises InputError for one of no known shape, or that lacks what it needs."""
    for fits, read in SHAPES.values():
        if fits(row):
            yield from read(row, where)
            return
    known = ", ".join(SHAPES)
    raise InputError(
        f"{where.path}:{where.number} has the fields {', '.join(map(str, row))}, which are no known shape",
        f"rename the columns to one of: {known}, SQuAD, BEIR",
    )


def similarity_of(row: Row) -> Any:
    """The graded similarity that a row of two texts states; None where it states none."""
    graded = any(left in row and right in row for left, right in _ALIKE)
    return row.get("score", row.get("similarity")) if graded else None


def squad(document: Any, where: Where) -> Iterator[Example]:
    """The questions of a SQuAD file: each asks for its paragraph, a negative where it holds no answer."""
    for article in document["data"]:
        for paragraph in article.get("paragraphs", ()):
            for asked in paragraph.get("qas", ()):
                row = {**asked, "context": paragraph.get("context")}
                answered = not asked.get("is_impossible") and bool(asked.get("answers", True))
                yield _question(row, where, answered)


def joined(title: object, text: object) -> str:
    """A text below its title, as a corpus is read."""
    return f"{title}\n{text}" if title else str(text)


def _flag(row: Row, where: Where) -> Iterator[Example]:
    """FlagEmbedding: lists `pos` and `neg`, with a teacher's scores where it has any."""
    right = _passages(row["pos"], where, "pos", scores=row.get("pos_scores"), ids=row.get("pos_id"))
    wrong = _passages(row.get("neg"), where, "neg", scores=row.get("neg_scores"), ids=row.get("neg_id"))
    yield _example(row["query"], right, wrong, where, row, SEARCH)


def _swift(row: Row, where: Where) -> Iterator[Example]:
    """ms-swift: chats; a system turn of the query is its instruction."""
    instruction = " ".join(_turns(row["messages"], where, "system"))
    query = "\n".join(_turns(row["messages"], where, "user"))
    right, wrong = (
        ["\n".join(_turns(chat, where, None)) for chat in row.get(name) or ()]
        for name in ("positive_messages", "negative_messages")
    )
    if str(row.get("label", 1)) in ("0", "0.0"):
        right, wrong = [], [*right, *wrong]
    found = _passages(right, where, "positive_messages"), _passages(wrong, where, "negative_messages")
    yield _example(query, *found, where, row, instruction or SEARCH)


def _tevatron(row: Row, where: Where) -> Iterator[Example]:
    """Tevatron: passages with ids, or the ids of a corpus beside it."""
    right, wrong = (
        _passages(row.get(f"{side}_passages") or row.get(f"{side}_document_ids"), where, f"{side}_passages",
                  by_id=f"{side}_passages" not in row)
        for side in ("positive", "negative")
    )  # fmt: skip
    yield _example(row.get("query_text", row.get("query")), right, wrong, where, row, SEARCH)


def _automodel(row: Row, where: Where) -> Iterator[Example]:
    """Automodel: `pos_doc` and `neg_doc`, texts or ids of a corpus beside it."""
    by_id = where.corpus is not None
    right, wrong = (_passages(row.get(name), where, name, by_id=by_id) for name in ("pos_doc", "neg_doc"))
    yield _example(row["question"], right, wrong, where, row, ANSWER)


def _squad_row(row: Row, where: Where) -> Iterator[Example]:
    """A row of SQuAD as the Hub has it; without an answer, the paragraph is a negative."""
    answers = row.get("answers", row.get("answer"))
    texts = answers.get("text") if isinstance(answers, dict) else answers
    yield _question(row, where, texts is None or len(texts) > 0)


def _question(row: Row, where: Where, answered: bool) -> Example:
    found = _passages([row.get("context")], where, "context")
    right, wrong = (found, ()) if answered else ((), found)
    return _example(row.get("question"), right, wrong, where, row, ANSWER, group=digest(found[0].text))


def _columns(row: Row, where: Where) -> Iterator[Example]:
    """sentence-transformers: a query, positives, negatives; `label` or `score` where it has one."""
    asks, answers = next(pair for pair in (*_PAIRS, *_ALIKE) if pair[0] in row and pair[1] in row)
    if (asks, answers) in _ALIKE:
        yield _alike(row, asks, answers, where)
        return
    scores = row.get("scores", row.get("score"))
    labels = row.get("labels", row.get("label"))
    named = [name for name in row if isinstance(name, str) and _NEGATIVE.fullmatch(name)]
    right: Sequence[Passage] = _passages(row[answers], where, answers, ids=row.get("positive_ids"))
    wrong: Sequence[Passage] = [
        p for name in named for p in _passages(row[name], where, name, ids=row.get("negative_ids"))
    ]
    instruction = ANSWER if asks == "question" else SEARCH
    if labels is not None and not wrong:
        right, wrong = _labelled(right, labels, where)
    elif (values := scores if scores is not None else labels) is not None:
        right, wrong = _scored(right, wrong, values, where)
    yield _example(row[asks], right, wrong, where, row, instruction)


def _alike(row: Row, first: str, second: str, where: Where) -> Example:
    """Two texts: with a similarity, with a label that says whether they mean the same, or without."""
    found: Sequence[Passage] = _passages([row[second]], where, second)
    similarity = similarity_of(row)
    if similarity is not None:
        value = number_of(similarity, "the score", where.path, where.number)
        if not 0 <= value <= where.top <= _LARGEST_SIMILARITY:
            raise where.wrong(f"the similarity {value:g} is not between 0 and 1, or 0 and 5")
        scale = _LARGEST_SIMILARITY if where.top <= 1 else 1.0
        scores = {"similarity": value * scale}
        return _example(row[first], found, (), where, row, SIMILAR, task="sts", scores=scores)
    labels = row.get("labels", row.get("label"))
    right, wrong = (found, ()) if labels is None else _labelled(found, labels, where)
    return _example(row[first], right, wrong, where, row, SIMILAR, task="pair")


def _labelled(
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


def _scored(
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


def _example(
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


def _passages(
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


def _turns(chat: Any, where: Where, role: str | None) -> list[str]:
    if not isinstance(chat, list) or not all(isinstance(turn, dict) for turn in chat):
        raise where.wrong("a chat is no list of turns")
    return [str(t.get("content") or "") for t in chat if role is None or t.get("role") == role]


def _has(*names: str) -> Callable[[Row], bool]:
    return lambda row: all(name in row for name in names)


SHAPES: Mapping[str, tuple[Callable[[Row], bool], Read]] = {
    "FlagEmbedding (query, pos, neg)": (_has("query", "pos"), _flag),
    "ms-swift (messages, positive_messages)": (_has("messages", "positive_messages"), _swift),
    "Tevatron (query_id, positive_passages)": (_has("query_id", "positive_passages"), _tevatron),
    "Tevatron (query_id, positive_document_ids)": (_has("query_id", "positive_document_ids"), _tevatron),
    "Automodel (question, pos_doc)": (_has("question", "pos_doc"), _automodel),
    "SQuAD rows (question, context)": (_has("question", "context"), _squad_row),
    "sentence-transformers (anchor or query, positive, negative; sentence1, sentence2)": (
        lambda row: any(asks in row and answers in row for asks, answers in (*_PAIRS, *_ALIKE)),
        _columns,
    ),
}
