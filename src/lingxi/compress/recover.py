"""Recovery: the student is drawn to its teacher's answers, by vector, by similarity matrix and by ranking.

Losses are those of `train.losses`; batches, exact gradients over chunks, checkpoints and the log those of
`train.loop`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from lingxi.compress.pool import Pool
from lingxi.compress.rounded import STORED, plain_state, round_in_forward
from lingxi.compress.settings import RecoverySettings
from lingxi.errors import InputError
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder
from lingxi.model.network import TABLES
from lingxi.train import losses
from lingxi.train.encoders import Encode, encoder_of, packed_encoder
from lingxi.train.gradcache import Batch, Figures, cached_step
from lingxi.train.loop import Schedule, train

Ids = Callable[[list[str]], list[list[int]]]
"""Rendered texts to the ids that the student is fed."""


@dataclass(frozen=True, slots=True)
class Imitation:
    """An embedder's step but for its random numbers: rows of the pool, and the losses on their states.

    `axes` [dim, width] turn the teacher's vectors to a narrower student's; None where both are as wide.
    """

    pool: Pool
    answers: NDArray[Any]
    ids: Ids
    settings: RecoverySettings
    axes: torch.Tensor | None

    def __call__(self, rng: np.random.Generator) -> Batch:
        """A batch of rows; the loss of all their texts."""
        rows = self.pool.rows[rng.choice(len(self.pool.rows), self._size(), replace=False)]
        numbers, places = np.unique(rows, return_inverse=True)
        absent = int(numbers[0] < 0)
        numbers, places = numbers[absent:], places.reshape(rows.shape) - absent
        wanted = torch.from_numpy(self.answers[numbers].astype(np.float32))
        wanted = normalize(wanted if self.axes is None else wanted @ self.axes, dim=-1)
        texts = [self.pool.texts[i] for i in numbers]
        queries = torch.from_numpy(np.unique(places[:, 0]))
        documents = torch.from_numpy(np.unique(places[:, 1:][places[:, 1:] >= 0]))
        return Batch(self.ids(texts), lambda states: self._loss(states, wanted, queries, documents))

    def _size(self) -> int:
        return min(self.settings.batch_rows, len(self.pool.rows))

    def _loss(
        self, states: torch.Tensor, wanted: torch.Tensor, queries: torch.Tensor, documents: torch.Tensor
    ) -> tuple[torch.Tensor, Figures]:
        s, wanted = self.settings, wanted.to(states.device)
        dims = s.dims or (states.shape[1],)
        parts = {"embedding": states.new_zeros(()), "similarity": states.new_zeros(())}
        if s.embedding:
            parts["embedding"] = s.embedding * losses.matryoshka(dims, losses.to_teacher, states, wanted)
        alike = wanted @ wanted.T
        apart = ~torch.eye(len(states), dtype=torch.bool, device=states.device)
        if s.similarity:
            parts["similarity"] = s.similarity * losses.matryoshka(
                dims, lambda v: self._lists(v @ v.T, alike, apart), states
            )
        if s.ranking and len(queries) and len(documents):
            theirs = alike[queries][:, documents]
            others = apart[queries][:, documents]
            parts["ranking"] = s.ranking * losses.matryoshka(
                dims, lambda q, d: self._lists(q @ d.T, theirs, others), states[queries], states[documents]
            )
        with torch.no_grad():
            cosine = torch.cosine_similarity(states, wanted, dim=-1).mean() if s.embedding else 0.0
        return torch.stack(list(parts.values())).sum(), {
            **{name: float(part.detach()) for name, part in parts.items()},
            "cosine": float(cosine),
        }

    def _lists(self, mine: torch.Tensor, theirs: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        t = self.settings.temperature
        return losses.score_distillation(mine, theirs, temperature=t, teacher_temperature=t, known=known)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A reranker's step but for its random numbers. `answer_row` gives w_yes − w_no with its gradient."""

    pool: Pool
    answers: NDArray[Any]
    ids: Ids
    settings: RecoverySettings
    answer_row: Callable[[], torch.Tensor]

    def __call__(self, rng: np.random.Generator) -> Batch:
        """A batch of queries, each with its documents' bodies."""
        size = min(self.settings.batch_rows, len(self.pool.rows))
        rows = self.pool.rows[rng.choice(len(self.pool.rows), size, replace=False)]
        if self.settings.listed is not None:
            rows = np.stack([spread(row, self.answers, self.settings.listed, rng) for row in rows])
        known = torch.from_numpy(rows >= 0)
        numbers = np.maximum(rows, 0)
        wanted = torch.from_numpy(self.answers[numbers].astype(np.float32))
        flat = rows[rows >= 0]
        sequences = self.ids([self.pool.texts[i] for i in flat])
        return Batch(sequences, lambda states: self._loss(states, wanted, known))

    def _loss(
        self, states: torch.Tensor, wanted: torch.Tensor, known: torch.Tensor
    ) -> tuple[torch.Tensor, Figures]:
        s, wanted, known = self.settings, wanted.to(states.device), known.to(states.device)
        found = states @ self.answer_row()
        logits = torch.zeros_like(wanted).masked_scatter(known, found)
        parts = {
            "embedding": s.embedding * losses.judge_distillation(found, torch.sigmoid(wanted[known])),
            "similarity": s.similarity * differences(logits, wanted, known),
            "ranking": s.ranking * losses.score_distillation(logits, wanted, temperature=1.0, known=known),
            "right": s.right * losses.listwise(logits, known=known),
        }
        with torch.no_grad():
            agree = torch.corrcoef(torch.stack((found.double(), wanted[known].double())))[0, 1]
        return torch.stack(list(parts.values())).sum(), {
            **{name: float(part.detach()) for name, part in parts.items()},
            "correlation": float(agree.nan_to_num()),
        }


def spread(
    row: NDArray[np.int32], answers: NDArray[Any], count: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """`count` places of a list [documents], −1 where it is shorter: the first, one of each part of others.

    The parts are equal shares in the teacher's order, so that each step sees near and far rivals.
    """
    rest = row[1:][row[1:] >= 0]
    ordered = rest[np.argsort(-np.asarray(answers[rest]), kind="stable")]
    parts = np.array_split(ordered, min(count - 1, len(ordered))) if len(ordered) else []
    found = [row[0], *(int(rng.choice(part)) for part in parts)]
    return np.array([*found, *[-1] * (count - len(found))], np.int32)


def differences(scores: torch.Tensor, teacher: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Mean of ((sᵢ − sⱼ) − (tᵢ − tⱼ))² / 2 over the pairs of each query's known documents, mean of queries.

    `scores`, `teacher`, `known` [n, documents]. Margin-MSE (arXiv 2010.02666) of all pairs, not only of those
    with the right document: half of it is the variance of s − t in a list. 0 where one document is known.
    """
    gaps = (scores - teacher.detach()).masked_fill(~known, 0.0)
    counts = known.sum(1, keepdim=True).clamp(min=1)
    centred = (gaps - gaps.sum(1, keepdim=True) / counts).masked_fill(~known, 0.0)
    return (centred.square().sum(1) / counts[:, 0]).mean()


def check_widths(width: int, dim: int, axes: torch.Tensor | None, settings: RecoverySettings) -> None:
    """Raise InputError where the student's vectors cannot be compared with the teacher's."""
    if settings.embedding and axes is None and width != dim:
        raise InputError(
            f"the teacher's vectors have {dim} components and the student's {width}",
            "set recovery.embedding = 0: similarity and ranking compare across widths",
        )


def recover(
    network: Decoder | Encoder,
    objective: Callable[[np.random.Generator], Batch],
    settings: RecoverySettings,
    folder: Path,
    seed: int,
    recipe: dict[str, Any],
    device: torch.device,
) -> tuple[dict[str, torch.Tensor], Figures]:
    """Train the student in place, resumably in `folder`; returns its tensors and the last figures."""
    if settings.rounded:
        round_in_forward(network, settings.rounded, settings.group)
    if settings.learns == "tokens":
        for name, tensor in network.named_parameters():
            tensor.requires_grad_(name.replace(STORED, ".weight") in TABLES)
    network.train()
    schedule = Schedule(
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        token_learning_rate=settings.token_learning_rate,
        warmup_steps=settings.warmup_steps,
        checkpoint_every=settings.checkpoint_every,
    )
    network.to(device)
    step = cached_step(_encode(network), objective, settings.chunk_tokens)
    last = train(network, step, schedule, folder, seed, recipe=recipe)
    return plain_state(network), last


def _encode(network: Decoder | Encoder) -> Encode:
    if isinstance(network, Decoder) and network.continues:
        # As in training: products in bf16 on a GPU, the weights in fp32.
        return encoder_of(network, torch.bfloat16 if network.device.type == "cuda" else None)
    return packed_encoder(network.forward, network.device)
