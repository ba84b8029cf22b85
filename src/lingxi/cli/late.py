"""`lingxi late`: a reranker on an embedder's own token states, made in minutes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lingxi.cli import show
from lingxi.cli.options import Json
from lingxi.cli.recipe import Overrides, toml_lines

Recipe = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A recipe (TOML): recipes/nano-reranker.toml.")
]


def register(app: typer.Typer) -> None:
    """Add the verb of this file."""
    app.command("late")(late)


def late(
    recipe: Recipe,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Make a reranker that compares an embedder's token states (late interaction); it takes minutes."""
    from lingxi.config import load, to_json
    from lingxi.train.late_settings import LateSettings

    settings = load(recipe, LateSettings, overrides or ())
    if dry_run:
        for line in toml_lines(to_json(settings)):
            typer.echo(line)
        return
    from lingxi.train.late import train_late

    found = train_late(settings, runs / settings.name / settings.name, show.complain)
    if as_json:
        show.dump(asdict(found) | {"out": str(found.out)})
        return
    size = f"{found.bytes / 1e6:.2f} MB"
    typer.echo(f"{found.rows} queries, accuracy {found.accuracy:.3f}, {size} in {found.seconds:.0f} s")
    typer.echo(f"written to {found.out}")
