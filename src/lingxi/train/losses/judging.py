"""Losses of a reranker, on its logits (that of yes less that of no)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

Tensor = torch.Tensor


def yes_no(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of −w·log p(label) of the reranker's answer (arXiv 2506.05176, eq. 2).

    `logits` [n] = yes − no, `labels` [n] 1 for yes and 0 for no, `weights` [n], 1 each where None.
    """
    return F.binary_cross_entropy_with_logits(logits, labels, weight=weights)


def listwise(
    logits: Tensor, grades: Tensor | None = None, *, temperature: float = 1.0, known: Tensor | None = None
) -> Tensor:
    """Cross entropy of picking each right document from among those less right, mean of queries.

    ℓ(p) = −log(e^{z_p/τ} / (e^{z_p/τ} + Σ_{g_j < g_p} e^{z_j/τ})), a query's loss is the mean over its
    documents of grade above 0, weighed by 2^g − 1: with one positive the localized contrastive
    estimation of Gao 2021 (arXiv 2101.08751); several do not compete, grades do. `logits` [queries,
    documents]; `grades` likewise, 0 wrong; where None, column 0 alone is right. `known` bool leaves
    out columns that a query does not fill. A query with nothing right adds 0.
    """
    if grades is None:
        grades = torch.zeros_like(logits)
        grades[:, 0] = 1
    known = torch.ones_like(logits, dtype=torch.bool) if known is None else known
    scaled = logits / temperature
    lower = (grades[:, None, :] < grades[:, :, None]) & known[:, None, :]
    rivals = scaled[:, None, :].masked_fill(~lower, -torch.inf)
    losses = -torch.cat((scaled[..., None], rivals), dim=-1).log_softmax(-1)[..., 0]
    weights = torch.where(known, torch.exp2(grades) - 1, 0.0).to(losses.dtype)
    totals = weights.sum(1, keepdim=True)
    shares = weights / totals.masked_fill(totals == 0, 1.0)
    return (losses * shares).sum(1).mean()
