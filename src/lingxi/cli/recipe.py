"""`lingxi run RECIPE`: one life of a model, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lingxi.cli import show
from lingxi.cli.search import Json
from lingxi.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("run")(run)


def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (TOML).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, dotted: train.seed=1.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Run a recipe: finished stages that are unchanged are skipped, a stopped one goes on."""
    if not recipe.exists():
        raise InputError(f"{recipe}: no such recipe", "check the path; recipes are TOML files")
    from lingxi import life

    say = show.complain if as_json else typer.echo
    outcome = life.run(recipe, overrides or (), runs=runs, dry_run=dry_run, say=say)
    if as_json:
        show.dump(outcome)
        return
    shown = outcome["recipe"] if dry_run else outcome["stages"]
    for line in _toml(shown):
        typer.echo(line)


def _toml(values: Any, path: str = "") -> list[str]:
    """Nested values as dotted `key = value` lines, the form in which overrides are given."""
    if not isinstance(values, dict):
        return [f"{path} = {values}"]
    return [line for key, value in values.items() for line in _toml(value, f"{path}.{key}" if path else key)]
