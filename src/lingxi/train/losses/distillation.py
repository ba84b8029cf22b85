"""Losses that draw vectors, scores and verdicts to those of a teacher; the teacher gets no gradient."""

from __future__ import annotations

import torch
from torch.nn import functional as F

Tensor = torch.Tensor


def to_teacher(vectors: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of w·(1 − cosine to the teacher's vector) (Reimers and Gurevych 2020, arXiv 2004.09813).

    `vectors`, `targets` [n, dim]; project before, where the widths differ. `weights` [n], 1 each
    where None; 0 for a row without a target. The mean is over all n rows, so that a lone row with
    a target does not steer the batch.
    """
    losses = 1 - F.cosine_similarity(vectors, targets.detach(), dim=-1)
    return (losses if weights is None else losses * weights).mean()


def score_distillation(
    scores: Tensor,
    teacher: Tensor,
    *,
    temperature: float,
    teacher_temperature: float = 1.0,
    known: Tensor | None = None,
) -> Tensor:
    """Mean of queries of KL(P ‖ Q), P = softmax(teacher/T), Q = softmax(scores/τ) over each one's documents.

    `scores` [n, k] are cosines, `teacher` [n, k] a reranker's logits; `known` [n, k] bool is false
    where a row has no such document or the teacher did not judge it. This is −Σ P log Q of
    Qwen3-VL-Embedding (report, 5) less the entropy of P: same gradient, 0 where both agree.
    """
    known = torch.ones_like(scores, dtype=torch.bool) if known is None else known
    mine = _log_softmax(scores / temperature, known)
    theirs = _log_softmax(teacher.detach() / teacher_temperature, known)
    gaps = (theirs - mine).masked_fill(~known, 0.0)
    return (theirs.exp() * gaps).sum(1).mean()


def _log_softmax(logits: Tensor, known: Tensor) -> Tensor:
    # Finite, so that a row with nothing known is no NaN; halved, so that subtraction cannot overflow.
    return logits.masked_fill(~known, torch.finfo(logits.dtype).min / 2).log_softmax(1)


def margin_mse(scores: Tensor, teacher: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean of ((s⁺ − s⁻) − (t⁺ − t⁻))² over negatives, Margin-MSE (Hofstätter 2020, arXiv 2010.02666).

    `scores`, `teacher` [n, 1 + k], column 0 the positive, in one scale (scale before, where they
    are not). `known` [n, 1 + k] bool leaves out documents; a row whose positive is unknown counts
    for nothing. 0 where nothing is known.
    """
    margins = scores[:, :1] - scores[:, 1:]
    theirs = (teacher[:, :1] - teacher[:, 1:]).detach()
    counted = torch.ones_like(margins, dtype=torch.bool) if known is None else known[:, :1] & known[:, 1:]
    squares = (margins - theirs).masked_fill(~counted, 0.0) ** 2
    return squares.sum() / counted.sum().clamp(min=1)


def judge_distillation(logits: Tensor, probabilities: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of w·KL(teacher ‖ σ(logit)) of yes or no, of a reranker taught by a larger one.

    `logits` [n] = yes − no, `probabilities` [n] the teacher's p(yes) in [0, 1], `weights` [n], 1
    each where None. Cross entropy with soft labels (Hinton 2015, arXiv 1503.02531) less the
    teacher's entropy.
    """
    theirs = probabilities.detach()
    entropy = -torch.xlogy(theirs, theirs) - torch.xlogy(1 - theirs, 1 - theirs)
    losses = F.binary_cross_entropy_with_logits(logits, theirs, reduction="none") - entropy
    return (losses if weights is None else losses * weights).mean()
