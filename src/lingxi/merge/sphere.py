"""Slerp as shares: the factor of each input follows from the dot products of the inputs and the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch

Tensor = torch.Tensor

# Below this sine the arc and the line are one in fp32, or (opposite vectors) there is no one arc.
_SMALLEST_SINE = 1e-6
# Elements whose products are summed in fp64 at a time.
_CHUNK = 2**22


def gram(tensors: Sequence[Tensor]) -> Tensor:
    """Dot products of equally shaped tensors, fp64 [n, n]."""
    flat = [tensor.reshape(-1) for tensor in tensors]
    total = torch.zeros(len(flat), len(flat), dtype=torch.float64)
    for start in range(0, flat[0].numel(), _CHUNK):
        part = torch.stack([row[start : start + _CHUNK].double() for row in flat])
        total += (part @ part.T).cpu()
    return total


def slerp_shares(dots: Tensor, weights: Tensor) -> Tensor:
    """Factors [n] of the inputs in `slerp_many`, from their dot products [n, n] and weights [n], all fp64."""
    inputs = torch.eye(len(weights), dtype=torch.float64)
    shares, total = inputs[0], weights[0]
    for index in range(1, len(weights)):
        total = total + weights[index]
        t = weights[index] / total if total != 0 else torch.zeros_like(total)
        near, far = _arc(t, shares @ dots @ shares, dots[index, index], shares @ dots[index])
        shares = near * shares + far * inputs[index]
    return shares


def _arc(t: Tensor, left: Tensor, right: Tensor, dot: Tensor) -> tuple[Tensor, Tensor]:
    """Slerp's two factors, from the squared norms of its ends and their dot product."""
    if left <= 0 or right <= 0:
        return 1 - t, t
    cosine = dot / (left * right).sqrt()
    if 1 - cosine**2 < _SMALLEST_SINE**2:
        return 1 - t, t
    angle = torch.acos(cosine)
    return torch.sin((1 - t) * angle) / torch.sin(angle), torch.sin(t * angle) / torch.sin(angle)
