"""How sure a match is: a logistic regression of what speaks for it, fitted to pairs whose truth is known.

Without seeds its weights are those below, fitted on DBP15K ja-en: on the links among all entities of both
graphs, and on small parts of them in which most entities have no partner (`benchmarks/align_parts.py --whole`
prints them, and measures how well they hold on zh-en). Entities that the links do not name are left out: most
that are matched surely are right. With enough seeds the weights are fitted to those, each matched as if it
were not known.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import MissingExtraError
from lingxi.vectors import Floats

FEATURES = ("share", "likeness", "same", "agreement", "mutual")
FEWEST_SEEDS = 50


class Calibration(NamedTuple):
    """Weights of the features and of 1, and where they come from."""

    weights: tuple[float, ...]
    source: str


WITH_TRIPLES = Calibration(
    (5.894, 4.411, 0.705, 1.703, 0.43, -4.395), "fitted on DBP15K ja-en with lingxi-pico"
)
NAMES_ALONE = Calibration(
    (4.269, 7.368, 0.83, 0.0, 0.774, -4.666), "fitted on names of DBP15K ja-en with lingxi-pico"
)


def confidences(features: Floats, calibration: Calibration) -> Floats:
    """Probability [n] that each match is right, of its features [n, 5]."""
    weights = np.array(calibration.weights)
    return np.asarray(1 / (1 + np.exp(-(features @ weights[:-1] + weights[-1]))), np.float32)


def fitted(features: Floats, right: NDArray[np.bool_], source: str) -> Calibration:
    """The calibration that makes known matches likeliest; raises MissingExtraError without scikit-learn."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtraError("scikit-learn", "graphs", "aligning graphs") from None
    model = LogisticRegression(max_iter=1000).fit(features, right)
    weights = (*model.coef_[0].tolist(), float(model.intercept_[0]))
    return Calibration(tuple(round(float(w), 3) for w in weights), source)


def of_seeds(features: Floats, right: NDArray[np.bool_], shipped: Calibration) -> Calibration:
    """The calibration of seeds, where they are enough, some found and some missed; else the shipped one."""
    if len(right) < FEWEST_SEEDS or right.all() or not right.any():
        return shipped
    return fitted(features, right, f"fitted on {len(right)} seeds")
