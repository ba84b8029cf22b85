"""From the states of tokens to one vector a sequence: pooling, and the dense heads that may follow it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import nn
from torch.nn import functional as F

from lingxi.model.packed import Packed

Pooling = Literal["mean", "cls", "lasttoken"]
"""Which states of a sequence make its vector: their mean, the first, or the last."""

Activation = Literal["Identity", "Tanh", "ReLU", "GELU", "Sigmoid"]
_ACTIVATIONS: Mapping[Activation, type[nn.Module]] = {
    "Identity": nn.Identity,
    "Tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "GELU": nn.GELU,
    "Sigmoid": nn.Sigmoid,
}
ACTIVATIONS: tuple[str, ...] = tuple(_ACTIVATIONS)


def pool(states: torch.Tensor, packed: Packed, how: Pooling) -> torch.Tensor:
    """One row a sequence, [sequences, hidden], of the states [tokens, hidden] of a packed row."""
    if how != "mean":
        return states[places(packed, how)]
    means = [
        states[run.tokens].view(run.count, run.length, -1).mean(dim=1, dtype=torch.float32)
        for run in packed.runs
    ]
    return torch.cat(means).to(states.dtype)


def places(packed: Packed, how: Pooling) -> torch.Tensor:
    """Where the pooled token of each sequence stands in the packed row, [sequences]."""
    if how == "lasttoken":
        return packed.last
    return torch.cat((packed.last.new_zeros(1), packed.last[:-1] + 1))


@dataclass(frozen=True, slots=True)
class HeadSize:
    """Shape of one dense head: widths in and out, whether it adds a bias, and what it ends with."""

    inner: int
    outer: int
    bias: bool
    activation: Activation


class Head(nn.Module):
    """A dense layer over pooled vectors, as sentence-transformers' `Dense` module."""

    def __init__(self, size: HeadSize) -> None:
        super().__init__()
        self.size = size
        self.linear = nn.Linear(size.inner, size.outer, bias=size.bias)
        self.activation = _ACTIVATIONS[size.activation]()

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """[sequences, in] → [sequences, out]."""
        return cast(torch.Tensor, self.activation(self.linear(vectors)))


class Unit(nn.Module):
    """Rows brought to unit length, between the heads of a model that wants it there."""

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """[sequences, width] → the same shape."""
        return F.normalize(vectors, dim=-1)
