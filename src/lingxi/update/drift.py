"""How far texts have moved from those before: a two-sample test on their vectors, kept as a history.

Maximum mean discrepancy with a Gaussian kernel whose width is the median distance (Gretton et al. 2012, JMLR
13), unbiased; its p-value by permutation. Beside it, how near a recent text finds one of before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import InputError

# Vectors of a side that are compared: the test costs their number squared.
_MOST = 400
_PERMUTATIONS = 200


@dataclass(frozen=True, slots=True)
class Drift:
    """One measurement: squared discrepancy, p-value, mean cosine to the nearest text of before, of whom."""

    what: str
    time: float
    discrepancy: float
    p: float
    nearest: float
    count: int


def measure(
    what: str, before: NDArray[np.float32], now: NDArray[np.float32], time: float, seed: int
) -> Drift:
    """Compare unit vectors [n, dim] and [m, dim]; raises InputError for fewer than 20 on a side."""
    if min(len(before), len(now)) < 20:
        raise InputError(f"{len(before)} and {len(now)} texts to compare", "wait for 20 or more")
    rng = np.random.default_rng(seed)
    a, b = (x[rng.permutation(len(x))[:_MOST]].astype(np.float64) for x in (before, now))
    cosines = np.concatenate((a, b)) @ np.concatenate((a, b)).T
    distances = np.maximum(2 - 2 * cosines, 0.0)
    kernel = np.exp(-distances / np.median(distances[np.triu_indices(len(distances), 1)]))
    np.fill_diagonal(kernel, 0.0)
    found = _mmd(kernel, np.arange(len(kernel)) < len(a))
    marks = np.arange(len(kernel)) < len(a)
    chance = [_mmd(kernel, rng.permutation(marks)) for _ in range(_PERMUTATIONS)]
    p = (1 + sum(value >= found for value in chance)) / (1 + _PERMUTATIONS)
    return Drift(what, time, float(found), float(p), float((b @ a.T).max(1).mean()), len(now))


def _mmd(kernel: NDArray[np.float64], first: NDArray[np.bool_]) -> float:
    """Unbiased squared discrepancy; the kernel's diagonal is 0."""
    n, m = int(first.sum()), int((~first).sum())
    one, two = kernel[first][:, first].sum() / (n * (n - 1)), kernel[~first][:, ~first].sum() / (m * (m - 1))
    return float(one + two - 2 * kernel[first][:, ~first].mean())


def remember(path: Path, drift: Drift) -> None:
    """Append a measurement to a history."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(drift)) + "\n")


def history(path: Path) -> list[Drift]:
    """The whole measurements of a history; a half-written last line is left out."""
    out = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            out.append(Drift(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return out


def plot(rows: Sequence[Drift], updates: Sequence[float]) -> str:
    """The history as SVG: discrepancy over time by what was measured, updates as vertical lines."""
    from lingxi.evaluate.plots import COLOURS, figure

    start = min((row.time for row in rows), default=0.0)
    with figure(6.4, 3.2) as (_, axes, svg):
        for colour, what in zip(COLOURS, dict.fromkeys(row.what for row in rows), strict=False):
            own = [row for row in rows if row.what == what]
            axes.plot([(r.time - start) / 3600 for r in own], [r.discrepancy for r in own], "o-", ms=3,
                      color=colour, label=what)  # fmt: skip
        for moment in updates:
            axes.axvline((moment - start) / 3600, color="#999999", lw=0.8)
        axes.set_xlabel("hours")
        axes.set_ylabel("drift (MMD²)")
        if rows:
            axes.legend(frameon=False)
    return svg[0]
