"""Four-bit matrices as they are stored: two codes a byte, one fp16 scale for every group of columns.

A code c from 0 to 15 stands for (c − 8) · scale. The even column of a pair is in the low half of its byte,
which is also how ONNX Runtime's `MatMulNBits` reads a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

MIDDLE, TOP = 8, 15


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
        pairs = torch.stack((self.codes & TOP, self.codes >> 4), dim=-1)
        grouped = pairs.view(*self.scales.shape, self.group).float() - MIDDLE
        return (grouped * self.scales.float()[:, :, None]).view(len(self.codes), self.columns)


def packed4(codes: torch.Tensor, scales: torch.Tensor) -> Packed4:
    """Pack codes [rows, columns] from 0 to 15, and scales [rows, groups]."""
    pairs = codes.to(torch.uint8).view(len(codes), -1, 2)
    return Packed4((pairs[:, :, 0] | (pairs[:, :, 1] << 4)).contiguous(), scales.half().contiguous())
