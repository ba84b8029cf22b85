"""A teacher's answers, asked once and kept: texts as the models read them, and what the teacher says of each.

`texts.jsonl` holds rendered texts (an embedder's queries and documents, a reranker's bodies), `rows.npy`
which of them stand together, `answers.npy` the vectors or logits. A folder of another teacher's answers may
be given instead: the student learns from what is in it and needs no teacher at hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lingxi import prompts
from lingxi.compress.settings import PoolSettings
from lingxi.embedder import Embedder
from lingxi.errors import InputError
from lingxi.model.layout import Kind
from lingxi.model.tokens import Tokens
from lingxi.reranker import Reranker
from lingxi.train.feeding import CHARACTERS_A_TOKEN, framed
from lingxi.train.files import save_whole
from lingxi.train.mixture import SYMMETRIC, sampler
from lingxi.train.relevance import documents_of
from lingxi.train.store import Row, Store

_TEXTS, _ROWS, _ANSWERS = "texts.jsonl", "rows.npy", "answers.npy"
# Rows drawn together: negatives of a row are documents of these.
_DRAWN = 64
# Rows drawn for one that is wanted, before it is said that there are hardly any.
_PATIENCE = 200
# Queries under the default task, and without any, as in training.
_DEFAULT_RATE, _RAW_RATE = 0.3, 0.1
_PART = 4_000
Integers = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Pool:
    """Rendered texts and what belongs together.

    Embedder: a row of `rows` [n, 1 + documents] is a query and its documents, the right one first, −1 where
    there are fewer. Reranker: a row [n, documents] is one query's bodies.
    """

    kind: Kind
    texts: tuple[str, ...]
    rows: Integers


class Teacher(Protocol):
    """What is asked: token ids in, an answer each out ([n, dim] unit vectors, or [n] logits)."""

    def ids(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """The ids that the model is fed for rendered texts, cut to `most` tokens of text."""

    def answers(self, sequences: list[list[int]]) -> NDArray[np.float32]:
        """The model's answers."""


@dataclass(frozen=True, slots=True)
class Embeds:
    """An embedder as a teacher."""

    model: Embedder

    def ids(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """Ids of texts in their frame."""
        return embedder_ids(self.model.tokenizer, texts, most)

    def answers(self, sequences: list[list[int]]) -> NDArray[np.float32]:
        """Unit vectors [n, dim]."""
        return np.asarray(self.model.finish(self.model.states(sequences)), np.float32)


@dataclass(frozen=True, slots=True)
class Judges:
    """A reranker as a teacher."""

    model: Reranker

    def ids(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """Ids of bodies in the reranker's turn."""
        return reranker_ids(self.model.tokenizer, texts, most)

    def answers(self, sequences: list[list[int]]) -> NDArray[np.float32]:
        """Logits of yes less no [n]."""
        return np.asarray(self.model.finish(self.model.states(sequences))[1], np.float32)


def embedder_ids(tokens: Tokens, texts: Sequence[str], most: int) -> list[list[int]]:
    """Ids of rendered texts in the tokenizer's frame, at most `most` tokens of text."""
    short = [text[: most * CHARACTERS_A_TOKEN] for text in texts]
    return [tokens.framed(ids, most + tokens.frame) for ids in tokens.texts(short)]


def reranker_ids(tokens: Tokens, texts: Sequence[str], most: int) -> list[list[int]]:
    """Ids of bodies in the reranker's turn, at most `most` tokens of body."""
    return framed(tokens, texts, most)


def teacher_of(kind: Kind, directory: Path) -> Teacher:
    """Open a model directory as a teacher, in fp32."""
    if kind == "embedder":
        return Embeds(Embedder(directory))
    return Judges(Reranker(directory))


def every_row(row: Row) -> bool:
    """No row is passed over."""
    return True


def draw_pool(
    kind: Kind,
    store: Store,
    settings: PoolSettings,
    seed: int,
    query_prompt: str | None,
    wanted: Callable[[Row], bool] = every_row,
) -> Pool:
    """Draw rows by the mixture and render their texts, each text once.

    `query_prompt` stands before all queries of a family that has no instructions; None has each row's own.
    Rows that are not `wanted` are passed over. Raises InputError where hardly any is wanted.
    """
    mixture = settings.mixture
    draws = sampler(store, mixture.tasks, mixture.language_balance, mixture.emphasis, sources=mixture.sources)
    known: dict[str, int] = {}
    rows: list[list[int]] = []
    rng = np.random.default_rng((seed, 77))
    drawn = 0
    while len(rows) < settings.rows:
        draw = draws.draw(rng, _DRAWN)
        drawn += _DRAWN
        wished = [row for row in store.rows(draw.numbers) if wanted(row)]
        if drawn > _PATIENCE * (len(rows) + len(wished) + _DRAWN):
            raise InputError(
                f"{len(rows):,} of {drawn:,} rows drawn are of use to this vocabulary",
                "give the pool's mixture the vocabulary's languages in emphasis",
            )
        found = _rendered(kind, wished, draw.kind.task, settings, rng, query_prompt)
        rows += [[known.setdefault(text, len(known)) for text in texts] for texts in found]
    rows = rows[: settings.rows]
    width = max(map(len, rows))
    table = np.full((len(rows), width), -1, np.int32)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return Pool(kind, tuple(known), table)


def _rendered(
    kind: Kind,
    rows: list[Row],
    of: str,
    settings: PoolSettings,
    rng: np.random.Generator,
    query_prompt: str | None,
) -> list[list[str]]:
    if not rows:
        return []
    drawn = documents_of(rows, rng, negatives=settings.negatives)
    out = []
    for i, row in enumerate(rows):
        own = [j for j in range(len(drawn.documents)) if drawn.owner[j] == i and not drawn.relevant[i, j]]
        others = np.flatnonzero((drawn.owner != i) & ~drawn.relevant[i])
        room = max(settings.negatives - len(own), 0)
        chosen = [i, *own[: settings.negatives], *rng.permutation(others)[:room].tolist()]
        documents = [drawn.documents[j][: settings.max_tokens * CHARACTERS_A_TOKEN] for j in chosen]
        query = row.query[: settings.max_tokens * CHARACTERS_A_TOKEN]
        task = asked_task(row, rng)
        if kind == "reranker":
            out.append([prompts.rerank_body(query, d, task or prompts.DEFAULT_TASK) for d in documents])
            continue
        before = query_prompt if query_prompt is not None else prompts.query_prefix(task) if task else ""
        alike = before if of in SYMMETRIC else ""
        out.append([before + query, *(alike + document for document in documents)])
    return out


def asked_task(row: Row, rng: np.random.Generator) -> str | None:
    """The task that a row's query is asked under: its own, now and then the default, now and then none."""
    chance = rng.random()
    if chance < _RAW_RATE:
        return None
    general = row.task not in SYMMETRIC and chance < _RAW_RATE + _DEFAULT_RATE
    return prompts.DEFAULT_TASK if general else row.instruction


def write_pool(pool: Pool, folder: Path) -> None:
    """Write a pool without answers."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in pool.texts)
    (folder / _TEXTS).write_text(lines, encoding="utf-8")
    save_whole(folder / _ROWS, pool.rows)


def read_pool(folder: Path, kind: Kind) -> Pool:
    """Read a pool; raises InputError where a file is missing or the two do not fit each other."""
    try:
        lines = (folder / _TEXTS).read_text(encoding="utf-8").splitlines()
        texts = tuple(json.loads(line)["text"] for line in lines)
        rows = np.load(folder / _ROWS)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: no pool of texts ({error})", "give texts.jsonl and rows.npy") from None
    if rows.ndim != 2 or not len(rows) or rows.max() >= len(texts):
        raise InputError(f"{folder}: rows.npy names texts that are not there", "write both files anew")
    return Pool(kind, texts, rows.astype(np.int32))


def ask(pool: Pool, teacher: Teacher, folder: Path, most: int) -> NDArray[Any]:
    """The teacher's answers to a pool's texts, kept in `folder`; one that was stopped goes on.

    Returns [texts, dim] fp16 or [texts] fp32.
    """
    path = folder / _ANSWERS
    if not path.exists():
        kept = np.float16 if pool.kind == "embedder" else np.float32
        found = []
        for start in range(0, len(pool.texts), _PART):
            part = folder / "parts" / f"{start:09d}.npy"
            if not part.exists():
                sequences = teacher.ids(pool.texts[start : start + _PART], most)
                save_whole(part, teacher.answers(sequences).astype(kept))
            found.append(np.load(part))
        save_whole(path, np.concatenate(found))
    return read_answers(pool, folder)


def read_answers(pool: Pool, folder: Path) -> NDArray[Any]:
    """Answers that lie in a folder; raises InputError where they are missing or not one each text."""
    path = folder / _ANSWERS
    if not path.exists():
        raise InputError(f"{folder}: no answers.npy", "name a folder with a teacher's answers")
    answers: NDArray[Any] = np.load(path, mmap_mode="r")
    wanted = 2 if pool.kind == "embedder" else 1
    if answers.ndim != wanted or len(answers) != len(pool.texts):
        raise InputError(
            f"{path} has shape {answers.shape} for {len(pool.texts)} texts of a {pool.kind}",
            "write one vector a text for an embedder, one logit for a reranker",
        )
    return answers
