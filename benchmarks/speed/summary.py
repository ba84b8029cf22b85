"""Laps to medians, spreads and paired ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speed.process import Lap

TIE = 0.10


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast as the reference: the median of each round's own ratio, with quartiles."""

    cpu: Spread
    wall: Spread

    @property
    def tie(self) -> bool:
        """Whether the CPU seconds differ by less than a tenth either way."""
        return is_tie(self.cpu.median)


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles of at least one value."""
    low, median, high = np.percentile(np.asarray(values), [25, 50, 75])
    return Spread(float(median), float(low), float(high))


def ratio(reference: Sequence[Lap], mine: Sequence[Lap]) -> Ratio:
    """Reference seconds over mine, paired by round: more is faster. Raises ValueError for unequal rounds."""
    pairs = list(zip(reference, mine, strict=True))
    return Ratio(spread([r.cpu / m.cpu for r, m in pairs]), spread([r.wall / m.wall for r, m in pairs]))


def is_tie(ratio: float) -> bool:
    """A difference under 10 %, whichever of the two is ahead."""
    return 1 / (1 + TIE) < ratio < 1 + TIE
