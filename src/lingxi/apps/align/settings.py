"""What an alignment may be told; the defaults were chosen on DBP15K ja-en, never on the measured zh-en."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lingxi.config import Settings


class AlignSettings(Settings):
    """How entities are compared and matched."""

    candidates: int = Field(default=50, ge=1)
    """Right entities kept for each left one by name, and as many by neighbours."""
    spelling: float = Field(default=0.7, ge=0, le=1)
    """Share of the spelling and sound of names in their likeness; the rest is the embedder's."""
    sketch: int = Field(default=512, ge=32)
    """Width of the vectors that spellings are searched by; what is found is compared exactly."""
    context: float = Field(default=0.0, ge=0, lt=1)
    """Share of description, attributes and neighbours, as text, in what candidates are found by."""
    structure: float = Field(default=0.5, ge=0, lt=1)
    """Share of what matched neighbours say in the score of a pair; 0 leaves the triples out."""
    rounds: int = Field(default=4, ge=1)
    """How often matches are carried over the triples, and found anew."""
    temperature: float = Field(default=0.02, gt=0)
    """Of the transport plan: smaller follows the best candidates more closely."""
    matching: Literal["transport", "assignment", "mutual"] = "transport"
    """One to one by a transport plan, by the best sum of scores, or only each other's best."""
    close: int = Field(default=5, ge=2)
    """Candidates of a left entity that a reranker is shown, where the first two are close."""
    margin: float = Field(default=0.5, ge=0, le=1)
    """The first two are close where the second's share is more than this of the first's."""
    seed: int = 1
    """Of the random projection of spellings."""
