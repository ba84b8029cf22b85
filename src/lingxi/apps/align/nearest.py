"""Nearest neighbours between two sets of vectors, exactly and in bounded memory, with hubs held back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi.vectors import Floats

# Rows compared at a time: of 15,000 columns, 60 MB.
_ROWS = 1024


class Candidates(NamedTuple):
    """For each row on the left, `rows` [n, k] on the right and their `scores` [n, k], best first."""

    rows: NDArray[np.int64]
    scores: Floats


def nearest(left: Floats, right: Floats, k: int, less: Floats | None = None) -> Candidates:
    """The `k` rows of `right` [m, dim] of largest product (minus `less` [m]) for each of `left` [n, dim].

    k is at most m. Exact: every pair is compared, a block of rows at a time.
    """
    columns = torch.from_numpy(np.ascontiguousarray(right, np.float32)).T
    penalty = None if less is None else torch.from_numpy(less)
    k = min(k, len(right))
    rows = np.empty((len(left), k), np.int64)
    scores = np.empty((len(left), k), np.float32)
    for start in range(0, len(left), _ROWS):
        block = torch.from_numpy(np.ascontiguousarray(left[start : start + _ROWS], np.float32)) @ columns
        best, at = (block if penalty is None else block - penalty).topk(k, dim=1)
        rows[start : start + _ROWS], scores[start : start + _ROWS] = at.numpy(), best.numpy()
    return Candidates(rows, scores)


def apart(left: Floats, right: Floats, k: int, hubs: int = 10) -> Candidates:
    """The `k` nearest by CSLS (arXiv 1710.04087, equation 3), for unit vectors: near to all is near to none.

        csls(x, y) = 2 cos(x, y) - r(x) - r(y),   r: mean cosine with the `hubs` nearest of the other side

    Scores are cos(x, y) - r(y) / 2: r(x) is the same for every y.
    """
    crowd = nearest(right, left, hubs).scores.mean(axis=1) / 2
    return nearest(left, right, k, crowd)
