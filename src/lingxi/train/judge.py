"""The objective of a reranker step: queries, each with its positive, mined negatives and easy ones.

Mined negatives come with the rows (`mined.py`); easy ones are documents of the other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi import prompts
from lingxi.model.tokens import Tokens
from lingxi.train import losses
from lingxi.train.feeding import pair_ids
from lingxi.train.gradcache import Batch, Figures
from lingxi.train.mixture import SYMMETRIC, Sampler
from lingxi.train.phases import RerankerSettings
from lingxi.train.relevance import Drawn, documents_of
from lingxi.train.store import Row
from lingxi.train.teachers import Teacher

# Cosines of a teacher are made logits by this: its own training had about 0.05.
_TEACHER_TEMPERATURE = 0.05


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a reranker step needs but its random numbers; called with them it draws a batch.

    `answer_row` gives w_yes − w_no [hidden] of the output head, with its gradient. `teacher` scores the
    documents where `settings.agreement` asks for it.
    """

    sampler: Sampler
    tokens: Tokens
    answer_row: Callable[[], torch.Tensor]
    settings: RerankerSettings
    teacher: Teacher | None

    def __call__(self, rng: np.random.Generator) -> Batch:
        """A batch of `batch_queries` groups of as many documents, the right one first, and its loss."""
        draw = self.sampler.draw(rng, self.settings.batch_queries)
        rows = self.sampler.store.rows(draw.numbers)
        drawn = documents_of(rows, rng, negatives=self.settings.negatives)
        groups = _groups(drawn, rng, self.settings)
        chance = rng.random()
        general = draw.kind.task not in SYMMETRIC and chance < self.settings.default_task_rate
        pairs = [
            (row.query, drawn.documents[number], prompts.DEFAULT_TASK if general else row.instruction)
            for row, group in zip(rows, groups, strict=True)
            for number in group
        ]
        taught = self._teacher_scores(rows, drawn, groups)
        sequences = pair_ids(self.tokens, pairs, self.settings.max_tokens)
        return Batch(sequences, lambda states: self._loss(states, groups.shape, taught))

    def _teacher_scores(
        self, rows: Sequence[Row], drawn: Drawn, groups: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Teacher's cosines [queries, documents], NaN where it has not read both."""
        scores = np.full(groups.shape, np.nan, np.float32)
        if self.teacher is None or not self.settings.agreement:
            return scores
        documents = np.array([self.teacher.row(text) for text in drawn.documents])
        for i, row in enumerate(rows):
            query = self.teacher.row(row.query)
            known = documents[groups[i]] >= 0
            if query >= 0:
                found = self.teacher.vectors[documents[groups[i]][known]].astype(np.float32)
                scores[i, known] = found @ self.teacher.vectors[query].astype(np.float32)
        return scores

    def _loss(
        self, states: torch.Tensor, shape: tuple[int, ...], taught: NDArray[np.float32]
    ) -> tuple[torch.Tensor, Figures]:
        logits = (states @ self.answer_row()).view(shape)
        labels = torch.zeros_like(logits)
        labels[:, 0] = 1
        settings = self.settings
        loss = settings.listwise * losses.listwise(logits)
        loss = loss + settings.pointwise * losses.yes_no(logits.flatten(), labels.flatten())
        figures = {"accuracy": float((logits[:, :1] > logits[:, 1:]).all(1).float().mean())}
        if settings.agreement:
            known = torch.from_numpy(np.isfinite(taught)).to(logits.device)
            scores = torch.from_numpy(np.nan_to_num(taught)).to(logits.device)
            agreed = losses.score_distillation(
                logits, scores, temperature=1.0, teacher_temperature=_TEACHER_TEMPERATURE, known=known
            )
            figures["teacher"] = float(agreed.detach())
            loss = loss + settings.agreement * agreed
        return loss, figures


def _groups(drawn: Drawn, rng: np.random.Generator, settings: RerankerSettings) -> NDArray[np.int64]:
    """Document numbers [queries, 1 + negatives + easy]: the positive, own negatives, then others' documents.

    A row with fewer negatives of its own has more easy ones. No document of a group is right but the first.
    """
    rows = len(drawn.same_query)
    room = settings.negatives + settings.easy_negatives
    groups = []
    for row in range(rows):
        own = np.flatnonzero((drawn.owner == row) & ~drawn.relevant[row])[: settings.negatives]
        others = np.flatnonzero((drawn.owner != row) & ~drawn.relevant[row])
        easy = rng.permutation(others)[: room - len(own)]
        groups.append(np.concatenate(([row], own, easy)))
    shortest = min(len(group) for group in groups)
    return np.stack([group[:shortest] for group in groups]).astype(np.int64)
