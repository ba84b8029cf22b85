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
        raise InputError(
            f"{path}: no calibration ({problem})", "make one with `lingxi ask-calibrate`"
        ) from None
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
    embedder="lingxi-nano 00f5e70d3b2a34f6",
    source=(
        "140 questions of SQuAD, CMRC and DRCD, JSQuAD (40 each) and AfriQA (20), training parts, each asked "
        "with and without its passage among three times as many; 4,200 pairs of STS-B in seven languages"
    ),
    sure=Logistic(weights=(5.0525, 11.0802, 9.4674, -4.9178, -5.307), bias=-8.2919, threshold=0.477),
    support=Logistic(weights=(7.4011, 1.7055), bias=-5.5364, threshold=0.89),
    margin=0.0,
)
