"""Where lingxi keeps on a user's disk what can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """`LINGXI_CACHE`, or `lingxi` in the user's cache folder."""
    own = os.environ.get("LINGXI_CACHE")
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(user) / "lingxi"
