"""`lingxi run RECIPE`: one life of a model, resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lingxi.cli import show
from lingxi.cli.options import Json
from lingxi.errors import InputError

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (TOML).")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, dotted: train.seed=1.")
]
Runs = Annotated[Path, typer.Option(help="Folder of the runs.")]


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("run")(run)
    app.command("ablate")(ablate)
    for name, help_text in _STAGES.items():
        app.command(name, help=help_text)(_until(name))


_STAGES = {
    "collect": "Read a recipe's sources into pairs: the first stage of its run.",
    "generate": "Make pairs of collected documents and translations: a recipe's run up to there.",
    "curate": "Keep or drop each collected pair with a reason: a recipe's run up to there.",
    "train": "Train a recipe's models: its run up to there.",
}


def _until(stage: str) -> Callable[..., None]:
    """The verb of one stage: the run of a recipe as far as that stage."""

    def verb(
        recipe: Recipe,
        overrides: Overrides = None,
        runs: Runs = Path("runs"),
        as_json: Json = False,
    ) -> None:
        _live(recipe, overrides or (), runs, as_json, until=stage)

    return verb


def run(
    recipe: Recipe,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Run a recipe: finished stages that are unchanged are skipped, a stopped one goes on."""
    _live(recipe, overrides or (), runs, as_json, dry_run=dry_run)


def ablate(
    recipe: Recipe,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Measure what each part of a recipe is worth: weak training alone, without it, without merging."""
    from lingxi.ablate import ablate as measured

    say = show.complain if as_json else typer.echo
    table = measured(recipe, overrides or (), runs=runs, say=say)
    if as_json:
        show.dump({"table": str(table)})
        return
    typer.echo(table.read_text(encoding="utf-8"))


def _live(recipe: Path, overrides: Sequence[str], runs: Path, as_json: bool, **how: Any) -> None:
    if not recipe.exists():
        raise InputError(f"{recipe}: no such recipe", "check the path; recipes are TOML files")
    from lingxi import life
    from lingxi.train.parallel import joined

    say = show.complain if as_json else typer.echo
    with joined("cpu" if how.get("dry_run") else None) as ranks:
        outcome = life.run(recipe, overrides, runs=runs, say=say, ranks=ranks, **how)
        if not ranks.first:
            return
    if as_json:
        show.dump(outcome)
        return
    shown = outcome["recipe"] if how.get("dry_run") else outcome["stages"]
    for line in toml_lines(shown):
        typer.echo(line)


def toml_lines(values: Any, path: str = "") -> list[str]:
    """Nested values as dotted `key = value` lines, the form in which overrides are given."""
    if not isinstance(values, dict):
        return [f"{path} = {values}"]
    return [
        line for key, value in values.items() for line in toml_lines(value, f"{path}.{key}" if path else key)
    ]
