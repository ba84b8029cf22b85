"""Four-bit matrices as they are stored: two codes a byte, one fp16 scale for every group of columns.

A code c from 0 to 15 stands for (c − 8) · scale. The even column of a pair is in the low half of its byte,
which is also how ONNX Runtime's `MatMulNBits` reads a row. `nearest` rounds every weight alone, with the
scale of a group that loses least.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lingxi.errors import InputError

MIDDLE, TOP = 8, 15
GROUP = 32
# How far the largest weight of a group may be beyond the steps: a clipped one may cost less than coarse
# steps.
_REACHES = tuple(float(r) for r in torch.linspace(1.0, 0.6, 9))
# The lowest code is −8 and the highest 7: the side of the largest weight gets the longer half.
_ENDS = (-MIDDLE, TOP - MIDDLE)
# Weights that were rounded before lie on steps, of which they may not use the ends: each code is tried for
# the largest, so that they come out as they went in.
_INNER = tuple(code for code in range(_ENDS[0] + 1, _ENDS[1]) if code)
_TRIED = (*((reach, code) for reach in _REACHES for code in _ENDS), *((1.0, code) for code in _INNER))
_SMALLEST = 1e-7
_ROWS = 256  # of a table at a time: what is tried stays in the cache


@dataclass(frozen=True, slots=True, eq=False)
class Packed4:
    """Codes uint8 [rows, columns / 2] and scales fp16 [rows, groups] of a matrix."""

    codes: torch.Tensor
    scales: torch.Tensor

    @property
    def columns(self) -> int:
        """How many columns the matrix has."""
        return 2 * self.codes.shape[1]

    @property
    def group(self) -> int:
        """How many columns share a scale."""
        return self.columns // self.scales.shape[1]

    def values(self) -> torch.Tensor:
        """The matrix in fp32 [rows, columns]."""
        out = torch.empty(*self.codes.shape, 2, device=self.codes.device)
        out[:, :, 0] = self.codes & TOP
        out[:, :, 1] = self.codes >> 4
        grouped = out.view(*self.scales.shape, self.group)
        grouped.sub_(MIDDLE).mul_(self.scales.float()[:, :, None])
        return out.view(len(self.codes), self.columns)


def packed4(codes: torch.Tensor, scales: torch.Tensor) -> Packed4:
    """Pack codes [rows, columns] from 0 to 15, and scales [rows, groups]."""
    pairs = codes.to(torch.uint8).view(len(codes), -1, 2)
    return Packed4((pairs[:, :, 0] | (pairs[:, :, 1] << 4)).contiguous(), scales.half().contiguous())


@dataclass(frozen=True, slots=True, eq=False)
class Rounded:
    """A matrix in four bits, and the values that a reader gets back, fp32 [rows, columns]."""

    packed: Packed4
    values: torch.Tensor


def nearest(matrix: torch.Tensor, group: int = GROUP, importance: torch.Tensor | None = None) -> Rounded:
    """Every weight to the nearest step; `importance` [columns] weighs errors when a group's scale is chosen.

    Weights that lie on the steps of a group's fp16 scale come back as they are. Raises InputError where the
    columns are not whole groups.
    """
    packed = nearest_packed(matrix, group, importance)
    return Rounded(packed, packed.values())


def nearest_packed(
    matrix: torch.Tensor, group: int = GROUP, importance: torch.Tensor | None = None
) -> Packed4:
    """What `nearest` packs, without the values: a table's are eight times as large."""
    check_group(matrix.shape[1], group)
    parts = [_nearest(part.float(), group, importance) for part in torch.split(matrix, _ROWS)]
    return Packed4(torch.cat([part.codes for part in parts]), torch.cat([part.scales for part in parts]))


def check_group(columns: int, group: int) -> None:
    """Raise InputError where a row is not whole groups of an even size."""
    if group < 16 or group % 16 or columns % group:
        raise InputError(
            f"groups of {group} in rows of {columns}", "choose a multiple of 16 that divides every row"
        )


def _nearest(matrix: torch.Tensor, group: int, importance: torch.Tensor | None) -> Packed4:
    grouped = matrix.reshape(len(matrix), -1, group)
    weight = torch.ones(grouped.shape[1:]) if importance is None else importance.view(-1, group)
    scales = scales_of(grouped, weight)
    return packed4(codes_of(grouped, scales[..., None]).view(matrix.shape), scales)


def scales_of(grouped: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The scale (in fp16's numbers) of each group [rows, groups] that loses least, of either sign."""
    at = grouped.abs().argmax(dim=-1, keepdim=True)
    largest = grouped.gather(-1, at)[..., 0]
    best, least = _tried(grouped, weight, largest / _ENDS[0])
    for reach, code in _TRIED[1:]:
        scale, lost = _tried(grouped, weight, largest * reach / code)
        best = torch.where(lost < least, scale, best)
        least = torch.minimum(lost, least)
    # With its codes the best scale of all is known: what they fit by least squares.
    codes = codes_of(grouped, best[..., None]) - MIDDLE
    fit = (codes * grouped * weight).sum(-1) / (codes.square() * weight).sum(-1).clamp_min(1e-30)
    scale, lost = _tried(grouped, weight, fit)
    return torch.where(lost < least, scale, best)


def _tried(
    grouped: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """A scale as fp16 holds it, and what a group loses by it."""
    scale = scale.half().float()
    scale = torch.where(scale == 0, torch.full_like(scale, _SMALLEST), scale)
    lost = (codes_of(grouped, scale[..., None]) - MIDDLE) * scale[..., None] - grouped
    return scale, (lost.square() * weight).sum(-1)


def codes_of(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """The codes, as floats, of the steps that are nearest to values."""
    return (values / scales).round().add(MIDDLE).clamp(0, TOP)
