"""Losses as small pure functions, each with its equation's source.

Vectors come in at full width and unnormalised; Matryoshka widths are cut and normalised here, as
they are when the model is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

Tensor = torch.Tensor


def info_nce(
    queries: Tensor, documents: Tensor, same: Tensor, *, temperature: float, margin: float
) -> Tensor:
    """Contrastive loss of Qwen3-Embedding (arXiv 2506.05176, eq. 1) over one batch, mean of queries.

    `queries`, `documents` [n, dim] are unit vectors, row i a positive pair. The denominator holds
    the positive, query–document, query–query and document–document scores. `same` [n, n] is true
    where documents i and j count as one (never each other's negatives); negatives scoring more
    than `margin` above the positive are masked in the first two groups.
    """
    positive = (queries * documents).sum(-1)
    limit = (positive.detach() + margin)[:, None]
    across, among_queries = queries @ documents.T, queries @ queries.T
    among_documents = documents @ documents.T
    nothing = torch.finfo(queries.dtype).min
    logits = torch.cat(
        (
            positive[:, None],
            across.masked_fill(same | (across > limit), nothing),
            among_queries.masked_fill(same | (among_queries > limit), nothing),
            among_documents.masked_fill(same, nothing),
        ),
        dim=1,
    )
    target = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    return F.cross_entropy(logits / temperature, target)


def cosent(scores: Tensor, grades: Tensor, *, temperature: float = 0.05) -> Tensor:
    """CoSENT (Su 2022): log(1 + Σ exp((s_j − s_i)/τ)) over pairs of rows with grade_i > grade_j.

    `scores` [n] are cosines, `grades` [n] any ordered labels.
    """
    gaps = (scores[None, :] - scores[:, None]) / temperature
    wrong = gaps.masked_fill(grades[:, None] <= grades[None, :], torch.finfo(scores.dtype).min).flatten()
    return torch.logsumexp(torch.cat((torch.zeros(1, device=scores.device), wrong)), dim=0)


def to_teacher(vectors: Tensor, targets: Tensor) -> Tensor:
    """Mean of 1 − cosine to the teacher's vectors; both [n, dim] (Reimers and Gurevych 2020)."""
    return (1 - F.cosine_similarity(vectors, targets, dim=-1)).mean()


def yes_no(logits: Tensor, labels: Tensor) -> Tensor:
    """−log p(label) of the reranker's answer (arXiv 2506.05176, eq. 2): `logits` = yes − no, both [n]."""
    return F.binary_cross_entropy_with_logits(logits, labels)


def listwise(logits: Tensor) -> Tensor:
    """Cross entropy of picking the positive, column 0, among a query's documents [queries, documents]."""
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def matryoshka(widths: Sequence[int], loss: Callable[..., Tensor], *vectors: Tensor) -> Tensor:
    """Mean of `loss` over cut and normalised widths of every tensor given (arXiv 2205.13147)."""
    parts = [loss(*(F.normalize(v[:, :width], dim=-1) for v in vectors)) for width in widths]
    return torch.stack(parts).mean()
