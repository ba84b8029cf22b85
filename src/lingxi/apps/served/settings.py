"""Which applications a server offers, and how: a table that is there turns its application on."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from lingxi.apps.align import AlignSettings
from lingxi.apps.ask import AskSettings, LlmSettings
from lingxi.config import Settings, apply, made
from lingxi.errors import InputError, RecipeError

_SEE = "see docs/pages.md for every key"


class AskApp(Settings):
    """Answers from the index that is served."""

    llm: LlmSettings | None = None
    """Who writes answers; unset, the best sentences are the answer. No request can name another."""
    calibration: Path | None = None
    """Thresholds that `lingxi ask-calibrate` wrote; unset, those that ship."""
    answers: AskSettings = AskSettings()


class CodeApp(Settings):
    """Search in the code of one repository, whose index is brought up to date at the start."""

    repository: Path
    index: Path | None = None
    """Folder of the index; unset, in the user's cache."""
    model: str | None = None
    """Name of the embedder served that the index is of; unset, the first."""


class AlignApp(Settings):
    """Alignment of two tables that a request holds."""

    most_bytes: int = Field(default=1_000_000, ge=1)
    """Of each table."""
    most_entities: int = Field(default=2000, ge=1)
    """Of each table; time and memory grow with them."""
    most_triples: int = Field(default=20_000, ge=0)
    alignment: AlignSettings = AlignSettings()


class AppsSettings(Settings):
    """The applications; `threads` work at a time, `waiting` requests may wait for them."""

    ask: AskApp | None = None
    code: CodeApp | None = None
    align: AlignApp | None = None
    threads: int = Field(default=2, ge=1)
    waiting: int = Field(default=16, ge=1)
    """More are refused with 429; of one client, half as many."""


def read_apps(file: Path | None = None, given: Sequence[str] = ()) -> AppsSettings:
    """The settings of a TOML file and of `NAME` or `NAME.KEY=VALUE`, where a name alone turns its table on.

    Raises InputError for a file that is no TOML, a key that is not known, or a value that does not fit.
    """
    values = _toml(file) if file else {}
    try:
        for one in given:
            if "=" in one:
                apply(values, one)
            else:
                values.setdefault(one, {})
    except RecipeError as error:
        raise InputError(error.reason, _SEE) from None
    return made(AppsSettings, _SEE, **values)


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as TOML ({error})", _SEE) from None
