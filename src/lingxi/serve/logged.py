"""What goes into the log of a failure: its class and place, never its words, which may quote a text."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

LOG = logging.getLogger("lingxi.serve")
_FRAMES = 8


def told(error: BaseException) -> None:
    """Log an error by its class and the last lines of code it went through."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
    LOG.error("%s at %s", type(error).__name__, places)
