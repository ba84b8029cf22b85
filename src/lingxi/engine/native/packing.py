"""Where packed weights come from: made of a model's tensors, or read from a file that holds them packed.

A file of packed weights is mapped into memory: it opens at once, and processes share its pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from lingxi.engine.native.library import loaded
from lingxi.engine.native.matrices import Matrix, gated, mixing, pack, rounded_table
from lingxi.model.int4 import MIDDLE, Packed4

# The two columns of a byte of codes, as one number of 64 bits.
_PAIRS = np.array([(byte % 16 - MIDDLE, byte // 16 - MIDDLE) for byte in range(256)], "<f4").view("<u8")[:, 0]
_FIELDS = ("weights", "scale", "sums", "bias", "weighed")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Vectors by id: fp32, or int8 codes of mixed rows with a scale each."""

    rows: torch.Tensor
    scale: torch.Tensor | None

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """Vectors [tokens, width] of ids, a new fp32 tensor."""
        if self.scale is None:
            return self.rows.index_select(0, ids)
        count, width = len(ids), self.rows.shape[1]
        _check_ids(ids, len(self.rows))
        out = torch.empty(count, width)
        loaded().lingxi_read_rows(
            self.rows.data_ptr(),
            self.scale.data_ptr(),
            ids.data_ptr(),
            count,
            width,
            mixing(width),
            out.data_ptr(),
            1,
        )
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Table4:
    """Vectors by id from codes of four bits: the table stays packed, rows are widened when they are read."""

    rows: torch.Tensor
    scales: torch.Tensor

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """Vectors [tokens, width] of ids, a new fp32 tensor."""
        _check_ids(ids, len(self.rows))
        # By numpy: torch begins each of these small steps more slowly than it takes.
        wanted, scales = ids.numpy(), self.scales.numpy()
        out = _PAIRS.take(self.rows.numpy().take(wanted, axis=0)).view(np.float32)
        grouped = out.reshape(len(wanted), scales.shape[1], out.shape[1] // scales.shape[1])
        grouped *= scales.take(wanted, axis=0).astype(np.float32)[:, :, None]
        return torch.from_numpy(out)


def _check_ids(ids: torch.Tensor, rows: int) -> None:
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < rows:
        raise IndexError(f"an id is not one of the table's {rows} rows")


AnyTable = Table | Table4


def _none(name: str) -> None:
    """No tensor is stored in four bits."""
    del name


class Source(Protocol):
    """What a network is made from: matrices, tables and vectors by name."""

    def matrix(self, name: str, *parts: str, exact: bool = False) -> Matrix:
        """The packed rows of one or more linear layers; `exact` has them in bf16 in an int8 network."""

    def gates(self, name: str, gate: str, up: str) -> Matrix:
        """The packed rows of a gate and its up layer, panels in turns."""

    def table(self, name: str) -> AnyTable:
        """A table of vectors."""

    def vector(self, name: str) -> torch.Tensor:
        """A vector, fp32."""


@dataclass(frozen=True, slots=True, eq=False)
class Fresh:
    """Packs the tensors of a model as 'int8' or 'float32'; `packed` keeps what was made, to be written.

    `codes` knows what is stored in four bits, by name: a table of those is taken as it is.
    """

    tensors: Mapping[str, torch.Tensor]
    precision: str
    codes: Callable[[str], Packed4 | None] = _none
    packed: dict[str, torch.Tensor] = field(default_factory=dict)
    shapes: dict[str, list[int]] = field(default_factory=dict)

    def matrix(self, name: str, *parts: str, exact: bool = False) -> Matrix:
        """See Source."""
        weights = [self.tensors[f"{part}.weight"].float() for part in parts]
        biases = [self._bias(part) for part in parts]
        bias = None if biases[0] is None else torch.cat([b for b in biases if b is not None])
        return self._keep(name, pack(torch.cat(weights), bias, self._fine if exact else self.precision))

    def gates(self, name: str, gate: str, up: str) -> Matrix:
        """See Source."""
        both = gated(self.tensors[f"{gate}.weight"].float(), self.tensors[f"{up}.weight"].float())
        biases = [self._bias(gate), self._bias(up)]
        bias = None
        if biases[0] is not None and biases[1] is not None:
            bias = gated(biases[0][:, None], biases[1][:, None])[:, 0]
        return self._keep(name, pack(both, bias, self.precision))

    def table(self, name: str) -> AnyTable:
        """See Source."""
        stored = self.codes(f"{name}.weight")
        if stored is not None:
            self.packed[f"{name}.codes4"], self.packed[f"{name}.scales4"] = stored.codes, stored.scales
            return Table4(stored.codes, stored.scales)
        rows = self.tensors[f"{name}.weight"].float()
        table = Table(*rounded_table(rows)) if self.precision == "int8" else Table(rows.contiguous(), None)
        self.packed[f"{name}.rows"] = table.rows
        if table.scale is not None:
            self.packed[f"{name}.scale"] = table.scale
        return table

    def vector(self, name: str) -> torch.Tensor:
        """See Source."""
        found = self.packed[name] = self.tensors[name].float().contiguous().clone()
        return found

    @property
    def _fine(self) -> str:
        """The precision of what an int8 network does not round so coarsely."""
        return "bfloat16" if self.precision == "int8" else self.precision

    def _bias(self, part: str) -> torch.Tensor | None:
        name = f"{part}.bias"
        return self.tensors[name].float() if name in self.tensors else None

    def _keep(self, name: str, matrix: Matrix) -> Matrix:
        self.shapes[name] = [matrix.columns, matrix.width]
        for field_name in _FIELDS:
            value = getattr(matrix, field_name)
            if value is not None:
                self.packed[f"{name}.{field_name}"] = value
        return matrix


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Reads what a `Fresh` packed before."""

    packed: Mapping[str, torch.Tensor]
    shapes: Mapping[str, list[int]]

    def matrix(self, name: str, *parts: str, exact: bool = False) -> Matrix:
        """See Source."""
        del parts, exact
        columns, width = self.shapes[name]
        weights, scale, sums, bias, weighed = (self.packed.get(f"{name}.{part}") for part in _FIELDS)
        assert weights is not None
        return Matrix(weights, scale, sums, bias, columns, width, weighed)

    def gates(self, name: str, gate: str, up: str) -> Matrix:
        """See Source."""
        del gate, up
        return self.matrix(name)

    def table(self, name: str) -> AnyTable:
        """See Source."""
        if f"{name}.codes4" in self.packed:
            return Table4(self.packed[f"{name}.codes4"], self.packed[f"{name}.scales4"])
        return Table(self.packed[f"{name}.rows"], self.packed.get(f"{name}.scale"))

    def vector(self, name: str) -> torch.Tensor:
        """See Source."""
        return self.packed[name]
