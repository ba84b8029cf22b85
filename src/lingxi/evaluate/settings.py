"""What a run is measured on: the `[evaluate]` table of a recipe."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from lingxi.config import Settings


class EvaluateSettings(Settings):
    """What a run's models are measured on, and beside what."""

    suite: str = "benchmark"
    """A suite that ships, or a TOML file."""
    root: Path | None = None
    """Folder or tar archive (.tar.zst too) that holds the suite's sets, where the suite does not say."""
    sets: tuple[str, ...] = ()
    """Only these sets of the suite; all when empty."""
    overrides: tuple[str, ...] = ()
    """Dotted settings over the suite's, such as `queries=100`."""
    beside: tuple[str, ...] = ("bm25",)
    """Systems measured beside the models of the run."""
    cache: Path = Path("~/.cache/lingxi")
    """Where archives are unpacked and vectors kept; may be deleted at any time."""
    rerank_depth: int = Field(default=50, ge=1)
    """Documents of each query that a run's reranker sees."""
    resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples behind each interval."""
    card_languages: tuple[str, ...] = ("en>en", "es>en", "zh>en", "spa", "cmn", "swh", "swa")
    """Languages that the model card names beside the means."""
