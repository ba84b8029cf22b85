"""Every knob of a late interaction's training: a recipe of `lingxi late`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, model_validator

from lingxi.config import Settings


class LateSettings(Settings):
    """One late interaction: the embedder it reads by, the rows it learns from, how long and how fast."""

    name: str
    """Folder of the run, and the model's name on its card."""
    embedder: str
    """The embedder whose token states are compared: a directory, a shipped name or a hub id."""
    called: str | None = None
    """What the directory calls the embedder, where that is another name than `embedder`: `lingxi-nano`."""
    pairs: tuple[Path, ...] = Field(min_length=1)
    """Parquet files of curated pairs, with mined negatives or without."""
    sources: tuple[str, ...] = ("*",)
    """Names of sources, as patterns."""
    tasks: Mapping[str, float] = {"retrieval": 1.0, "code": 1.0, "bitext": 0.2}
    """Share of `rows` that a source has of each task; other tasks are left out."""
    rows: int = Field(default=500, ge=1)
    """Most rows of one source and task."""
    weights: str | None = "int8"
    """What the embedder computes in while it reads: int8, float32, or what its directory says."""
    query_tokens: int = Field(default=128, ge=8)
    """Queries are cut to this many tokens, prompt included."""
    document_tokens: int = Field(default=160, ge=8)
    """Documents are cut to this many tokens."""
    negatives: int = Field(default=1, ge=0)
    """Most of a row's own negatives that are read; other rows' documents are there anyway."""
    depth: int = Field(default=40, ge=1)
    """Wrong documents that are held of a query: the row's own, then the nearest by cosine."""
    documents: int = Field(default=12, ge=2)
    """Documents a query tells apart in a step: the right one and wrong ones."""
    queries: int = Field(default=12, ge=1)
    """Queries of a step."""
    steps: int = Field(default=300, ge=1)
    warmup_steps: int = Field(default=20, ge=0)
    learning_rate: float = Field(default=2e-3, gt=0)
    """Of the weights of tokens; it falls linearly to a twentieth."""
    projection_rate: float = Field(default=2e-4, ge=0)
    """Of the projection, which begins as the states themselves."""
    mixture_rate: float = Field(default=0.05, ge=0)
    """Of the numbers that mix the features."""
    centre: float = Field(default=0.3, ge=0, le=1)
    """Share of the states' mean that the projection takes from them to begin with."""
    balance: float = Field(default=0.7, ge=0, le=1)
    """A source is drawn by its rows to this power."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None takes all the machine has."""
    seed: int = 0

    @model_validator(mode="after")
    def _checked(self) -> LateSettings:
        if self.documents - 1 > self.depth:
            raise ValueError("documents is above depth + 1: a query has no more wrong documents than depth")
        return self
