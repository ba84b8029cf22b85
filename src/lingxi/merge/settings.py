"""How models are merged: the `[merge]` table of a recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from lingxi.config import Settings
from lingxi.errors import InputError

Method = Literal["slerp", "linear", "task"]
Granularity = Literal["tensor", "global"]
SearchMethod = Literal["grid", "coordinate", "descend"]
# Written by hand, shares add up to 1 no better than this.
_ROUNDING = 1e-2


class SearchSettings(Settings):
    """How the weights are searched on a dev set: the `[merge.search]` table."""

    method: SearchMethod = "grid"
    """Every point of a simplex, one weight at a time, or gradient descent on a loss of dev pairs."""
    trials: int = Field(default=19, ge=1)
    """Most merges that are scored, the inputs alone not counted (grid, coordinate)."""
    steps: int = Field(default=40, ge=1)
    """Steps of Adam on the weights (descend)."""
    learning_rate: float = Field(default=0.1, gt=0)
    """Of the weights, which are softmax logits, or factors of task vectors (descend)."""
    batch_pairs: int = Field(default=32, ge=2)
    """Dev pairs a step (descend)."""
    rows: int = Field(default=500, ge=2)
    """Most dev pairs read, drawn by seed."""
    max_tokens: int = Field(default=256, ge=16)
    """Dev texts are cut to this many tokens."""
    seed: int = 0


class MergeSettings(Settings):
    """The `[merge]` table."""

    method: Method = "slerp"
    """Along the sphere, along the line, or a base plus weighted differences from it."""
    weights: tuple[float, ...] | None = None
    """One for each model: shares that add up to 1, or factors of task vectors; None is even or searched."""
    granularity: Granularity = "tensor"
    """Of slerp: an angle for each tensor, or one over all parameters."""
    base: str | None = None
    """Directory or hub id that task vectors are differences from (task)."""
    trim: float = Field(default=1.0, gt=0, le=1)
    """Share of each tensor's largest differences that is kept (task)."""
    elect: bool = False
    """Whether differences against the sign that most weight is for are left out, as in TIES (task)."""
    dtype: Literal["float32", "float16", "bfloat16", "int8", "int8-fine"] = "float16"
    """How the merged directory is stored."""
    search: SearchSettings | None = None
    """How the weights are searched; None takes `weights`."""

    @model_validator(mode="after")
    def _checked(self) -> MergeSettings:
        task = self.method == "task"
        if task and self.base is None:
            raise ValueError("task vectors are differences from a base; set base")
        if not task and (self.base is not None or self.elect or self.trim != 1):
            raise ValueError(f"base, trim and elect belong to the method task, not to {self.method}")
        if self.weights is not None and self.search is not None:
            raise ValueError("weights are given or searched, not both")
        if self.search is not None and self.search.method == "descend" and self.elect:
            raise ValueError("elected signs have no gradient; search by grid or coordinate")
        if self.weights is not None:
            _check_weights(self.weights, self.method, self.elect)
        return self


def _check_weights(weights: Sequence[float], method: Method, elect: bool) -> None:
    if not all(math.isfinite(w) for w in weights):
        raise ValueError(f"weights are {list(weights)}; they must be finite")
    if (method != "task" or elect) and min(weights, default=0) < 0:
        raise ValueError(f"weights are {list(weights)}; none may be below 0")
    if method != "task" and abs(sum(weights) - 1) > _ROUNDING:
        raise ValueError(f"weights add up to {sum(weights):g}; they are shares, and add up to 1")


def weights_for(settings: MergeSettings, count: int) -> tuple[float, ...]:
    """The weights of `count` models: those set, brought to the sum 1 where they are shares, else even ones.

    Even factors of task vectors are 1 / count each. Raises InputError for another number of weights.
    """
    if count < 2:
        raise InputError(f"{count} models to merge", "name two or more")
    if settings.weights is None:
        return (1 / count,) * count
    if len(settings.weights) != count:
        raise InputError(
            f"{len(settings.weights)} weights for {count} models", "give one weight for each model"
        )
    if settings.method == "task":
        return settings.weights
    return tuple(weight / sum(settings.weights) for weight in settings.weights)
