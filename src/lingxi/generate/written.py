"""Queries that a language model writes: for each passage it first chooses who would ask and how, then asks.

Comes in: documents and a model to ask. Goes out: one pair a document, or a counted reason why there is none.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from lingxi import languages
from lingxi.collect.origin import pair
from lingxi.encoding import Encode
from lingxi.generate.llm import Chat, RefusedError
from lingxi.generate.passages import UNKNOWN, clipped, fits, language_of, parts, title_of
from lingxi.generate.settings import WrittenSettings
from lingxi.generate.structure import origin_of
from lingxi.generate.wording import to_choose, to_write
from lingxi.records import Document, Pair, digest, drawn

Personas = Callable[[str], Sequence[str]]
"""The personas that are offered for a passage."""

# A query of this share of its own script's letters is in its language as far as script tells.
_LEAST_SCRIPT = 0.3
# Queries of more words than asked for by this factor (and these words) are no queries.
_MOST_OVER, _MOST_WORDS = 4, 12
_LONGEST = 1_000


class Chosen(BaseModel):
    """The answer to the first call."""

    persona: int
    question_type: str
    difficulty: str


class Query(BaseModel):
    """The answer to the second call."""

    query: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """One passage to ask about."""

    document: Document
    passage: str
    language: str
    query_language: str
    words: int


def write_queries(
    documents: Iterable[Document],
    chat: Chat,
    settings: WrittenSettings,
    refused: Counter[str],
    personas: Personas | None = None,
) -> Iterator[Pair]:
    """One pair a document, in the order of the documents; those without are counted in `refused` by reason.

    `concurrency` documents are asked about at a time, and no more of them are held than twice that. Personas
    are drawn by seed where no `personas` offers them. Raises InputError as `Chat.answer`.
    """
    offered = personas or drawn_personas(settings)
    waiting: deque[Future[Pair]] = deque()
    most = 2 * settings.chat.concurrency
    pool = ThreadPoolExecutor(settings.chat.concurrency)
    try:
        for document in documents:
            wanted = want(document, settings)
            if wanted is None:
                refused["no passage of that length"] += 1
                continue
            waiting.append(pool.submit(_written, wanted, offered(wanted.passage), chat, settings))
            if len(waiting) == most:
                yield from _done(waiting.popleft(), refused)
        while waiting:
            yield from _done(waiting.popleft(), refused)
    finally:
        pool.shutdown(cancel_futures=True)


def want(document: Document, settings: WrittenSettings) -> Wanted | None:
    """A passage of the document by seed, and the language and length of its query; None without one."""
    language = language_of(document)
    whole = (part.body for part in parts(document))
    found = [body for body in whole if fits(body, settings.least_text, language)]
    if not found:
        return None
    lot = np.random.default_rng(drawn(settings.seed, document.id))
    passage = clipped(found[lot.integers(len(found))], settings.most_text, language)
    words = settings.lengths[lot.integers(len(settings.lengths))]
    others = [code for code in map(languages.normalise, settings.languages) if code != language]
    across = lot.random() < settings.cross_share and others
    asked_in = others[lot.integers(len(others))] if across else language
    return Wanted(document, passage, language, asked_in, words)


def drawn_personas(settings: WrittenSettings) -> Personas:
    """Personas drawn by seed and passage."""

    def offer(passage: str) -> list[str]:
        order = sorted(settings.personas, key=lambda one: drawn(settings.seed, f"{passage}\x1f{one}"))
        return order[: settings.candidates]

    return offer


def nearest_personas(settings: WrittenSettings, encode: Encode) -> Personas:
    """The personas whose vectors are nearest to the passage's, as the Qwen3 authors take them."""
    known = encode(settings.personas, None)

    def offer(passage: str) -> list[str]:
        near = (known @ encode([passage], None)[0]).argsort(kind="stable")[::-1]
        return [settings.personas[i] for i in near[: settings.candidates]]

    return offer


def _done(future: Future[Pair], refused: Counter[str]) -> Iterator[Pair]:
    try:
        yield future.result()
    except RefusedError as problem:
        refused[str(problem)] += 1


def _written(wanted: Wanted, personas: Sequence[str], chat: Chat, settings: WrittenSettings) -> Pair:
    title = title_of(wanted.document)
    chosen = chat.answer(
        to_choose(
            title, wanted.passage, wanted.language, personas, settings.question_types, settings.difficulties
        ),
        lambda answer: _chosen(answer, len(personas), settings),
    )
    kind = settings.question_types[chosen.question_type]
    query = chat.answer(
        to_write(
            title, wanted.passage, wanted.language,
            persona=personas[chosen.persona - 1],
            kind=f"{chosen.question_type} ({kind.meaning})",
            difficulty=f"{chosen.difficulty} ({settings.difficulties[chosen.difficulty]})",
            words=wanted.words, query_language=wanted.query_language,
        ),
        lambda answer: _query(answer, wanted),
    )  # fmt: skip
    key = digest(wanted.document.id, kind.instruction, query, wanted.passage)
    return pair(
        origin_of(wanted.document), key, wanted.document.id, query, wanted.passage,
        task="retrieval", instruction=kind.instruction, languages=(wanted.query_language, wanted.language),
    )  # fmt: skip


def _chosen(answer: Any, personas: int, settings: WrittenSettings) -> Chosen:
    """The checked configuration; raises ValueError with the reason it is none."""
    try:
        chosen = Chosen.model_validate(answer)
    except ValidationError as problem:
        raise ValueError(f"configuration without {_field(problem)}") from None
    if not 1 <= chosen.persona <= personas:
        raise ValueError("persona that was not offered")
    if chosen.question_type not in settings.question_types:
        raise ValueError("unknown question type")
    if chosen.difficulty not in settings.difficulties:
        raise ValueError("unknown difficulty")
    return chosen


def _query(answer: Any, wanted: Wanted) -> str:
    """The checked query, on one line; raises ValueError with the reason it is none."""
    try:
        query = " ".join(Query.model_validate(answer).query.split())
    except ValidationError as problem:
        raise ValueError(f"answer without {_field(problem)}") from None
    if len(query) < 2 or not any(sign.isalnum() for sign in query):
        raise ValueError("empty query")
    if len(query) > _LONGEST or len(query.split()) > max(_MOST_OVER * wanted.words, _MOST_WORDS):
        raise ValueError("query too long")
    if query.casefold() == " ".join(wanted.passage.casefold().split()):
        raise ValueError("query is the passage")
    script = None if wanted.query_language == UNKNOWN else languages.script(wanted.query_language)
    share = languages.script_share(query, script) if script else None
    if share is not None and share < _LEAST_SCRIPT:
        raise ValueError("query in another script")
    return query


def _field(problem: ValidationError) -> str:
    found = problem.errors()[0]["loc"]
    return f"a fitting {found[0]!r}" if found else "fields"
