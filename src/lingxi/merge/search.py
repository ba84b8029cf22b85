"""Weights searched on a dev set: points of a simplex, or one weight at a time.

The inputs alone are scored first. A merge that scores below the best of them is not taken: that input is
kept, and the outcome says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from lingxi.errors import InputError
from lingxi.merge.methods import Space, State
from lingxi.merge.settings import SearchSettings

Weights = tuple[float, ...]
Score = Callable[[State], float]
"""How good weights are on the dev set: higher is better."""

_FIRST_STEP, _LAST_STEP = 0.25, 0.02


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of a search: its weights, its dev score, and its loss where it was a step of a descent."""

    weights: Weights
    score: float | None
    loss: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    `inputs` are the scores of the inputs alone. `kept` is the number of the input that is better than every
    merge tried, else None; `weights` and `score` are those of the outcome.
    """

    weights: Weights
    score: float
    inputs: tuple[float, ...]
    trials: tuple[Trial, ...]
    kept: int | None

    def said(self) -> str:
        """The outcome in one line."""
        best = max(self.inputs)
        if self.kept is not None:
            tried = max((t.score for t in self.trials if t.score is not None), default=math.nan)
            return f"no merge is as good as input {self.kept + 1} ({tried:.4f} and {best:.4f}); it is kept"
        shown = ", ".join(f"{weight:.3f}" for weight in self.weights)
        return f"weights {shown} score {self.score:.4f}, the best input {best:.4f}"


def search(space: Space, inputs: Sequence[State], score: Score, settings: SearchSettings) -> Found:
    """Search by `grid` or `coordinate`, at most `trials` merges; raises InputError for a score that is NaN.

    `inputs` are the models alone, in the order of the weights.
    """
    alone = score_inputs(inputs, score)
    if settings.method == "coordinate":
        trials = _by_coordinate(space, score, settings.trials)
    else:
        points = grid(space.models, settings.trials)
        trials = [Trial(weights, scored(space.merged(weights), score)) for weights in points]
    return best_of(alone, trials)


def score_inputs(inputs: Sequence[State], score: Score) -> tuple[float, ...]:
    """The scores of the models alone."""
    return tuple(scored(state, score) for state in inputs)


def scored(state: State, score: Score) -> float:
    """A score; raises InputError where it is not a finite number."""
    value = float(score(state))
    if not math.isfinite(value):
        raise InputError(f"the dev score is {value}", "look at the dev set and at the inputs' weights")
    return value


def best_of(alone: tuple[float, ...], trials: Sequence[Trial]) -> Found:
    """The best trial, the first of equals, or the best input where that is better."""
    found = [(trial.score, trial.weights) for trial in trials if trial.score is not None]
    score, weights = max(found, key=lambda pair: pair[0])
    top = max(range(len(alone)), key=alone.__getitem__)
    if alone[top] > score:
        only = tuple(float(index == top) for index in range(len(alone)))
        return Found(only, alone[top], alone, tuple(trials), top)
    return Found(weights, score, alone, tuple(trials), None)


def grid(models: int, most: int) -> list[Weights]:
    """At most `most` points of the simplex of weights, without its corners: even weights, then the finest
    grid of equal divisions that fits.
    """
    even = (1 / models,) * models
    divisions = 1
    while _inner(divisions + 1, models) <= most:
        divisions += 1
    points = [tuple(part / divisions for part in parts) for parts in compositions(divisions, models)]
    inner = [point for point in points if max(point) < 1 and not _same(point, even)]
    return [even, *inner][:most]


def _inner(divisions: int, models: int) -> int:
    """Points of a grid without its corners, and even weights where they are not among them."""
    return math.comb(divisions + models - 1, models - 1) - models + (divisions % models > 0)


def compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to write `total` as an ordered sum of `parts` whole numbers, 0 among them."""
    for bars in combinations(range(total + parts - 1), parts - 1):
        ends = (-1, *bars, total + parts - 1)
        yield tuple(b - a - 1 for a, b in pairwise(ends))


def _tried(weights: Weights, trials: Sequence[Trial]) -> bool:
    return any(_same(weights, trial.weights) for trial in trials)


def _same(left: Weights, right: Weights) -> bool:
    return all(abs(a - b) < 1e-9 for a, b in zip(left, right, strict=True))


def _by_coordinate(space: Space, score: Score, most: int) -> list[Trial]:
    """Steps up and down of one weight at a time, kept where they help, halved where none does."""
    here = (1 / space.models,) * space.models
    best = Trial(here, scored(space.merged(here), score))
    trials, step = [best], _FIRST_STEP
    while step >= _LAST_STEP and len(trials) < most:
        moved = False
        for weights in _neighbours(best.weights, step, space):
            if len(trials) >= most or _tried(weights, trials):
                continue
            trials.append(Trial(weights, scored(space.merged(weights), score)))
            if (trials[-1].score or 0.0) > (best.score or 0.0):
                best, moved = trials[-1], True
                break
        step = step if moved else step / 2
    return trials


def _neighbours(weights: Weights, step: float, space: Space) -> Iterator[Weights]:
    for index in range(len(weights)):
        for change in (step, -step):
            moved = [w + change * (i == index) for i, w in enumerate(weights)]
            if space.convex:
                moved = [max(w, 0.0) for w in moved]
                moved = [w / sum(moved) for w in moved]
            elif space.elect:
                moved = [max(w, 0.0) for w in moved]
            # A corner is an input alone, which is scored already.
            if max(moved) < 1 or not space.convex:
                yield tuple(moved)
