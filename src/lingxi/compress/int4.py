"""Four bits a weight by calibration: errors that make up for each other, and inputs that share the burden.

`compensated` is GPTQ (arXiv 2210.17323): columns are rounded one by one, and what each lost is taken over by
those still to come, weighed by the inputs that calibration texts give the matrix. `eased` is AWQ's scaling
(arXiv 2306.00978) without the search for clips: inputs that are large get finer steps, and the norm before
them takes the factor back. Rounding alone is `lingxi.model.int4.nearest`.
"""

from __future__ import annotations

import torch

from lingxi.model.int4 import GROUP, MIDDLE, Rounded, check_group, codes_of, packed4, scales_of

_DAMPING = 0.01


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
        scale = scales_of(part[:, None].contiguous(), weight)
        errors = torch.empty_like(part)
        for place in range(group):
            column = start + place
            codes[:, column] = codes_of(left[:, column], scale[:, 0])
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
    back = (codes_of(scaled, steps) - MIDDLE) * steps
    error = back.view(matrix.shape) / factor - matrix
    return float(((error @ inputs) * error).sum())
