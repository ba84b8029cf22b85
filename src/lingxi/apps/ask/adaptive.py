"""Rerank no more than it takes: not at all when the search is sure, and in pieces until the first is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lingxi.apps.ask.records import Reranking
from lingxi.index import Hit
from lingxi.index.search import Ranks

# What a passage needs to be judged by, as in the index.
_CHARACTERS = 1000
# The least spread of judged logits that is believed: a few equal scores do not make a certainty.
_LEAST_SPREAD = 0.5


@dataclass(frozen=True, slots=True)
class Rule:
    """When to stop: see `AskSettings` and `Calibration.margin`; `margin` None never skips."""

    margin: float | None
    confidence: float
    piece: int
    blend: float


def leads(hits: Sequence[Hit], margin: float) -> bool:
    """Whether the search is sure of its first: first by vectors and by words, ahead by `margin` in cosine."""
    if len(hits) < 2:
        return True
    cosines = [hit.scores.get("vector", -1.0) for hit in hits]
    texts = [hit.scores.get("text", -1.0) for hit in hits]
    agreed = texts[0] >= max(texts[1:]) and texts[0] > 0
    return agreed and cosines[0] - max(cosines[1:]) >= margin


def reranked(
    reranker: Ranks, question: str, hits: Sequence[Hit], rule: Rule
) -> tuple[list[Hit], Reranking, str]:
    """Hits in the reranker's order, what it took, and what was done in words.

    Passages not judged stay behind those that were, as they were.
    """
    if rule.margin is not None and leads(hits, rule.margin):
        return list(hits), Reranking(len(hits), 0), "not reranked: the search is sure of its first"
    logits: list[float] = []
    while len(logits) < len(hits):
        piece = hits[len(logits) : len(logits) + rule.piece]
        logits += _logits(reranker, question, piece)
        left = len(hits) - len(logits)
        if rule.margin is not None and settled(mixed(logits, rule.blend), left, rule.confidence):
            break
    judged = len(logits)
    said = f"reranked {judged} of {len(hits)}"
    return _ordered(hits, logits, rule.blend), Reranking(len(hits), judged), said


def settled(scores: npt.ArrayLike, left: int, confidence: float) -> bool:
    """Whether the best of the judged stays first with that confidence.

    Passages left unread are taken to score like the judged ones behind the best (they rank below them, so
    this is cautious): normal, with their mean and spread. Chance that none of `left` is better: Φ(z)^left.
    """
    judged = np.asarray(scores, np.float64)
    if left == 0:
        return True
    if len(judged) < 4:
        return False
    best = int(judged.argmax())
    others = np.delete(judged, best)
    z = (judged[best] - others.mean()) / max(float(others.std(ddof=1)), _LEAST_SPREAD)
    below = 0.5 * (1 + math.erf(z / math.sqrt(2)))
    return bool(below**left >= confidence)


def mixed(logits: Sequence[float], blend: float) -> npt.NDArray[np.float64]:
    """Reranker's logits and the search's order as one score: `blend · logit − (1 − blend) · log2(rank)`."""
    ranks = np.log2(np.arange(1, len(logits) + 1))
    return np.asarray(blend * np.asarray(logits) - (1 - blend) * ranks, np.float64)


def _logits(reranker: Ranks, question: str, hits: Sequence[Hit]) -> list[float]:
    pairs = [(question, hit.text[:_CHARACTERS]) for hit in hits]
    judged = np.clip(reranker.predict(pairs, show_progress_bar=False), 1e-6, 1 - 1e-6).astype(np.float64)
    return [float(x) for x in np.log(judged / (1 - judged))]


def _ordered(hits: Sequence[Hit], logits: Sequence[float], blend: float) -> list[Hit]:
    scores = mixed(logits, blend)
    marked = [
        replace(hit, scores={**hit.scores, "rerank": 1 / (1 + math.exp(-logit))})
        for hit, logit in zip(hits, logits, strict=False)
    ]
    return [marked[i] for i in np.argsort(-scores, kind="stable")] + list(hits[len(logits) :])
