"""Codes of unit vectors: what a first look reads in place of the full vector.

The int8 step belongs to a width, and never to a batch, so a row has one code wherever it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi import vectors
from lingxi.index.stores.layout import Floats, Layout

# The largest component of a unit vector that int8 tells apart, in units of its mean size; rarer ones are cut.
_LARGEST = 6.0


@dataclass(frozen=True, slots=True)
class Codes:
    """`codes(vectors)` for one layout; `cosines` turns scores of codes into cosines."""

    binary: bool
    encode: Callable[[Floats], NDArray[Any]]
    cosines: Callable[[NDArray[Any]], Floats]

    def __call__(self, found: Floats) -> NDArray[Any]:
        """Codes [n, …] of unit vectors [n, dim], in the type the index of them wants."""
        return self.encode(found)


def coder(layout: Layout) -> Codes:
    """What turns vectors into codes at a layout's precision."""
    if layout.precision == "binary":
        # Of d signs, h differ: the angle is about π h / d (Charikar 2002).
        return Codes(
            True,
            lambda found: np.packbits(found > 0, axis=-1),
            lambda differing: np.cos(np.pi * differing.astype(np.float32) / layout.dim),
        )
    if layout.precision == "int8":
        step = int8_step(layout.dim)
        return Codes(
            False,
            lambda found: vectors.quantize(found, "int8", step).astype(np.float32),
            lambda scores: np.asarray(scores * step * step, np.float32),
        )
    return Codes(False, lambda found: np.ascontiguousarray(found, np.float32), lambda scores: scores)


def int8_step(dim: int) -> float:
    """The int8 step for unit vectors of a width."""
    return min(1.0, _LARGEST / math.sqrt(dim)) / 127
