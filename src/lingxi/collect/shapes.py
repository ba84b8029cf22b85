"""Rows of training data as others write them: sentence-transformers, FlagEmbedding, Tevatron, ms-swift, …

A shape is recognised by the fields of its rows. A label of 0 makes a negative; what is empty is no negative,
nor is a text that is a positive of the same row. Of the labels of inference only the words are read: as
numbers, 0 means entailment in some sets and the contrary in others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lingxi.collect.examples import Example, Where, example, labelled, passages, scored
from lingxi.collect.instructions import ANSWER, SEARCH, SIMILAR
from lingxi.errors import InputError
from lingxi.records import Passage, digest
from lingxi.tables import Row, number_of

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
# What a premise says of its hypothesis; annotators who did not agree are no answer either.
_INFERRED: Mapping[str, bool | None] = {
    "entailment": True, "contradiction": False, "neutral": None, "-": None,
}  # fmt: skip


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
    """The questions of a SQuAD file: each asks for its paragraph, a negative where it holds no answer.

    Raises InputError for what is no list of objects where SQuAD has one.
    """
    for article in _objects(document, "data", where):
        for paragraph in _objects(article, "paragraphs", where):
            for asked in _objects(paragraph, "qas", where):
                row = {**asked, "context": paragraph.get("context")}
                answered = not asked.get("is_impossible") and bool(asked.get("answers", True))
                yield _question(row, where, answered)


def _objects(held: Row, name: str, where: Where) -> list[Row]:
    listed = held.get(name, [])
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise where.wrong(f"{name!r} of SQuAD is no list of objects")
    return listed


def _flag(row: Row, where: Where) -> Iterator[Example]:
    """FlagEmbedding: lists `pos` and `neg`, with a teacher's scores where it has any."""
    right = passages(row["pos"], where, "pos", scores=row.get("pos_scores"), ids=row.get("pos_id"))
    wrong = passages(row.get("neg"), where, "neg", scores=row.get("neg_scores"), ids=row.get("neg_id"))
    yield example(row["query"], right, wrong, where, row, SEARCH)


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
    found = passages(right, where, "positive_messages"), passages(wrong, where, "negative_messages")
    yield example(query, *found, where, row, instruction or SEARCH)


def _tevatron(row: Row, where: Where) -> Iterator[Example]:
    """Tevatron: passages with ids, or the ids of a corpus beside it."""
    right, wrong = (
        passages(row.get(f"{side}_passages") or row.get(f"{side}_document_ids"), where, f"{side}_passages",
                  by_id=f"{side}_passages" not in row)
        for side in ("positive", "negative")
    )  # fmt: skip
    yield example(row.get("query_text", row.get("query")), right, wrong, where, row, SEARCH)


def _automodel(row: Row, where: Where) -> Iterator[Example]:
    """Automodel: `pos_doc` and `neg_doc`, texts or ids of a corpus beside it."""
    items = [item for name in ("pos_doc", "neg_doc") for item in _listed(row.get(name))]
    without_text = any(isinstance(item, dict) and "id" in item and "text" not in item for item in items)
    by_id = where.corpus is not None or "corpus_id" in row or without_text
    right, wrong = (passages(row.get(name), where, name, by_id=by_id) for name in ("pos_doc", "neg_doc"))
    yield example(row["question"], right, wrong, where, row, ANSWER)


def _squad_row(row: Row, where: Where) -> Iterator[Example]:
    """A row of SQuAD as the Hub has it; without an answer, the paragraph is a negative."""
    answers = row.get("answers", row.get("answer"))
    texts = answers.get("text") if isinstance(answers, dict) else answers
    yield _question(row, where, texts is None or len(texts) > 0)


def _question(row: Row, where: Where, answered: bool) -> Example:
    found = passages([row.get("context")], where, "context")
    right, wrong = (found, ()) if answered else ((), found)
    return example(row.get("question"), right, wrong, where, row, ANSWER, group=digest(found[0].text))


def _columns(row: Row, where: Where) -> Iterator[Example]:
    """sentence-transformers: a query, positives, negatives; `label` or `score` where it has one."""
    asks, answers = next(pair for pair in (*_PAIRS, *_ALIKE) if pair[0] in row and pair[1] in row)
    if (asks, answers) in _ALIKE:
        yield from _alike(row, asks, answers, where)
        return
    scores = row.get("scores", row.get("score"))
    labels = row.get("labels", row.get("label"))
    named = [name for name in row if isinstance(name, str) and _NEGATIVE.fullmatch(name)]
    right: Sequence[Passage] = passages(row[answers], where, answers, ids=row.get("positive_ids"))
    # Ids and scores count through all the columns of negatives, those that are empty too.
    texts = ["" if text is None else text for name in named for text in _listed(row[name])]
    wrong: Sequence[Passage] = passages(texts, where, ", ".join(named), ids=row.get("negative_ids"))
    instruction = ANSWER if asks == "question" else SEARCH
    if labels is not None and not wrong:
        right, wrong = labelled(right, labels, where)
    elif (values := scores if scores is not None else labels) is not None:
        right, wrong = scored(right, wrong, values, where)
    yield example(row[asks], right, wrong, where, row, instruction)


def _alike(row: Row, first: str, second: str, where: Where) -> Iterator[Example]:
    """Two texts: with a similarity, with a label that says whether they mean the same, or without.

    A pair of inference that is neutral says neither.
    """
    found: Sequence[Passage] = passages([row[second]], where, second)
    similarity = similarity_of(row)
    if similarity is not None:
        value = number_of(similarity, "the score", where.path, where.number)
        if not 0 <= value <= where.top <= _LARGEST_SIMILARITY:
            raise where.wrong(f"the similarity {value:g} is not between 0 and 1, or 0 and 5")
        scale = _LARGEST_SIMILARITY if where.top <= 1 else 1.0
        scores = {"similarity": value * scale}
        yield example(row[first], found, (), where, row, SIMILAR, task="sts", scores=scores)
        return
    labels = row.get("labels", row.get("label", row.get("gold_label")))
    if first == "premise" or str(labels) in _INFERRED:
        labels = _inferred(labels, where)
        if labels is None:
            return
    right, wrong = (found, ()) if labels is None else labelled(found, labels, where)
    yield example(row[first], right, wrong, where, row, SIMILAR, task="pair")


def _inferred(label: Any, where: Where) -> bool | None:
    """Whether a premise entails its hypothesis; None where it says neither that nor the contrary."""
    if label is None:
        raise where.wrong("a premise and its hypothesis have no label")
    if not isinstance(label, str) or label not in _INFERRED:
        raise where.wrong(
            f"the label {label!r} of a premise and its hypothesis may mean either, as sets number entailment "
            f"as 0 or as 1: write {', '.join(name for name in _INFERRED if len(name) > 1)}"
        )
    return _INFERRED[label]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


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
