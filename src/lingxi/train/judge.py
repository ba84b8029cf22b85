"""The loss of one reranker step, and the negatives it needs.

Hard negatives are documents that the trained embedder ranks high for a query and that are not its
own (Qwen3-Embedding#131: retrieve, then sample from a range of ranks); easy ones are any others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi import prompts
from lingxi.embedder import Embedder
from lingxi.errors import InputError
from lingxi.generate.negatives import ranked
from lingxi.model.decoder import Decoder
from lingxi.model.tokens import Tokens
from lingxi.train import losses
from lingxi.train.contrast import Encode
from lingxi.train.rows import Rows, Sampler
from lingxi.train.settings import RerankerSettings

# Queries searched at a time, and easy negatives kept for each.
_CHUNK = 512
_EASY = 32
# No language writes a token in more characters than this on average: longer texts need not be read.
_CHARACTERS_A_TOKEN = 8


@dataclass(frozen=True, slots=True)
class Mined:
    """Rows of one kind with their candidate negatives, `hard` and `easy` [rows, candidates] row numbers."""

    instruction: str
    chance: float
    rows: NDArray[np.int64]
    hard: NDArray[np.int64]
    easy: NDArray[np.int64]


def mine(drawn_from: Sampler, embedder: Embedder, settings: RerankerSettings, seed: int) -> tuple[Mined, ...]:
    """Negatives of up to `pool` rows of each kind; raises InputError where every kind is too small."""
    rng = np.random.default_rng(seed)
    mined = []
    for kind, chance in zip(drawn_from.kinds, drawn_from.chances, strict=True):
        if len(kind.members) > 2 * settings.ranks[1]:
            chosen = rng.permutation(kind.members)[: settings.pool]
            found = _negatives(drawn_from.rows, chosen, embedder, settings, rng)
            mined.append(Mined(kind.instruction, float(chance), chosen, *found))
    if not mined:
        raise InputError(
            f"no kind of the reranker's mixture has more than {2 * settings.ranks[1]} pairs",
            "add pairs, or lower train.reranker.ranks",
        )
    return tuple(mined)


def _negatives(
    rows: Rows,
    chosen: NDArray[np.int64],
    embedder: Embedder,
    settings: RerankerSettings,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    documents = embedder.encode([rows.documents[i] for i in chosen], show_progress_bar=False)
    queries = embedder.encode(
        [prompts.query(rows.queries[i], rows.instructions[i]) for i in chosen], show_progress_bar=False
    )
    texts = np.unique([rows.documents[i] for i in chosen], return_inverse=True)[1]
    groups = rows.groups[chosen]
    last = settings.ranks[1]
    hard, easy = [], []
    for start in range(0, len(chosen), _CHUNK):
        part = slice(start, start + _CHUNK)
        scores = queries[part] @ documents.T
        scores[(texts[part, None] == texts) | (groups[part, None] == groups)] = -np.inf
        hard.append(chosen[ranked(scores, settings.ranks)])
        drawn = np.where(np.isfinite(scores), rng.random(scores.shape, dtype=np.float32), np.inf)
        easy.append(chosen[np.argpartition(drawn, min(_EASY, last), axis=1)[:, : min(_EASY, last)]])
    return np.concatenate(hard), np.concatenate(easy)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything a reranker step needs but its random numbers."""

    rows: Rows
    mined: tuple[Mined, ...]
    tokens: Tokens
    encode: Encode
    decoder: Decoder
    settings: RerankerSettings

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        """Pointwise yes/no and listwise loss of a batch of queries, each with its positive and negatives."""
        chances = np.array([mined.chance for mined in self.mined])
        mined = self.mined[rng.choice(len(self.mined), p=chances / chances.sum())]
        picked = rng.integers(len(mined.rows), size=self.settings.batch_queries)
        general = rng.random() < self.settings.default_task_rate
        task = prompts.DEFAULT_TASK if general else mined.instruction
        sequences = [s for i in picked for s in self._group(mined, int(i), task, rng)]
        logits = (self.encode(sequences) @ self._answer_row()).view(len(picked), -1)
        labels = torch.zeros_like(logits)
        labels[:, 0] = 1
        return losses.listwise(logits) + losses.yes_no(logits.flatten(), labels.flatten())

    def _group(self, mined: Mined, index: int, task: str, rng: np.random.Generator) -> list[list[int]]:
        row = int(mined.rows[index])
        hard = rng.choice(mined.hard[index], size=self.settings.negatives, replace=False)
        easy = rng.choice(mined.easy[index], size=self.settings.easy_negatives, replace=False)
        most = self.settings.max_tokens * _CHARACTERS_A_TOKEN
        bodies = [
            prompts.rerank_body(self.rows.queries[row], self.rows.documents[i][:most], task)
            for i in (row, *hard, *easy)
        ]
        before, after = self.tokens.prompt(prompts.RERANK_PREFIX), self.tokens.prompt(prompts.RERANK_SUFFIX)
        return [[*before, *ids[: self.settings.max_tokens], *after] for ids in self.tokens.texts(bodies)]

    def _answer_row(self) -> torch.Tensor:
        weight = self.decoder.embed_tokens.weight
        return weight[self.tokens.answer("yes")] - weight[self.tokens.answer("no")]
