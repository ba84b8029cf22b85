"""The objective of a contrastive step: draw rows, render and tokenize them, and compare their states.

Text is rendered by `prompts` exactly as the embedder renders it when it serves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from lingxi import prompts
from lingxi.model.tokens import Tokens
from lingxi.train import losses
from lingxi.train.feeding import text_ids
from lingxi.train.gradcache import Batch, Figures
from lingxi.train.mixture import SYMMETRIC, Draw, Sampler
from lingxi.train.paraphrases import worded
from lingxi.train.phases import ContrastiveSettings
from lingxi.train.relevance import Drawn, documents_of
from lingxi.train.store import Row
from lingxi.train.teachers import Teacher

# The loss of graded pairs is a sum over pairs of rows and not a mean: as large as the others at this share.
_GRADED_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Rendered:
    """A batch's task, its documents, the teacher's row of each sequence (or −1), and the ids of each."""

    task: str
    documents: Drawn
    targets: NDArray[np.int64]
    sequences: list[list[int]]


@dataclass(frozen=True, slots=True)
class Contrast:
    """What a contrastive step needs but its random numbers; called with them it draws a batch.

    `contrasting` draws batches in which queries stand under several instructions, where there are such rows.
    `instructed` is false for token vectors alone, which learn what texts mean and read no instructions.
    `dim_weights` weigh the losses of `dims`, alike where None; the teacher's is over `taught_dims`, or over
    all as they are weighed where None.
    """

    sampler: Sampler
    contrasting: Sampler | None
    tokens: Tokens
    settings: ContrastiveSettings
    dims: tuple[int, ...]
    teacher: Teacher | None
    teacher_weight: float
    instructed: bool
    dim_weights: tuple[float, ...] | None = None
    taught_dims: tuple[int, ...] | None = None

    def __call__(self, rng: np.random.Generator) -> Batch:
        """A batch: its sequences, queries first, and its loss."""
        return self.batch(self.draw(rng))

    def draw(self, rng: np.random.Generator) -> Rendered:
        """The rows of a batch, rendered and tokenized."""
        mixed = self.contrasting is not None and rng.random() < self.settings.instruction_rate
        drawn_by = self.contrasting if mixed and self.contrasting else self.sampler
        draw = drawn_by.draw(rng, self.settings.batch_pairs)
        rows = drawn_by.store.rows(draw.numbers)
        drawn = documents_of(rows, rng, negatives=self.settings.negatives)
        before = self._before(draw, rows, rng, mixed)
        alike = draw.kind.task in SYMMETRIC
        after = [before[owner] if alike else "" for owner in drawn.owner]
        texts = [*(row.query for row in rows), *drawn.documents]
        sequences = text_ids(self.tokens, texts, [*before, *after], self.settings.max_tokens)
        targets = self._targets(draw.kind.task, rows, drawn)
        return Rendered(draw.kind.task, drawn, targets, sequences)

    def batch(self, drawn: Rendered) -> Batch:
        """Its sequences with their loss."""
        return Batch(
            drawn.sequences, lambda states: self._loss(drawn.task, drawn.documents, drawn.targets, states)
        )

    def _before(self, draw: Draw, rows: Sequence[Row], rng: np.random.Generator, mixed: bool) -> list[str]:
        """What stands before each query: nothing, the row's own task in some words, or the default one."""
        told = dict.fromkeys(row.instruction for row in rows)
        words = {task: worded(task, rng, self.settings.paraphrase_rate) for task in told}
        chance = rng.random(2)
        if not self.instructed:
            return [""] * len(rows)
        if not mixed and chance[0] < self.settings.raw_query_rate:
            return [""] * len(rows)
        if not mixed and draw.kind.task not in SYMMETRIC and chance[1] < self.settings.default_task_rate:
            return [prompts.query_prefix(prompts.DEFAULT_TASK)] * len(rows)
        return [prompts.query_prefix(words[row.instruction]) for row in rows]

    def _targets(self, task: str, rows: Sequence[Row], drawn: Drawn) -> NDArray[np.int64]:
        """The teacher's row for each sequence, or −1; a translation has that of its English side."""
        if self.teacher is None:
            return np.empty(0, np.int64)
        documents = [self.teacher.row(text) for text in drawn.documents]
        queries = [self.teacher.row(row.query) for row in rows]
        if task == "bitext":
            both = list(zip(queries, documents, strict=False))
            queries = [own if own >= 0 else other for own, other in both]
            documents[: len(both)] = [own if own >= 0 else other for other, own in both]
        return np.array(queries + documents, np.int64)

    def _loss(
        self, task: str, drawn: Drawn, targets: NDArray[np.int64], states: torch.Tensor
    ) -> tuple[torch.Tensor, Figures]:
        rows = len(drawn.same_query)
        queries, documents = states[:rows], states[rows:]
        figures: dict[str, float] = {}
        if task == "sts":
            loss = self._graded(drawn, queries, documents)
        else:
            known = drawn.relevance(states.device)
            groups = self._groups(task, drawn)
            loss = self._contrastive(known, groups, queries, documents)
            unit = [normalize(side.detach().float(), dim=-1) for side in (queries, documents)]
            figures["accuracy"] = float(losses.accuracy(unit[0], unit[1], known, groups=groups))
        figures["contrast"] = float(loss.detach())
        taught = self._taught(targets, states)
        if self.teacher is not None:
            figures["teacher"] = float(taught.detach())
        return loss + self.teacher_weight * taught + self._spread(queries, documents), figures

    def _groups(self, task: str, drawn: Drawn) -> frozenset[losses.Group]:
        """Which negatives count: other rows of a class may bear the label, so a class has its own alone."""
        if task == "classification" and len(drawn.documents) > len(drawn.same_query):
            return losses.OWN_GROUP
        whole = task in SYMMETRIC or self.settings.query_query
        return losses.EVERY_GROUP if whole else losses.QUERY_GROUPS

    def _contrastive(
        self,
        known: losses.Relevance,
        groups: frozenset[losses.Group],
        queries: torch.Tensor,
        documents: torch.Tensor,
    ) -> torch.Tensor:
        def loss(q: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
            """The mean of the forms that vectors are stored in."""
            forms: tuple[losses.Stored, ...] = ("float32", *self.settings.stored_as)
            return torch.stack(
                [
                    losses.info_nce(
                        losses.quantized(q, form),
                        losses.quantized(d, form),
                        known,
                        temperature=self.settings.temperature,
                        margin=self.settings.margin,
                        groups=groups,
                        hardness=self.settings.hardness,
                    )
                    for form in forms
                ]
            ).mean()

        return self._over_widths(loss, queries, documents)

    def _graded(self, drawn: Drawn, queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        # A row without a grade is neither better nor worse than another.
        graded = np.flatnonzero(np.isfinite(drawn.similarities))
        grades = torch.from_numpy(drawn.similarities[graded]).to(queries.device)
        return _GRADED_SHARE * self._over_widths(
            lambda q, d: losses.cosent((q * d).sum(-1), grades),
            queries[graded],
            documents[: len(queries)][graded],
        )

    def _taught(self, targets: NDArray[np.int64], states: torch.Tensor) -> torch.Tensor:
        """Draw both sides to the teacher's vectors, where it has read them."""
        found = np.flatnonzero(targets >= 0)
        if self.teacher is None or not len(found):
            return states.new_zeros(())
        wanted = torch.from_numpy(self.teacher.vectors[targets[found]].astype(np.float32)).to(states.device)
        # Weighed by how many rows have a target, so that a lone one does not steer the batch.
        share = len(found) / len(targets)
        if self.taught_dims is None:
            return self._over_widths(losses.to_teacher, states[found], wanted) * share
        return losses.matryoshka(self.taught_dims, losses.to_teacher, states[found], wanted) * share

    def _over_widths(self, loss: Callable[..., torch.Tensor], *vectors: torch.Tensor) -> torch.Tensor:
        return losses.matryoshka(self.dims, loss, *vectors, weights=self.dim_weights)

    def _spread(self, queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        if not self.settings.spread_out:
            return queries.new_zeros(())
        parts = [
            self._over_widths(lambda v: losses.spread_out(v, mean_weight=0.0, moment_weight=1.0), side)
            for side in (queries, documents)
        ]
        return self.settings.spread_out * torch.stack(parts).sum()
