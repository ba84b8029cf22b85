"""Weights packed for the kernels, and the buffers that a thread computes in.

int8: symmetric, one scale an output channel, codes in panels of 16 channels by 4 inputs. The activations
it meets have a scale and a lowest value of their own for every token (see csrc/kernels.h).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lingxi.engine.native.library import loaded

PANEL, QUAD = 16, 4
_MOST_MIXED = 1024
_ROWS = 4096  # of a table at a time


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A packed matrix [columns, width] (output channels by inputs): int8 with scales, or bf16 or fp32.

    Inputs of an int8 matrix are multiplied by `weighed` [width] and mixed before they are rounded.
    """

    weights: torch.Tensor
    scale: torch.Tensor | None
    sums: torch.Tensor | None
    bias: torch.Tensor | None
    columns: int
    width: int
    weighed: torch.Tensor | None = None

    def part(self, first: int, last: int) -> Matrix:
        """Output channels `first` to `last`, without a copy; `first` is a multiple of 16."""
        if first % PANEL:
            raise ValueError(f"part() begins at channel {first}, not a multiple of {PANEL}")
        depth = self.weights.numel() // (ceil(self.columns, PANEL) or 1)
        cut = slice(first, first + ceil(last - first, PANEL))
        scale, sums, bias = (None if v is None else v[cut] for v in (self.scale, self.sums, self.bias))
        weights = self.weights[first * depth : cut.stop * depth]
        return Matrix(weights, scale, sums, bias, last - first, self.width, self.weighed)


def ceil(number: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-number // step) * step


def pack(weight: torch.Tensor, bias: torch.Tensor | None, precision: str) -> Matrix:
    """Pack a weight [columns, width] and its bias as 'int8', 'float32', or 'bfloat16' (of even width)."""
    weight = weight.float().contiguous()
    columns, width = weight.shape
    padded = None if bias is None else _padded(bias.float(), columns)
    if precision == "int8":
        return _pack_int8(weight, padded)
    if precision == "bfloat16" and width % 2 == 0:
        return Matrix(_pairs(weight), None, None, padded, columns, width)
    panels = torch.zeros(ceil(columns, PANEL) * width)
    loaded().lingxi_pack_fp32(weight.data_ptr(), columns, width, panels.data_ptr())
    return Matrix(panels, None, None, padded, columns, width)


def mixing(width: int) -> int:
    """How many neighbouring inputs are mixed before rounding: a power of two that divides, to 1,024."""
    block = min(width & -width, _MOST_MIXED)
    return block if block >= PANEL else 1


def mixed(weight: torch.Tensor) -> torch.Tensor:
    """Weights for inputs that Hadamard's transform has mixed (QuaRot, arXiv 2404.00456): the same product.

    A large input among small ones spoils the codes of all; mixed, it is many inputs of middle size.
    """
    block = mixing(weight.shape[1])
    if block == 1:
        return weight
    out = weight.clone(memory_format=torch.contiguous_format)
    loaded().lingxi_mix(out.data_ptr(), *out.shape, block, torch.get_num_threads())
    return out


def _pack_int8(weight: torch.Tensor, bias: torch.Tensor | None) -> Matrix:
    """Every input is weighed by the root of its column's norm, and the column divided by it.

    So what matters more is rounded more finely: a channel a hundred times as large as others, whose
    weights are a hundredth of theirs, is only ten times as large (SmoothQuant's middle way, arXiv
    2211.10438, by weights alone), and mixing hides the rest.
    """
    columns, width = weight.shape
    importance = weight.norm(dim=0).sqrt()
    codes, scale = rounded(mixed(weight / importance.clamp_min(1e-30)))
    panels = torch.zeros(ceil(columns, PANEL) * ceil(width, QUAD), dtype=torch.int8)
    sums = torch.zeros(ceil(columns, PANEL))
    loaded().lingxi_pack_int8(codes.data_ptr(), columns, width, panels.data_ptr(), sums.data_ptr())
    return Matrix(panels, _padded(scale, columns), sums, bias, columns, width, importance)


def _pairs(weight: torch.Tensor) -> torch.Tensor:
    """bf16 panels of 16 channels by pairs of inputs, flat."""
    columns, width = weight.shape
    padded = torch.zeros(ceil(columns, PANEL), width, dtype=torch.bfloat16)
    padded[:columns] = weight
    return padded.view(-1, PANEL, width // 2, 2).permute(0, 2, 1, 3).flatten()


def rounded(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes int8 [rows, width] and scales [rows]: the largest of a row is 127."""
    scale = (weight.abs().amax(1) / 127).clamp_min(1e-30)
    return (weight / scale[:, None]).round().to(torch.int8), scale


def rounded_table(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and scales of mixed rows, made a part at a time: a vocabulary is the largest matrix of all."""
    codes, scale = torch.empty(rows.shape, dtype=torch.int8), torch.empty(len(rows))
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        codes[part], scale[part] = rounded(mixed(rows[part]))
    return codes, scale


def _padded(values: torch.Tensor, columns: int) -> torch.Tensor:
    out = torch.zeros(ceil(columns, PANEL))
    out[:columns] = values
    return out


def gated(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Gate and up [n, width] with panels in turns, as gated products read them: [2 ceil16(n), width]."""
    padded = ceil(len(gate), PANEL)
    both = torch.zeros(padded // PANEL, 2, PANEL, gate.shape[1])
    for index, weight in enumerate((gate, up)):
        whole = torch.zeros(padded, gate.shape[1])
        whole[: len(weight)] = weight
        both[:, index] = whole.view(-1, PANEL, gate.shape[1])
    return both.view(2 * padded, -1)


class Room(threading.local):
    """Buffers by name, one set a thread, made larger when asked: a forward pass allocates nothing."""

    def __init__(self) -> None:
        self._buffers: dict[str, torch.Tensor] = {}

    def __reduce__(self) -> tuple[type[Room], tuple[()]]:
        """A copy of a network, or one sent to another process, begins with no buffers."""
        return Room, ()

    def take(self, name: str, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """A tensor of `shape` with what was in it before."""
        size = 1
        for length in shape:
            size *= length
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size or buffer.dtype != dtype:
            # A tensor made for inference alone could not be written later, outside of it.
            with torch.inference_mode(False):
                buffer = self._buffers[name] = torch.empty(size, dtype=dtype)
        return buffer[:size].view(*shape)
