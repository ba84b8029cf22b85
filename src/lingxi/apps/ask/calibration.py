"""From scores to probabilities: what was measured on pairs of questions and passages, and shipped.

`sure` says whether passages answer a question, `support` whether a sentence of a passage carries a statement.
Both are logistic: `sure` of what `signals` counts, `support` of a cosine and of shared words.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lingxi.apps.ask.signals import NAMES
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
    again = f"{path}: make it again with `lingxi ask-calibrate`"
    scale = made(Calibration, again, **values)
    if len(scale.sure.weights) != len(NAMES):
        raise InputError(f"{path}: {len(scale.sure.weights)} weights for {len(NAMES)} signals", again)
    return scale


def own(fingerprint: Mapping[str, object]) -> Calibration | None:
    """The calibration that ships for this very embedder, if one does."""
    return next((made for made in SHIPPED if made.embedder == name_of(fingerprint)), None)


def shipped(fingerprint: Mapping[str, object]) -> Calibration:
    """The calibration that ships for an embedder; warns where the one given was measured with another."""
    found = own(fingerprint)
    if found is None:
        warnings.warn(
            f"thresholds of answers were measured with {SHIPPED[0].embedder}, not {name_of(fingerprint)}; "
            "make your own with `lingxi ask-calibrate`",
            LingxiWarning,
            stacklevel=3,
        )
    return found or SHIPPED[0]


_PICO = Calibration(
    embedder="lingxi-pico 00f5e70d3b2a34f6",
    source=(
        "150 questions of SQuAD, training part, each asked with and without its passage among 1,500, a tenth "
        "of the first refused; 4,200 pairs of STS-B in seven languages; the margin by 140 questions of "
        "SQuAD, CMRC and DRCD, JSQuAD and AfriQA"
    ),
    # `python benchmarks/refusals.py`; in the order of `signals.NAMES`.
    sure=Logistic(
        weights=(
            3.1922,
            2.2252,
            -0.6798,
            4.7954,
            -3.006,
            -0.8716,
            -2.0788,
            -2.8863,
            2.9441,
            1.9124,
            2.466,
            6.3224,
        ),
        bias=-5.5237,
        threshold=0.315,
    ),
    support=Logistic(weights=(7.4011, 1.7055), bias=-5.5364, threshold=0.89),
    margin=0.0,
)

# `python benchmarks/ask_scale.py`
_NANO = Calibration(
    embedder="lingxi-nano fce2a6817bd49615",
    source=(
        "150 questions of SQuAD, training part, each asked with and without its passage among 1,500, a tenth "
        "of the first refused; 4,200 pairs of STS-B in seven languages"
    ),
    sure=Logistic(
        weights=(
            12.3404,
            11.7844,
            0.2931,
            4.019,
            -3.696,
            0.031,
            -1.9079,
            2.1769,
            -4.0515,
            4.0829,
            5.7332,
            4.4127,
        ),
        bias=-23.0781,
        threshold=0.335,
    ),
    support=Logistic(weights=(51.1629, -0.2787), bias=-47.1849, threshold=0.859),
    margin=0.02,
)

SHIPPED = (_PICO, _NANO)
"""What was measured for the models that ship; an embedder that none was measured for is given the first."""
