"""Four bits a weight: groups of columns with a scale each, and rounding whose errors make up for each other.

`nearest` rounds every weight alone, with the scale of a group that loses least. `compensated` is GPTQ
(arXiv 2210.17323): columns are rounded one by one, and what each lost is taken over by those still to come,
weighed by the inputs that calibration texts give the matrix. `eased` is AWQ's scaling (arXiv 2306.00978)
without the search for clips: inputs that are large get finer steps, and the norm before them takes the
factor back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lingxi.errors import InputError
from lingxi.model.int4 import MIDDLE, TOP, Packed4, packed4

GROUP = 32
# How far the largest weight of a group may be beyond the steps: a clipped one may cost less than coarse
# steps.
_REACHES = tuple(float(r) for r in torch.linspace(1.0, 0.6, 9))
_DAMPING = 0.01
_ROWS = 8192  # of a table at a time


@dataclass(frozen=True, slots=True, eq=False)
class Rounded:
    """A matrix in four bits, and the values that a reader gets back, fp32 [rows, columns]."""

    packed: Packed4
    values: torch.Tensor


def nearest(matrix: torch.Tensor, group: int = GROUP, importance: torch.Tensor | None = None) -> Rounded:
    """Every weight to the nearest step; `importance` [columns] weighs errors when a group's scale is chosen.

    Raises InputError where the columns are not whole groups.
    """
    check_group(matrix.shape[1], group)
    parts = [_nearest(part.float(), group, importance) for part in torch.split(matrix, _ROWS)]
    codes = torch.cat([codes for codes, _ in parts])
    scales = torch.cat([scales for _, scales in parts])
    packed = packed4(codes, scales)
    return Rounded(packed, packed.values())


def check_group(columns: int, group: int) -> None:
    """Raise InputError where a row is not whole groups of an even size."""
    if group < 16 or group % 16 or columns % group:
        raise InputError(
            f"groups of {group} in rows of {columns}", "choose a multiple of 16 that divides every row"
        )


def _nearest(
    matrix: torch.Tensor, group: int, importance: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    grouped = matrix.view(len(matrix), -1, group)
    weight = torch.ones(grouped.shape[1:]) if importance is None else importance.view(-1, group)
    scales = _scales(grouped, weight)
    return _codes(grouped, scales[..., None]).view(matrix.shape), scales


def _scales(grouped: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The fp16 scale of each group [rows, groups] that loses least, among shrunken ones of either sign."""
    at = grouped.abs().argmax(dim=-1, keepdim=True)
    largest = grouped.gather(-1, at)[..., 0]
    best = torch.zeros_like(largest)
    least = torch.full_like(largest, torch.inf)
    for reach in _REACHES:
        # The lowest code is −8 and the highest 7: the side of the largest weight gets the longer half.
        for half in (-MIDDLE, MIDDLE - 1):
            scale = (largest * reach / half).half().float()
            scale = torch.where(scale == 0, torch.full_like(scale, 1e-7), scale)
            lost = (_codes(grouped, scale[..., None]) - MIDDLE) * scale[..., None] - grouped
            lost = (lost.square() * weight).sum(-1)
            best = torch.where(lost < least, scale, best)
            least = torch.minimum(lost, least)
    return best


def _codes(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return (values / scales).round().add(MIDDLE).clamp(0, TOP)


def compensated(matrix: torch.Tensor, inputs: torch.Tensor, group: int = GROUP) -> Rounded:
    """GPTQ: columns rounded in order, each one's error spread over the rest by the inverse of `inputs`.

    `inputs` is Xᵀ X [columns, columns] of the matrix's inputs. Raises InputError as `nearest`.
    """
    check_group(matrix.shape[1], group)
    left = matrix.float().clone()
    spread = _spread(inputs)
    codes, scales = torch.empty_like(left), []
    importance = inputs.diagonal()
    for start in range(0, left.shape[1], group):
        stop = start + group
        part = left[:, start:stop]
        weight = importance[start:stop].clamp_min(1e-12)[None]
        scale = _scales(part[:, None].contiguous(), weight)
        errors = torch.empty_like(part)
        for place in range(group):
            column = start + place
            codes[:, column] = _codes(left[:, column], scale[:, 0])
            back = (codes[:, column] - MIDDLE) * scale[:, 0]
            errors[:, place] = (left[:, column] - back) / spread[column, column]
            left[:, column:stop] -= errors[:, place, None] * spread[column, column:stop]
        left[:, stop:] -= errors @ spread[start:stop, stop:]
        scales.append(scale)
    packed = packed4(codes, torch.cat(scales, dim=1))
    return Rounded(packed, packed.values())


def _spread(inputs: torch.Tensor) -> torch.Tensor:
    """The upper Cholesky factor of the damped inverse: row i says how an error in column i is made up for."""
    damped = inputs.double().clone()
    silent = damped.diagonal() == 0
    damped.diagonal()[silent] = 1.0
    damped.diagonal().add_(_DAMPING * damped.diagonal().mean())
    inverse = torch.linalg.inv(damped)
    spread: torch.Tensor = torch.linalg.cholesky((inverse + inverse.T) / 2, upper=True)
    return spread.float()


def eased(matrices: list[torch.Tensor], inputs: torch.Tensor, group: int = GROUP) -> torch.Tensor:
    """AWQ: the factor of each input [columns] that lets matrices that share it lose least when rounded.

    Columns are to be multiplied by it and the inputs divided. Tried are powers 0 to 1 of the inputs' root
    mean square; the loss is that of the outputs, tr(E H Eᵀ).
    """
    strength = inputs.diagonal().clamp_min(1e-12).sqrt()
    best, least = torch.ones_like(strength), torch.inf
    for power in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0):
        factor = strength**power
        factor = factor / (factor.max() * factor.min()).sqrt()
        lost = sum(_lost(m, factor, inputs, group) for m in matrices)
        if lost < least:
            best, least = factor, lost
    return best


def _lost(matrix: torch.Tensor, factor: torch.Tensor, inputs: torch.Tensor, group: int) -> float:
    # To choose a factor, steps from the largest of a group will do: the search for better ones comes after.
    scaled = (matrix * factor).view(len(matrix), -1, group)
    steps = scaled.abs().amax(dim=-1, keepdim=True).clamp_min(1e-12) / (MIDDLE - 1)
    back = (_codes(scaled, steps) - MIDDLE) * steps
    error = back.view(matrix.shape) / factor - matrix
    return float(((error @ inputs) * error).sum())
