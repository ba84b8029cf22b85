"""Why another runtime differs, in words: the wrong encoding that what it gave is nearest to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lingxi.check.report import LOSSY, Tolerance, Values, cosine_gaps
from lingxi.check.subject import Subject
from lingxi.check.variants import variants
from lingxi.model.golden import GoldenText
from lingxi.vectors import cut

# Texts a variant is computed for: enough to tell mistakes apart.
_TRIED = 10
# A variant explains scores that it brings so near.
_SCORES = 1e-2
_UNKNOWN = "no known mistake explains it: other weights, or an engine that computes wrong; nearest: "
_IN_BATCHES = "wrong in a batch: {} are right alone, so padding is read, or its side or mask is wrong"


@dataclass(frozen=True, slots=True)
class Compared:
    """What another runtime gave for texts, in batches and alone, beside what it should have given."""

    texts: tuple[GoldenText, ...]
    got: Values
    alone: Values
    wanted: Values
    tolerance: Tolerance


def causes(subject: Subject, compared: Compared) -> tuple[str, ...]:
    """The causes of what is off; the last words where none is known."""
    found = list(
        _vector_causes(subject, compared) if compared.got.ndim == 2 else _score_causes(subject, compared)
    )
    return tuple(dict.fromkeys(found))


def _vector_causes(subject: Subject, c: Compared) -> Iterator[str]:
    width, full = c.got.shape[1], c.wanted.shape[1]
    if not np.isfinite(c.got).all():
        yield "components that are not numbers"
        return
    if width > full:
        yield f"another model: vectors of {width} dimensions and not {full}"
        return
    if width < full:
        yield f"dims cut: vectors of {width} dimensions and not {full}"
    norms = np.linalg.norm(c.got, axis=1)
    if np.abs(norms - 1).max() > 1e-2:
        yield f"not normalised: vectors are {norms.min():.3g} to {norms.max():.3g} long and not 1"
    got, alone, wanted = (cut(v, width) for v in (c.got, c.alone, c.wanted))
    order = (got @ wanted.T).argmax(1)
    if _moved(order) and _near(got, wanted[order]).all():
        yield _swapped(order)
        return
    off = np.flatnonzero(~_near(got, wanted))
    batched = off[_near(alone, wanted)[off]]
    if len(batched):
        yield _IN_BATCHES.format(len(batched))
    yield from _explained(subject, c, got, [int(i) for i in off if i not in batched], width)


def _explained(subject: Subject, c: Compared, got: Values, off: Sequence[int], width: int) -> Iterator[str]:
    """The best variant of queries that are off, and of documents; one mistake may explain both."""
    found: dict[str, list[float]] = {}
    for query in (True, False):
        at = [i for i in off if (c.texts[i].task is not None) == query][:_TRIED]
        if at:
            texts = [c.texts[i] for i in at]
            gaps = {v.cause: cosine_gaps(got[at], cut(v.compute(texts), width)) for v in variants(subject)}
            best = min(gaps, key=lambda cause: float(gaps[cause].mean()))
            found.setdefault(best, []).extend(gaps[best].tolist())
    for cause, each in found.items():
        gap = float(np.mean(each))
        known = "" if gap <= LOSSY.cosine else _UNKNOWN
        yield f"{known}{cause} (cosine {1 - gap:.5f} over {len(each)} texts)"


def _near(a: Values, b: Values) -> np.ndarray:
    return np.asarray(cosine_gaps(a, b) <= LOSSY.cosine)


def _moved(order: np.ndarray) -> bool:
    places = list(range(len(order)))
    return sorted(order.tolist()) == places and order.tolist() != places


def _swapped(order: np.ndarray) -> str:
    first = next(i for i, j in enumerate(order.tolist()) if i != j)
    other = int(order[first])
    return f"rows swapped: answers come in another order (text {first} has the answer of text {other})"


def _score_causes(subject: Subject, c: Compared) -> Iterator[str]:
    got, wanted = c.got.astype(np.float64), c.wanted.astype(np.float64)
    if not np.isfinite(got).all():
        yield "scores that are not numbers"
        return
    odds = np.log(np.maximum(wanted, 1e-30)) - np.log1p(-np.minimum(wanted, 1 - 1e-7))
    simple = {
        "not normalised: log-odds are given and not probabilities (raw scores)": odds,
        "sigmoid applied twice: scores lie between 0.5 and 0.73": 1 / (1 + np.exp(-wanted)),
        "yes and no are swapped: scores are 1 − score": 1 - wanted,
    }
    for cause, would in simple.items():
        if np.abs(got - would).max() <= _SCORES * max(1, np.abs(would).max()):
            yield cause
            return
    off = [int(i) for i in np.flatnonzero(np.abs(got - wanted) > c.tolerance.score)]
    right = [i for i in off if abs(float(c.alone[i] - c.wanted[i])) <= c.tolerance.score]
    if right and _same_sets(c):
        yield "rows swapped: scores do not stand at the index of their document"
        return
    if right:
        yield _IN_BATCHES.format(len(right))
    yield from _explained_scores(subject, c, [i for i in off if i not in right])


def _same_sets(c: Compared) -> bool:
    """Whether each query has the right scores, in whatever order."""
    queries = {t.query for t in c.texts}
    for query in queries:
        at = [i for i, t in enumerate(c.texts) if t.query == query]
        if np.abs(np.sort(c.got[at]) - np.sort(c.wanted[at])).max() > c.tolerance.score:
            return False
    return True


def _explained_scores(subject: Subject, c: Compared, off: Sequence[int]) -> Iterator[str]:
    at = off[:_TRIED]
    if not at:
        return
    texts = [c.texts[i] for i in at]
    gaps = [(float(np.abs(c.got[at] - v.compute(texts)).max()), v.cause) for v in variants(subject)]
    gap, cause = min(gaps, key=lambda pair: pair[0])
    shown = f"(scores within {gap:.1g} over {len(at)} pairs)"
    yield f"{'' if gap <= _SCORES else _UNKNOWN}{cause} {shown}"
