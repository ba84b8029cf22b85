"""What can go wrong, in words: every error says what happened and how to mend it."""

from __future__ import annotations

from pathlib import Path


class LingxiError(Exception):
    """An error a user can mend: `reason` says what and where, `remedy` says how to fix it.

    The command line prints it as one line and exits with 2.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}; {remedy}")


class InputError(LingxiError):
    """A path, text or argument the caller gave cannot be used."""


def require_new(out: Path, kind: str = "folder") -> None:
    """Raise InputError where something stands at a place that is to be written; nothing is overwritten."""
    if out.exists():
        raise InputError(f"{out}: exists already", f"name a {kind} that does not exist yet")


class ModelError(LingxiError):
    """A model directory or hub id cannot be loaded, or does not fit what is asked of it."""


class StoreError(LingxiError):
    """An index cannot be opened, or was made by another model or a newer version."""


class RecipeError(LingxiError):
    """A recipe does not resolve: an unknown key, a wrong type, settings that contradict."""


class TrainingError(LingxiError):
    """A training run cannot go on, or cannot go on from the checkpoint that is there."""


class MissingExtraError(LingxiError):
    """A library of an optional extra is not installed."""

    def __init__(self, library: str, extra: str, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs the library {library!r}, which is not installed",
            f"install it with: pip install 'lingxi[{extra}]'",
        )


class GuardError(LingxiError):
    """A check of training found that the run is wasted, or its result is not what it seems."""


class LingxiWarning(UserWarning):
    """Something was done that the user may not expect, such as cutting a long text."""
