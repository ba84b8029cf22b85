"""How a model is updated: the `[update]` table of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lingxi.config import Settings
from lingxi.train.settings import LoraSettings


class UpdateSettings(Settings):
    """One update; the defaults are what was measured on lingxi-pico (docs/update.md)."""

    seed: int = 0
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None takes all the machine has."""
    steps: int = Field(default=120, ge=1)
    batch_pairs: int = Field(default=32, ge=2)
    """New pairs a step."""
    kept_pairs: int = Field(default=8, ge=1)
    """Old queries, and as many old documents, whose vectors are held in place in each step."""
    learning_rate: float = Field(default=2e-4, gt=0)
    token_learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=6, ge=0)
    temperature: float = Field(default=0.05, gt=0)
    margin: float = Field(default=0.1, ge=0)
    """Negatives that score this much above the right document are taken for right."""
    max_tokens: int = Field(default=48, ge=8)
    stored: float = Field(default=0.5, ge=0, le=1)
    """Share of the loss in which new queries are compared with documents as the old model stored them."""
    anchor: float = Field(default=60.0, ge=0)
    """Weight of the distance between old texts' new and old vectors."""
    weights: Literal["all", "lora"] = "all"
    """Which matrices learn: all, or low-rank parts beside them."""
    lora: LoraSettings = LoraSettings()
    tokens: Literal["seen", "none"] = "seen"
    """Which token vectors learn: those that the new data hold, or none."""
    replay: int = Field(default=500, ge=20)
    """Most old pairs that are kept in mind, drawn by seed, as many of each source."""
    recalled: int = Field(default=100, ge=0)
    """Pairs of this update that later ones keep in mind beside the old ones."""
    dev: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of the new groups on which the weight of the merge is searched."""
    dev_rows: int = Field(default=60, ge=10)
    """Most dev rows, new and old."""
    share: float | None = Field(default=None, gt=0, lt=1)
    """How much of the learnt weights is merged; none: searched on the dev rows."""
    trials: int = Field(default=3, ge=1)
    """Merges with the old weights that are tried, beside both ends."""
    tolerance: float = Field(default=0.01, ge=0)
    """What a merge may lose on old dev rows (nDCG@10, 0 to 1) before it counts against it."""
    dtype: Literal["float32", "float16", "int8", "int8-fine"] = "float16"
    """How the new model is stored."""
    max_drop: float = Field(default=0.5, ge=0)
    """Points that the gate lets old slices lose since the release before."""
    max_sum: float = Field(default=0.5, ge=0)
    """Points that they may lose in all, since the release that losses are summed against."""
    enough: float = Field(default=0.98, gt=0, le=1)
    """Where old vectors give less than this share of what re-embedding gives, re-embedding is advised."""
    checkpoint_every: int = Field(default=10, ge=1)
