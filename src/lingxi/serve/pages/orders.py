"""Two orders of the same texts: how much of the first ranks they share, and how far each text moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEPTHS = (1, 3, 5, 10, 20)


@dataclass(frozen=True, slots=True)
class Place:
    """A text in one order: its number, rank and score there, and its rank on the other side."""

    text: int
    rank: int
    score: float
    other: int

    @property
    def gain(self) -> int:
        """Ranks it stands higher here than on the other side (negative: lower)."""
        return self.other - self.rank


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both orders, best first; (k, shared) for depths below their length; Kendall's tau-b; how many moved."""

    a: tuple[Place, ...]
    b: tuple[Place, ...]
    overlaps: tuple[tuple[int, int], ...]
    tau: float | None
    moved: int


def compare(a: Sequence[float], b: Sequence[float]) -> Comparison:
    """Compare two scores of the same texts; equal scores keep the order of the texts."""
    left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
    orders = [np.argsort(-scores, kind="stable") for scores in (left, right)]
    ranks = [np.argsort(order, kind="stable") for order in orders]
    overlaps = tuple(
        (k, len(set(orders[0][:k].tolist()) & set(orders[1][:k].tolist()))) for k in DEPTHS if k < len(left)
    )
    return Comparison(
        _places(orders[0], left, ranks[0], ranks[1]),
        _places(orders[1], right, ranks[1], ranks[0]),
        overlaps,
        _tau(left, right),
        int((ranks[0] != ranks[1]).sum()),
    )


def _places(
    order: NDArray[np.int64], scores: NDArray[np.float64], own: NDArray[np.int64], other: NDArray[np.int64]
) -> tuple[Place, ...]:
    return tuple(Place(int(i), int(own[i]) + 1, float(scores[i]), int(other[i]) + 1) for i in order)


def _tau(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Kendall's tau-b (Kendall 1945), None where one side gives every text the same score."""
    upper = np.triu_indices(len(a), 1)
    left = np.sign(a[:, None] - a[None, :])[upper]
    right = np.sign(b[:, None] - b[None, :])[upper]
    norm = np.sqrt(np.abs(left).sum() * np.abs(right).sum())
    return float((left * right).sum() / norm) if norm else None
