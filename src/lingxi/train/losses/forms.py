"""The forms a vector is used in, so that a loss sees them: cut, quantized; and how far vectors spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch.nn import functional as F

from lingxi.errors import InputError

Tensor = torch.Tensor
# Shorter vectors have no direction.
_NOTHING = 1e-6
Stored = Literal["float32", "int8", "binary"]
STORED_FORMS: tuple[str, ...] = get_args(Stored)


def matryoshka(
    widths: Sequence[int],
    loss: Callable[..., Tensor],
    *vectors: Tensor,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """Mean of `loss` over cut and normalised widths of every tensor given (arXiv 2205.13147).

    `vectors` [rows, hidden] each, of any length; `weights` one per width, equal where None. What is
    below float32 is raised to it and autocast is off: a cosine divided by a temperature needs the
    digits. Raises InputError for a width beyond the vectors, or weights that do not fit.
    """
    shares = [1.0] * len(widths) if weights is None else list(weights)
    _check_widths(widths, shares, min(v.shape[-1] for v in vectors))
    with torch.autocast(vectors[0].device.type, enabled=False):
        parts = [
            loss(*(_cut(v, width) for v in vectors)) * w for width, w in zip(widths, shares, strict=True)
        ]
    return torch.stack(parts).sum() / sum(shares)


def _cut(vectors: Tensor, width: int) -> Tensor:
    exact = torch.promote_types(vectors.dtype, torch.float32)
    part = vectors[:, :width].to(exact)
    lengths = part.norm(dim=-1, keepdim=True)
    # Of a text without words the leading components may all be zero. Divided by a length near nothing its
    # gradient would drown that of all others.
    return part / lengths.masked_fill(lengths < _NOTHING, 1.0)


def _check_widths(widths: Sequence[int], weights: Sequence[float], hidden: int) -> None:
    if not widths or not all(1 <= width <= hidden for width in widths):
        raise InputError(
            f"widths are {list(widths)}, the vectors have {hidden}", f"choose widths from 1 to {hidden}"
        )
    if len(weights) != len(widths) or min(weights) < 0 or sum(weights) <= 0:
        raise InputError(
            f"weights {list(weights)} for widths {list(widths)}",
            "give each width a weight of 0 or more, one above 0",
        )


def quantized(vectors: Tensor, form: Stored, *, scale: float | None = None, reach: float = 1.0) -> Tensor:
    """Unit vectors [n, dim] as an index stores them, in floating point; gradients pass straight through.

    int8: `scale`·round(x/`scale`) within ±127 codes, as `lingxi.vectors.quantize` does, with the
    model's scale at this width, or max|x|/127 of each vector where None. binary: sign(x)/√dim
    (zero counts as below). The gradient is that of the identity, and 0 where a component is
    clipped: beyond 127 codes, or beyond `reach`/√dim for binary (Hubara 2016, arXiv 1602.02830,
    where it is 1; `math.inf` never clips). float32 is returned as it came. Raises InputError for other forms
    and a scale that is not above 0.
    """
    if form == "float32":
        return vectors
    if form == "binary":
        size = vectors.shape[-1] ** -0.5
        signs = torch.where(vectors > 0, size, -size).to(vectors.dtype)
        return _straight_through(vectors, signs, vectors.new_tensor(reach * size))
    if form != "int8":
        raise InputError(f"unknown stored form {form!r}", f"choose one of: {', '.join(STORED_FORMS)}")
    step = _step(vectors, scale)
    codes = torch.clamp(torch.round(vectors / step), -127, 127)
    # A code of 127 is the nearest one up to half a step beyond it: rounded, not yet clipped.
    return _straight_through(vectors, codes * step, step * 127.5)


def _step(vectors: Tensor, scale: float | None) -> Tensor:
    if scale is None:
        largest = vectors.detach().abs().amax(-1, keepdim=True)
        return largest.clamp(min=torch.finfo(vectors.dtype).tiny) / 127
    if not scale > 0:
        raise InputError(
            f"the int8 scale is {scale!r}", "pass the model's scale, lingxi.vectors.int8_scale(…)"
        )
    return vectors.new_tensor(scale)


def _straight_through(vectors: Tensor, stored: Tensor, limit: Tensor) -> Tensor:
    within = torch.clamp(vectors, -limit, limit)
    return stored.detach() + (within - within.detach())


def spread_out(
    vectors: Tensor, *, mean_weight: float, moment_weight: float, same: Tensor | None = None
) -> Tensor:
    """Global orthogonal regularisation: a·(ΣC/n)² + b·relu(ΣC²/n − 1/dim) (arXiv 1708.06320).

    C are the cosines of the n ordered pairs of rows of `vectors` [rows, dim], unit length, of one
    side; `same` [rows, rows] bool leaves out pairs that are meant to be alike, beside the diagonal.
    a is `mean_weight`, b `moment_weight`. EmbeddingGemma (arXiv 2509.20354) has a = 0 and adds the
    two sides. 0 for a batch of one.
    """
    alone = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    left_out = alone if same is None else alone | same
    cosines = (vectors @ vectors.T).masked_fill(left_out, 0.0)
    pairs = (~left_out).sum().clamp(min=1)
    moment = F.relu((cosines**2).sum() / pairs - 1 / vectors.shape[-1])
    return mean_weight * (cosines.sum() / pairs) ** 2 + moment_weight * moment
