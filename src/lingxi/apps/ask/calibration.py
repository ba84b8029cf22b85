"""From scores to probabilities: what was measured on pairs of questions and passages, and shipped.

`sure` says whether passages answer a question, `support` whether a sentence of a passage carries a statement.
Both are logistic, of a cosine and of shared words (`evidence.features`); thresholds are read off data.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lingxi.config import Settings, made
from lingxi.errors import InputError, LingxiWarning


class Logistic(Settings):
    """Probability `1 / (1 + exp(-(weights · features + bias)))`, and the least that counts as yes."""

    weights: tuple[float, ...]
    bias: float
    threshold: float

    def of(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Probabilities [n] of features [n, number of weights]."""
        raw = np.atleast_2d(np.asarray(features, np.float64)) @ np.asarray(self.weights) + self.bias
        return np.asarray(0.5 * (1 + np.tanh(0.5 * raw)))


class Calibration(Settings):
    """What was measured for one embedder, and on what (`source`, in words).

    `margin` is the lead in cosine of the first passage, when words and vectors agree on it, from which no
    reranker is asked.
    """

    embedder: str
    """The model's name and its weights, as in an embedder's fingerprint."""
    source: str
    sure: Logistic
    support: Logistic
    margin: float


def name_of(fingerprint: Mapping[str, object]) -> str:
    """What a calibration calls an embedder."""
    return f"{fingerprint['name']} {fingerprint['weights']}"


def read_calibration(path: Path) -> Calibration:
    """A calibration that `calibrate` wrote; raises InputError where it is none."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as problem:
        raise InputError(f"{path}: no calibration ({problem})", "make one with `lingxi ask-calibrate`") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: no calibration", "make one with `lingxi ask-calibrate`")
    return made(Calibration, f"{path}: make it again with `lingxi ask-calibrate`", **values)


def shipped(fingerprint: Mapping[str, object]) -> Calibration:
    """The calibration that ships; warns where it was measured with another embedder."""
    if name_of(fingerprint) != SHIPPED.embedder:
        warnings.warn(
            f"thresholds of answers were measured with {SHIPPED.embedder}, not {name_of(fingerprint)}; "
            "make your own with `lingxi ask-calibrate`",
            LingxiWarning,
            stacklevel=3,
        )
    return SHIPPED


SHIPPED = Calibration(
    embedder="unmeasured",
    source="unmeasured",
    sure=Logistic(weights=(4.0, 2.0, 2.0, 1.0, 0.5), bias=-4.0, threshold=0.5),
    support=Logistic(weights=(6.0, 4.0), bias=-6.0, threshold=0.5),
    margin=0.1,
)
