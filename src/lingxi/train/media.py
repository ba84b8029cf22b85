"""Heads for pictures and sound in closed form, towards the vectors a frozen text model gives their captions.

The text side never moves, so that indexes of texts stay good. With features x, a caption's vector t and
means taken off, the head is x (Cxx + λI)⁻¹ Cxt (Ctt + μI)⁻¹: ridge regression (Hoerl & Kennard 1970) towards
the mean caption, then directions in which captions differ much anyway, for their language or their length,
weighed down. It is regularised canonical correlation (Hotelling 1936) with both matrices on one side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from lingxi.config import Settings
from lingxi.vectors import Floats


class MediaSettings(Settings):
    """λ and μ, as shares of the mean eigenvalue of what they are added to; μ = 0 weighs nothing down."""

    ridge: float = Field(default=1.0, gt=0)
    whiten: float = Field(default=0.1, ge=0)


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """Features [items, inputs] of items, mean caption vectors [items, dim], what each item counts [items]."""

    features: Floats
    means: Floats
    weights: Floats


def fit_head(items: Matched, captions: Floats, settings: MediaSettings) -> tuple[Floats, Floats]:
    """The matrix [dim, inputs] and bias [dim] of a head; `captions` [n, dim] are single captions."""
    share = (items.weights / items.weights.sum())[:, None].astype(np.float32)
    middle, towards = (items.features * share).sum(0), (items.means * share).sum(0)
    x, y = items.features - middle, items.means - towards
    matrix = _ridge(x, y, share, settings.ridge)
    if settings.whiten:
        spread = captions - towards
        matrix = matrix @ np.linalg.inv(_lifted(spread.T @ spread / len(spread), settings.whiten))
    return np.ascontiguousarray(matrix.T, np.float32), np.asarray(-middle @ matrix, np.float32)


def _ridge(x: Floats, y: Floats, share: Floats, ridge: float) -> Floats:
    """The ridge solution [inputs, dim]; by whichever of inputs and items are fewer."""
    rooted = np.sqrt(share)
    x, y = x * rooted, y * rooted
    if len(x) >= x.shape[1]:
        return np.asarray(np.linalg.solve(_lifted(x.T @ x, ridge), x.T @ y), np.float32)
    return np.asarray(x.T @ np.linalg.solve(_lifted(x @ x.T, ridge), y), np.float32)


def _lifted(square: Floats, share: float) -> Floats:
    """A covariance with a share of its mean eigenvalue added to each."""
    size = len(square)
    return np.asarray(square + share * np.trace(square) / size * np.eye(size), np.float32)
