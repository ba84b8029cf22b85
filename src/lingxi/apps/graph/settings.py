"""What the building of a graph may be told."""

from __future__ import annotations

from pydantic import Field

from lingxi.config import Settings


class GraphSettings(Settings):
    """How many things are kept, and when names of two languages are one."""

    names: int = Field(default=150, ge=1)
    """Names kept of each language, those with the most tf-idf."""
    least: int = Field(default=2, ge=1)
    """Times a name stands in the documents, unless a title, heading, link or definition has it."""
    links: int = Field(default=8, ge=1)
    """Strongest links that are kept of each thing."""
    sure: float = Field(default=0.7, ge=0, le=1)
    """Confidence from which on two names of two languages are one thing."""
