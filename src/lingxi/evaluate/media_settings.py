"""What is measured of a picture and sound encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from lingxi.config import Settings


class MediaEvaluateSettings(Settings):
    """Bounds of the measurement, and the names of classes that pictures lie in by folder."""

    weights: Literal["float32", "int8"] = "float32"
    """How sound is computed; by the int8 kernels it takes less than half the time."""
    least: int = Field(default=50, ge=2)
    """Captions, or clips, from which a language or a speaker is measured."""
    shown: tuple[str, ...] = ("en", "zh", "fr", "ru", "es", "de", "ja")
    """Languages with lines of their own; the others are in the means."""
    classes: Mapping[str, Mapping[str, str]] = {}
    """Folder in a picture's place to the name of its class by language, for classes without training."""
    speakers: int = Field(default=15, ge=2)
    """Clips from which a speaker has a line."""
