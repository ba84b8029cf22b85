"""Weights rounded in the forward pass: the student learns to bear what its storing will do to it.

Fake quantization with a straight-through gradient (Jacob et al. 2018, arXiv 1712.05877): int8 with one scale
a row, as `model.int8.quantized` stores it, or int4 with one scale a group of a row, token vectors too, as
`model.int4` stores them (but for its search for the scale that loses least).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn.utils import parametrize

Bits = Literal["int8", "int4"]
_TOP = {"int8": 127, "int4": 7}
_BOTTOM = {"int8": -127, "int4": -8}


def rounded(weight: torch.Tensor, bits: Bits, group: int) -> torch.Tensor:
    """The nearest stored weights [rows, columns]; the gradient is that of the identity.

    int4 has a scale for `group` neighbours of a row (for the whole row, where they do not divide it).
    """
    columns = weight.shape[1]
    each = group if bits == "int4" and columns % group == 0 else columns
    parts = weight.detach().view(len(weight), -1, each)
    # fp16, as scales are stored.
    scale = _step(parts, bits).half().to(weight.dtype)
    codes = (parts / scale).round().clamp(_BOTTOM[bits], _TOP[bits])
    return weight + ((codes * scale).view_as(weight) - weight.detach())


def _step(parts: torch.Tensor, bits: Bits) -> torch.Tensor:
    """A step for each part [rows, parts, 1]: of int4 the largest weight is the lowest code."""
    if bits == "int8":
        return (parts.abs().amax(-1, keepdim=True) / _TOP[bits]).clamp_min(1e-7)
    step = parts.gather(-1, parts.abs().argmax(-1, keepdim=True)) / _BOTTOM[bits]
    return torch.where(step.abs() < 1e-7, torch.full_like(step, 1e-7), step)


class _Rounded(nn.Module):
    """A weight as it will be stored."""

    def __init__(self, bits: Bits, group: int) -> None:
        super().__init__()
        self.bits, self.group = bits, group

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """[rows, columns] → the same, rounded."""
        return rounded(weight, self.bits, self.group)


# What a rounded weight's own tensor is called.
STORED = ".parametrizations.weight.original"


def round_in_forward(network: nn.Module, bits: Bits, group: int) -> None:
    """From now on every linear of the network, and its token vectors, computes with rounded weights."""
    for module in list(network.modules()):
        if isinstance(module, nn.Linear | nn.Embedding):
            parametrize.register_parametrization(module, "weight", _Rounded(bits, group))


def plain_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors under their own names, with what a network that rounds keeps unrounded."""
    state = network.state_dict()
    return {name.replace(STORED, ".weight"): tensor.detach() for name, tensor in state.items()}
