"""Recipes: TOML files read into typed, frozen records, with dotted overrides.

An unknown key is an error, so a typo fails before an hour of work and not after it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from lingxi.errors import InputError, RecipeError


class Settings(BaseModel):
    """Parent of every settings record: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Record = TypeVar("Record", bound=BaseModel)


def load(path: Path, record: type[Record], overrides: Sequence[str] = ()) -> Record:
    """Read a TOML recipe, apply `a.b=value` overrides and check it against `record`.

    An override's value is read as TOML (`3`, `true`, `[1, 2]`), else as a plain string.
    Raises RecipeError naming the file, the key and what is wrong with it.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(
            f"{path}: no such recipe", "name a .toml file, for example recipes/tiny.toml"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not TOML ({error})", "mend the line it names") from None
    return resolved(values, record, overrides, str(path))


def resolved(values: dict[str, Any], record: type[Record], overrides: Sequence[str], where: str) -> Record:
    """Values with `a.b=value` overrides as a record; raises RecipeError that begins with `where`."""
    for override in overrides:
        apply(values, override)
    try:
        return record.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"{where}: {_first(error)}", "see the comments in recipes/ for every key") from None


def made(record: type[Record], remedy: str, **values: Any) -> Record:
    """A settings record of a command's options; raises InputError with `remedy` where one does not fit."""
    try:
        return record.model_validate(values)
    except ValidationError as error:
        raise InputError(_first(error), remedy) from None


def overridden(record: type[Record], overrides: Sequence[str]) -> Record:
    """The defaults of a record with `a.b=value` overrides; raises RecipeError for what it does not have."""
    return resolved({}, record, overrides, "the settings given")


def to_json(record: BaseModel) -> dict[str, Any]:
    """A settings record as plain JSON values, for manifests and `--dry-run`."""
    values: dict[str, Any] = json.loads(record.model_dump_json())
    return values


def apply(values: dict[str, Any], override: str) -> None:
    """Put an override `a.b=value` into the values of a recipe; raises RecipeError for another shape."""
    dotted, found, text = override.partition("=")
    if not found or not dotted:
        raise RecipeError(f"override {override!r} is not KEY=VALUE", "write for example train.steps=100")
    *parents, last = dotted.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise RecipeError(f"override {override!r}: {parent!r} is not a table", "name a key of the recipe")
    values[last] = _value(text)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    key = ".".join(str(part) for part in found["loc"]) or "settings"
    if found["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    return f"{key}: {found['msg']}"
