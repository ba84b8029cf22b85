"""The loss of an update: new pairs are learnt against old vectors and new ones, old texts stay in place.

    L = (1 − s)·InfoNCE(q′, d′) + s·InfoNCE(q′, D) + a·mean(1 − cos(t′, t))

′ is the learning network; D are the vectors that the old one stored, of new documents and old (backward-
compatible training: Shen et al. 2020, arXiv 2003.11942); t are texts of the old data, queries under their
task and documents (distillation instead of forgetting: Li and Hoiem 2016, arXiv 1606.09282).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from lingxi.train import losses
from lingxi.train.gradcache import Batch, Figures
from lingxi.update.anchors import Anchors, NewRows
from lingxi.update.settings import UpdateSettings


@dataclass(frozen=True, slots=True)
class Objective:
    """Draws a step's texts by random numbers, and knows its loss."""

    new: NewRows
    kept: Anchors | None
    settings: UpdateSettings
    dims: tuple[int, ...]

    def __call__(self, rng: np.random.Generator) -> Batch:
        """A batch: new queries, their documents, then old queries and documents."""
        count = min(self.settings.batch_pairs, len(self.new.queries))
        rows = rng.choice(len(self.new.queries), count, replace=False)
        sequences = [self.new.queries[i] for i in rows]
        sequences += [self.new.documents[self.new.right[i]] for i in rows]
        kept = np.empty(0, np.int64)
        if self.kept is not None and self.settings.anchor:
            kept = self.kept.draw(rng, self.settings.kept_pairs)
            sequences += [self.kept.sequences[i] for i in kept]
        return Batch(sequences, lambda states: self._loss(rows, kept, states))

    def _loss(self, rows: np.ndarray, kept: np.ndarray, states: torch.Tensor) -> tuple[torch.Tensor, Figures]:
        count, share = len(rows), self.settings.stored
        queries, documents, old = states[:count], states[count : 2 * count], states[2 * count :]
        figures: dict[str, float] = {}
        loss = states.new_zeros(())
        if share < 1:
            fresh = losses.matryoshka(self.dims, lambda q, d: self._fresh(rows, q, d), queries, documents)
            loss = loss + (1 - share) * fresh
            figures["fresh"] = float(fresh.detach())
        if share > 0:
            stored = losses.matryoshka(
                self.dims, lambda q, b: self._stored(rows, q, b), queries, self._bank()
            )
            loss = loss + share * stored
            figures["stored"] = float(stored.detach())
        if len(kept) and self.kept is not None:
            moved = (1 - F.cosine_similarity(old.float(), self.kept.vectors[kept])).mean()
            loss = loss + self.settings.anchor * moved
            figures["moved"] = float(moved.detach())
        return loss, figures

    def _bank(self) -> torch.Tensor:
        return self.new.vectors if self.kept is None else torch.cat((self.new.vectors, self.kept.documents))

    def _fresh(self, rows: np.ndarray, queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        right = self.new.right[rows]
        same = torch.from_numpy(self.new.alike[rows][:, None] == self.new.alike[rows][None, :])
        same |= torch.from_numpy(right[:, None] == right[None, :])
        return _nce(queries, documents, torch.arange(len(rows)), same, self.settings)

    def _stored(self, rows: np.ndarray, queries: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
        right = torch.from_numpy(self.new.right[rows])
        same = torch.zeros(len(rows), len(bank), dtype=torch.bool)
        groups = self.new.groups[None, :] == self.new.alike[rows][:, None]
        same[:, : groups.shape[1]] = torch.from_numpy(groups)
        return _nce(queries, bank, right, same, self.settings)


def _nce(
    queries: torch.Tensor,
    documents: torch.Tensor,
    right: torch.Tensor,
    same: torch.Tensor,
    settings: UpdateSettings,
) -> torch.Tensor:
    """Mean of −log softmax of the right document; those of `same` [n, D] and false negatives are left out."""
    scores = queries @ documents.T
    own = scores.gather(1, right[:, None])
    out = same | (scores > own.detach() + settings.margin)
    out = out.scatter(1, right[:, None], False)
    return F.cross_entropy(scores.masked_fill(out, -torch.inf) / settings.temperature, right)
