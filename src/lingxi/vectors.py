"""What is done to finished vectors: cut, normalise, quantize, compare.

Widths are cut before normalising (Matryoshka); int8 scales belong to a model and a width and are
never taken from the batch, so one vector has one code wherever it is computed.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import InputError

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
MIN_DIM = 32

Floats = NDArray[np.float32]


def check_dim(dim: int, hidden: int) -> int:
    """Return `dim`; raises InputError outside 32…hidden."""
    least = min(MIN_DIM, hidden)
    if isinstance(dim, bool) or not isinstance(dim, int) or not least <= dim <= hidden:
        raise InputError(f"truncate_dim is {dim!r}", f"choose a whole number from {least} to {hidden}")
    return dim


def check_precision(precision: str) -> str:
    """Return `precision`; raises InputError for one that is not offered."""
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}", f"choose one of: {', '.join(PRECISIONS)}")
    return precision


def cut(states: Floats, dim: int) -> Floats:
    """Cut [n, hidden] to [n, dim], then bring each row to unit length (a zero row stays zero)."""
    head = states[..., :dim].astype(np.float32, copy=True)
    norms = np.linalg.norm(head, axis=-1, keepdims=True)
    head /= np.maximum(norms, 1e-12)
    return head


def int8_scale(calibration: Floats, dim: int) -> float:
    """The int8 step of a model at width `dim`, from its calibration vectors [n, hidden].

    One symmetric step for all dimensions, so that the dot product of two codes is proportional
    to the cosine. The largest component seen is code 120; the head room takes rarer ones.
    """
    return float(np.abs(cut(calibration, dim)).max()) / 120


def quantize(vectors: Floats, precision: str, scale: float | None = None) -> NDArray[np.generic]:
    """Code unit vectors [n, dim]; `scale` is the int8 step (needed for int8 and uint8).

    int8 rounds x / scale and clips to ±127; uint8 is the same shifted by 128; `ubinary` packs
    signs eight to a byte, most significant first, and `binary` is that minus 128 as int8 (the
    convention of sentence-transformers).
    """
    if precision == "float32":
        return vectors
    if precision in ("binary", "ubinary"):
        packed = np.packbits(vectors > 0, axis=-1)
        return packed if precision == "ubinary" else np.asarray(packed.astype(np.int16) - 128, np.int8)
    if scale is None:
        raise InputError(f"precision {precision!r} needs the model's scale", "pass scale=int8_scale(…)")
    codes = np.clip(np.rint(vectors / scale), -127, 127)
    return np.asarray(codes, np.int8) if precision == "int8" else np.asarray(codes + 128, np.uint8)


def similarity(a: Floats, b: Floats) -> Floats:
    """Cosine of every row of `a` [n, dim] with every row of `b` [m, dim]: [n, m]; 1-D counts as one row."""
    left, right = np.atleast_2d(a), np.atleast_2d(b)
    if left.shape[-1] != right.shape[-1]:
        raise InputError(
            f"vectors of {left.shape[-1]} and {right.shape[-1]} dimensions cannot be compared",
            "encode both with the same truncate_dim",
        )
    return np.asarray(cut(left, left.shape[-1]) @ cut(right, right.shape[-1]).T, dtype=np.float32)
