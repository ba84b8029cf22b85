"""What can be set about an answer and about the language model that writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from lingxi.config import Settings


class AskSettings(Settings):
    """How an answer is found."""

    passages: int = Field(default=5, ge=1, le=20)
    """Passages an answer is made from."""
    pool: int = Field(default=20, ge=1, le=200)
    """First passages of the search that a reranker may judge."""
    sentences: int = Field(default=2, ge=1, le=10)
    """Most sentences of an extractive answer."""
    threshold: float | None = Field(default=None, ge=0, le=1)
    """Least probability that the passages answer the question; unset, the calibration's."""
    rerank: Literal["adaptive", "always"] = "adaptive"
    """Judge pairs until the first place is sure, or all of the pool."""
    confidence: float = Field(default=0.9, gt=0.5, lt=1)
    """How sure it must be that no passage left unread would come first."""
    piece: int = Field(default=4, ge=1)
    """Pairs judged at a time."""
    blend: float = Field(default=0.25, ge=0, le=1)
    """Weight of the reranker beside the search before it: 1 is the reranker alone.

    The small ones made so far lose to the search alone (RGB, 40 questions: 48 % of first passages right, 70 %
    without them), and neither gain nor lose at 0.25.
    """
    relevance: float = Field(default=0.4, ge=0, le=1)
    """A sentence can be cited for a statement if it scores this part of what the best one does."""
    defences: bool = True
    """Flag orders in passages, verify statements, strip links; without, only to measure what they do."""


class LlmSettings(Settings):
    """A server that speaks OpenAI's `/chat/completions`."""

    url: str = Field(pattern=r"^https?://[^\s]+$")
    model: str = Field(min_length=1)
    key_file: Path | None = None
    """File with the key and nothing else."""
    timeout: float = Field(default=60, gt=0)
    """Seconds for the whole answer."""
    max_tokens: int = Field(default=400, ge=1)
    most_characters: int = Field(default=8000, ge=100)
    """An answer longer than this is cut: a model that does not end is stopped."""
