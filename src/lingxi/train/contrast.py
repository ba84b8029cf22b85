"""The loss of one contrastive step: draw rows, render and tokenize them, encode, compare.

Text is rendered by `prompts` exactly as the embedder renders it when it serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi import prompts
from lingxi.model.tokens import Tokens
from lingxi.train import losses
from lingxi.train.encoders import Encode as Encode
from lingxi.train.encoders import encoder_of as encoder_of
from lingxi.train.encoders import packed_encoder as packed_encoder
from lingxi.train.rows import SYMMETRIC, Kind, Rows, Sampler, same_document
from lingxi.train.settings import ContrastiveSettings
from lingxi.train.teachers import Teacher


@dataclass(frozen=True, slots=True)
class Contrast:
    """Everything a contrastive step needs but its random numbers."""

    sampler: Sampler
    tokens: Tokens
    encode: Encode
    settings: ContrastiveSettings
    dims: tuple[int, ...]
    teacher: Teacher | None
    teacher_weight: float
    instructed: bool

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        """One step's loss, a scalar."""
        rows = self.sampler.rows
        kind, drawn = self.sampler.draw(rng, self.settings.batch_pairs)
        before = self._instruction(kind, rng)
        after = before if kind.task in SYMMETRIC else ""
        left = self.encode(self._sequences([rows.queries[i] for i in drawn], before))
        right = self.encode(self._sequences([rows.documents[i] for i in drawn], after))
        graded = kind.task == "sts"
        loss = self._graded(drawn, left, right) if graded else self._contrastive(rows, drawn, left, right)
        return loss + self._taught(rows, drawn, left, right)

    def _instruction(self, kind: Kind, rng: np.random.Generator) -> str:
        """What stands before each query: nothing, the kind's own task, or the default one."""
        chance = rng.random(2)
        if not self.instructed or chance[0] < self.settings.raw_query_rate:
            return ""
        general = kind.task not in SYMMETRIC and chance[1] < self.settings.default_task_rate
        return prompts.query_prefix(prompts.DEFAULT_TASK if general else kind.instruction)

    def _sequences(self, texts: Sequence[str], before: str) -> list[list[int]]:
        room = self.settings.max_tokens + (len(self.tokens.prompt(before)) if before else 0)
        ids = self.tokens.texts([before + text for text in texts])
        return [[*i[:room], self.tokens.end] for i in ids]

    def _contrastive(
        self, rows: Rows, drawn: NDArray[np.int64], left: torch.Tensor, right: torch.Tensor
    ) -> torch.Tensor:
        same = torch.from_numpy(same_document(rows, drawn))
        settings = self.settings
        return losses.matryoshka(
            self.dims,
            lambda q, d: losses.info_nce(
                q, d, same, temperature=settings.temperature, margin=settings.margin
            ),
            left,
            right,
        )

    def _graded(self, drawn: NDArray[np.int64], left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        grades = torch.from_numpy(self.sampler.rows.grades[drawn])
        return (
            losses.matryoshka(self.dims, lambda q, d: losses.cosent((q * d).sum(-1), grades), left, right) / 4
        )

    def _taught(
        self, rows: Rows, drawn: NDArray[np.int64], left: torch.Tensor, right: torch.Tensor
    ) -> torch.Tensor:
        """Draw both sides to the teacher; a translation is drawn to the vector of its English side."""
        if self.teacher is None:
            return left.new_zeros(())
        teacher = self.teacher
        document = [teacher.row(rows.documents[i]) for i in drawn]
        query = [teacher.row(rows.queries[i]) for i in drawn]
        translated = rows.tasks[drawn[0]] == "bitext"
        query = [q if q >= 0 or not translated else d for q, d in zip(query, document, strict=True)]
        parts = [self._to_teacher(side, known) for side, known in ((left, query), (right, document))]
        return torch.stack(parts).mean() * self.teacher_weight

    def _to_teacher(self, vectors: torch.Tensor, known: Sequence[int]) -> torch.Tensor:
        assert self.teacher is not None
        found = [i for i, row in enumerate(known) if row >= 0]
        if not found:
            return vectors.new_zeros(())
        targets = torch.from_numpy(self.teacher.vectors[[known[i] for i in found]].astype(np.float32))
        # Weighted by how many rows have a target, so that a lone one does not steer the batch.
        share = len(found) / len(known)
        return losses.matryoshka(self.dims, losses.to_teacher, vectors[found], targets) * share
