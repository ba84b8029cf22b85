"""Measure the thresholds of answers on one's own pairs of questions and passages.

Each question is asked twice over the passages of the file: with its own among them, and without. What tells
the two apart is `sure`; the lead of the first passage is `margin`. `support` is learned from pairs of
sentences with a similarity of 0 to 5, where 4 counts as the same and 3 or less does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from lingxi.apps.ask.adaptive import leads
from lingxi.apps.ask.calibration import Calibration, Logistic, name_of
from lingxi.apps.ask.evidence import Weights, evidence
from lingxi.apps.ask.passages import Passages
from lingxi.apps.ask.signals import features
from lingxi.errors import InputError, MissingExtraError
from lingxi.index import Hit
from lingxi.index.build import Embeds

_FEWEST = 20
_SAME, _OTHER = 4.0, 3.0
_MARGINS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)


@dataclass(frozen=True, slots=True)
class Group:
    """Questions and the passages they are asked over; `own[i]` are the positions that answer question i."""

    questions: tuple[str, ...]
    passages: tuple[str, ...]
    own: tuple[frozenset[int], ...]


@dataclass(frozen=True, slots=True)
class Alike:
    """Two sentences and how much they say the same, 0 to 5."""

    left: str
    right: str
    similarity: float


def calibrate(
    embedder: Embeds,
    groups: Sequence[Group],
    alike: Sequence[Alike],
    *,
    source: str,
    support: Logistic | None = None,
    precision: float = 0.9,
    agreement: float = 0.95,
    passages: int = 5,
) -> Calibration:
    """Thresholds for an embedder.

    `sure` refuses a tenth of the questions that are answered, and as many of the others as it can; `support`
    accepts from where a share of `precision` of the accepted pairs says the same (`support` may be kept from
    elsewhere instead); `margin` is the least lead at which a share of `agreement` of the first passages is
    right. Raises InputError for too few pairs.
    """
    asked = sum(len(group.questions) for group in groups)
    if asked < _FEWEST:
        raise InputError(f"{asked} questions are too few to measure by", f"give at least {_FEWEST}")
    rows: list[list[float]] = []
    labels: list[int] = []
    led: list[tuple[list[Hit], bool]] = []
    for group in groups:
        found = Passages(group.passages, embedder)
        for question, own in zip(group.questions, group.own, strict=True):
            hits = found.search(question, top_k=20)
            led.append((hits, found.position(hits[0]) in own))
            rows.append(signals(embedder, question, hits, passages))
            labels.append(1)
            others = [i for i in range(len(group.passages)) if i not in own]
            rows.append(signals(embedder, question, found.only(others).search(question, top_k=20), passages))
            labels.append(0)
    sure = fitted(rows, labels, bounded_threshold)
    kept = support or _support(embedder, alike, precision)
    name = name_of(embedder.fingerprint())
    return Calibration(embedder=name, source=source, sure=sure, support=kept, margin=_margin(led, agreement))


def signals(embedder: Embeds, question: str, hits: Sequence[Hit], passages: int) -> list[float]:
    """The signals of the first passages of a search; how rare a word is, is counted in all of it."""
    weights = Weights([hit.text for hit in hits])
    chosen = hits[:passages]
    return features(question, chosen, evidence(embedder, question, chosen, weights), weights)


def _support(embedder: Embeds, alike: Sequence[Alike], precision: float) -> Logistic:
    clear = [pair for pair in alike if pair.similarity >= _SAME or pair.similarity <= _OTHER]
    if len(clear) < _FEWEST:
        raise InputError(
            f"{len(clear)} pairs of sentences are too few", f"give at least {_FEWEST}, or `support`"
        )
    weights = Weights([pair.right for pair in clear])
    left, right = (
        np.asarray(embedder.encode_document([getattr(pair, side) for pair in clear], show_progress_bar=False))
        for side in ("left", "right")
    )
    cosines = (left * right).sum(axis=1)
    rows = [
        [float(cosine), weights.coverage(pair.left, pair.right)]
        for cosine, pair in zip(cosines, clear, strict=True)
    ]
    labels = [int(pair.similarity >= _SAME) for pair in clear]
    return fitted(rows, labels, lambda p, y: precise_threshold(p, y, precision))


def bounded_threshold(chances: npt.NDArray[Any], labels: npt.NDArray[Any], lost: float = 0.1) -> float:
    """The threshold below which a share `lost` of what is true lies, or all that is not, if that is lower."""
    below_true = float(np.quantile(chances[labels == 1], lost, method="lower"))
    return round(min(below_true, float(chances[labels == 0].max()) + 0.001), 3)


def precise_threshold(chances: npt.NDArray[Any], labels: npt.NDArray[Any], precision: float) -> float:
    """The least threshold from which on a share of `precision` of what is accepted is true."""
    steps = np.unique(np.round(chances, 3))
    accepted = [(float(t), labels[chances >= t]) for t in steps]
    good = [t for t, kept in accepted if len(kept) and kept.mean() >= precision]
    return min(good, default=1.0)


def _margin(led: Sequence[tuple[list[Hit], bool]], agreement: float) -> float:
    """The least lead with enough first places right among those that have it; 1 where none is enough."""
    for margin in _MARGINS:
        right = [good for hits, good in led if leads(hits, margin)]
        if len(right) >= _FEWEST and sum(right) / len(right) >= agreement:
            return margin
    return 1.0


def fitted(rows: Sequence[Sequence[float]], labels: Sequence[int], threshold: Any) -> Logistic:
    """The scale that tells rows labelled 1 from those labelled 0, and `threshold` of chances and labels."""
    try:
        linear = import_module("sklearn.linear_model")
    except ImportError:
        raise MissingExtraError("scikit-learn", "evaluate", "calibrating answers") from None
    gold = np.asarray(labels)
    if len(set(labels)) < 2:
        raise InputError(
            "all pairs of sentences are of one kind", "give pairs that say the same and pairs that do not"
        )
    model = linear.LogisticRegression(C=100.0, max_iter=1000, class_weight="balanced")
    fitted = model.fit(np.asarray(rows), gold)
    weights = tuple(round(float(w), 4) for w in fitted.coef_[0])
    scale = Logistic(weights=weights, bias=round(float(fitted.intercept_[0]), 4), threshold=0.5)
    return scale.model_copy(update={"threshold": threshold(scale.of(rows), gold)})


def read_group(path: Any) -> Group:
    """One group of a table of `q` and `p` (`*.jsonl`, `*.csv`, `*.parquet`).

    Equal passages are one, and so are equal questions, which all of their passages answer. Raises InputError
    naming the row that lacks one.
    """
    from lingxi.tables import field, numbered

    place: dict[str, int] = {}
    own: dict[str, set[int]] = {}
    for number, row in numbered(path):
        passage = field(row, "p", path, number)
        asked = own.setdefault(field(row, "q", path, number), set())
        asked.add(place.setdefault(passage, len(place)))
    return Group(tuple(own), tuple(place), tuple(map(frozenset, own.values())))
