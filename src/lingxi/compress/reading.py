"""Which texts a distillation reads: for its measures, for its vocabulary, and for recovery."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from lingxi.compress import lists, pool, recover
from lingxi.compress.settings import DistilSettings, PoolSettings
from lingxi.compress.student import Student
from lingxi.compress.teacher import Opened
from lingxi.embedder import Embedder
from lingxi.encoding import Encode, encoder
from lingxi.errors import InputError
from lingxi.model.files import read_config
from lingxi.model.layout import Kind, read_prompts
from lingxi.model.tokens import Tokens
from lingxi.train.feeding import CHARACTERS_A_TOKEN
from lingxi.train.mixture import Sampler, sampler
from lingxi.train.store import Row, Store, open_store
from lingxi.train.storing import build_store

# Room for an instruction beside a text.
_PROMPT = 32
# Rows drawn at a time for the vocabulary's texts.
_DRAWN = 64
# Of the rows that a smaller vocabulary reads as before, those the student still learns from: what its pieces
# mean alone must not drift while they learn to stand for words.
_ANCHORS = 0.25


def store_of(settings: DistilSettings, folder: Path) -> Store | None:
    """The recipe's pairs as a store, made in the run's folder where they are none yet; None without pairs."""
    if not settings.pairs:
        return None
    if len(settings.pairs) == 1 and settings.pairs[0].is_dir():
        return open_store(settings.pairs[0])
    return build_store(settings.pairs, folder / "store", settings.seed)


def needed(store: Store | None) -> Store:
    """The store; raises InputError where there is none."""
    if store is None:
        raise InputError("the recipe names no pairs", 'set pairs = ["…/pairs.parquet"]')
    return store


def texts_of(store: Store, settings: DistilSettings) -> Iterator[str]:
    """Texts of each language of the vocabulary, drawn by the pool's mixture: no one source decides.

    Raises InputError for a language without texts.
    """
    wanted = settings.vocabulary
    assert wanted is not None
    for language in wanted.languages:
        draws = _sampler_of(store, settings, language)
        rng = np.random.default_rng((settings.seed, 78))
        read = 0
        while read < wanted.texts:
            for row in store.rows(draws.draw(rng, _DRAWN).numbers):
                sides = [(row.query_language, row.query), (row.document_language, row.positives[0].text)]
                texts = [text for of, text in sides if of == language]
                read += len(texts)
                yield from texts


def _sampler_of(store: Store, settings: DistilSettings, language: str) -> Sampler:
    """Draws rows whose queries are in a language, of the pool's tasks that have some."""
    mixture = settings.pool.mixture
    there = {stratum.task for stratum in store.strata if stratum.language == language}
    tasks = {task: weight for task, weight in mixture.tasks.items() if task in there and weight > 0}
    if not tasks:
        raise InputError(
            f"the pairs have no texts in {language} of the pool's tasks",
            f"languages there: {', '.join(sorted({s.language for s in store.strata})[:60])}",
        )
    sources = {name: f for name, f in mixture.emphasis.items() if name not in store.languages}
    emphasis = {**sources, "*": 0.0, language: 1.0}
    return sampler(store, tasks, mixture.language_balance, emphasis, sources=mixture.sources)


def calibration(settings: DistilSettings, teacher: Opened, store: Store | None) -> list[list[int]]:
    """Ids of texts of the pool's kind, that all measures are taken on."""
    count = settings.calibration
    # What is weighed on are the texts that are read, whoever finds their rivals.
    none = {"candidates": 0, "negatives": 1} if settings.pool.candidates else {}
    drawn = settings.pool.model_copy(update={"rows": count, **none})
    if settings.answers is not None:
        known = pool.read_pool(settings.answers, teacher.kind).texts
        # From all of it: neighbours are often documents of one query.
        texts = [known[i] for i in np.linspace(0, len(known) - 1, min(2 * count, len(known)), dtype=int)]
    else:
        texts = list(draw(settings, teacher, needed(store), drawn).texts)[: 2 * count]
    return ids_of(teacher.kind, teacher.tokens, settings)(texts)


def draw(
    settings: DistilSettings,
    teacher: Opened,
    store: Store,
    drawn: PoolSettings,
    wanted: Callable[[Row], bool] = pool.every_row,
) -> pool.Pool:
    """Rows of the pool's mixture with their texts as the teacher's family renders them.

    With `drawn.candidates` a reranker's lists are searched for; raises InputError where the teacher is none.
    """
    if drawn.candidates:
        return lists.draw_lists(store, drawn, settings.seed, _finder(teacher.kind, drawn.found_by))
    qwen = read_config(teacher.directory).get("model_type") == "qwen3"
    prompt = None if qwen else read_prompts(teacher.directory)["query"]
    return pool.draw_pool(teacher.kind, store, drawn, settings.seed, prompt, wanted)


def _finder(kind: Kind, name: str) -> Encode:
    if kind != "reranker":
        raise InputError("pool.candidates makes lists for a reranker", "leave it out: this teacher embeds")
    return encoder(Embedder(name))


def read_anew(settings: DistilSettings, teacher: Opened, student: Student) -> Callable[[Row], bool]:
    """Which rows teach a student's smaller vocabulary: in its languages, and with tokens that it has not.

    Of other rows in these languages a quarter. A student with its teacher's vocabulary wants every row.
    """
    if student.vocabulary is None or settings.vocabulary is None:
        return pool.every_row
    languages, kept = set(settings.vocabulary.languages), set(student.vocabulary.ids)
    rng = np.random.default_rng((settings.seed, 79))

    def wanted(row: Row) -> bool:
        if not {row.query_language, row.document_language} <= languages:
            return False
        most = settings.pool.max_tokens * CHARACTERS_A_TOKEN
        texts = (row.query[:most], row.positives[0].text[:most])
        changed = any(not kept.issuperset(teacher.tokens.prompt(text)) for text in texts)
        return changed or bool(rng.random() < _ANCHORS)

    return wanted


def ids_of(kind: Kind, tokens: Tokens, settings: DistilSettings) -> recover.Ids:
    """How rendered texts become ids, cut to the recipe's length."""
    most = longest(kind, settings)
    ids = pool.embedder_ids if kind == "embedder" else pool.reranker_ids
    return lambda texts: ids(tokens, texts, most)


def longest(kind: Kind, settings: DistilSettings) -> int:
    """Most tokens of a rendered text; a reranker's body is a query and a document."""
    return settings.pool.max_tokens * (2 if kind == "reranker" else 1) + _PROMPT
