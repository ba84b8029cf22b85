"""The steps of a layer, each one call of the kernels: rows made ready, products, positions, attention."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch

from lingxi.engine.native.library import loaded
from lingxi.engine.native.matrices import PANEL, QUAD, Matrix, Room, ceil, mixing
from lingxi.model.packed import Packed


class Epilogue(IntEnum):
    """What becomes of a product (csrc/kernels.h)."""

    STORE = 0
    ADD = 1
    GATE_SILU = 2
    GATE_GELU_TANH = 3
    GELU = 4
    GELU_TANH = 5


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """RMS norm of rows, or layer norm where it has a shift."""

    gain: torch.Tensor
    shift: torch.Tensor | None
    eps: float


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """Rows as a product reads them: floats, or codes with a scale and a lowest value a row."""

    floats: torch.Tensor | None
    codes: torch.Tensor | None = None
    scale: torch.Tensor | None = None
    low: torch.Tensor | None = None

    @property
    def rows(self) -> int:
        """How many rows."""
        held = self.floats if self.floats is not None else self.codes
        assert held is not None
        return len(held)

    def some(self, index: torch.Tensor) -> Ready:
        """The rows of an index."""
        kept = (
            None if part is None else part[index] for part in (self.floats, self.codes, self.scale, self.low)
        )
        return Ready(*kept)


def _at(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def ready(
    x: torch.Tensor, norm: Norm | None, matrix: Matrix | None, room: Room, threads: int, name: str = "normed"
) -> Ready:
    """Rows [n, width] for a matrix: normed floats (in the buffer `name`), and codes where it is int8."""
    int8 = matrix is not None and matrix.scale is not None
    if norm is None and not int8:
        return Ready(x)
    rows, width = x.shape
    normed = None if norm is None else room.take(name, (rows, width))
    padded = ceil(width, QUAD)
    codes = room.take("codes", (rows, padded), torch.uint8) if int8 else None
    scale, low = room.take("scale", (rows,)), room.take("low", (rows,))
    kind = 0 if norm is None else (1 if norm.shift is None else 2)
    loaded().lingxi_norm_quantize(
        x.data_ptr(), x.stride(0), rows, width, kind, _at(norm.gain if norm else None),
        _at(norm.shift if norm else None), norm.eps if norm else 0.0, _at(normed),
        _at(matrix.weighed if matrix else None), mixing(width), _at(codes), padded,
        scale.data_ptr(), low.data_ptr(), threads,
    )  # fmt: skip
    return Ready(x if normed is None else normed, codes, scale, low)


def product(rows: Ready, matrix: Matrix, out: torch.Tensor, epilogue: Epilogue, threads: int) -> torch.Tensor:
    """Rows times a packed matrix into `out` [rows, columns] (half the columns where they are gated)."""
    panels = ceil(matrix.columns, PANEL) // PANEL
    last = out.data_ptr(), out.stride(0), out.shape[1], int(epilogue), threads
    if matrix.scale is not None:
        assert rows.codes is not None
        loaded().lingxi_gemm_int8(
            rows.codes.data_ptr(), _at(rows.scale), _at(rows.low), rows.rows, rows.codes.shape[1],
            matrix.weights.data_ptr(), matrix.scale.data_ptr(), _at(matrix.sums), panels, _at(matrix.bias),
            *last,
        )  # fmt: skip
        return out
    x = rows.floats
    assert x is not None
    gemm = loaded().lingxi_gemm_bf16 if matrix.weights.dtype == torch.bfloat16 else loaded().lingxi_gemm_fp32
    gemm(
        x.data_ptr(),
        x.stride(0),
        rows.rows,
        matrix.width,
        matrix.weights.data_ptr(),
        panels,
        _at(matrix.bias),
        *last,
    )
    return out


def rotate(
    x: torch.Tensor,
    heads: int,
    dim: int,
    norm: Norm | None,
    angles: tuple[torch.Tensor, torch.Tensor] | None,
    positions: torch.Tensor,
    threads: int,
) -> None:
    """Norm and turn the heads of rows [n, heads * dim] in place; angles: cos and sin [positions, dim / 2]."""
    if norm is None and angles is None:
        return
    cos, sin = angles if angles else (None, None)
    loaded().lingxi_rotate(
        x.data_ptr(), x.stride(0), len(x), heads, dim, _at(norm.gain if norm else None),
        norm.eps if norm else 0.0, _at(cos), _at(sin), positions.data_ptr(), threads,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """How heads lie in rows, and who sees whom."""

    heads: int
    kv_heads: int
    dim: int
    scale: float
    causal: bool
    window: int = 0


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    heads: Heads,
    spans: torch.Tensor,
    seen: tuple[torch.Tensor, torch.Tensor] | None,
    out: torch.Tensor,
    threads: int,
) -> torch.Tensor:
    """Attention of each span (first query, queries, first key, keys) after what was `seen`, into `out`."""
    before = seen or (None, None)
    count = 0 if seen is None else len(seen[0])
    loaded().lingxi_attention(
        queries.data_ptr(), queries.stride(0), keys.data_ptr(), values.data_ptr(), keys.stride(0),
        heads.heads, heads.kv_heads, heads.dim, out.data_ptr(), out.stride(0), _at(before[0]), _at(before[1]),
        count, heads.scale, int(heads.causal), heads.window, spans.data_ptr(), len(spans), threads,
    )  # fmt: skip
    return out


def spans(packed: Packed) -> torch.Tensor:
    """Spans [sequences, 4] of a batch (first query, queries, first key, keys): every token asks."""
    starts = [(run.start + i * run.length, run.length) for run in packed.runs for i in range(run.count)]
    return torch.tensor([(start, length, start, length) for start, length in starts], dtype=torch.long)


def one_each(whole: torch.Tensor) -> torch.Tensor:
    """The same spans where one query a sequence asks, in the order of the sequences."""
    found = whole.clone()
    found[:, 0] = torch.arange(len(found))
    found[:, 1] = 1
    return found
