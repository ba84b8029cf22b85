"""`lingxi select`: so many rows of a run that cover the rest best, at a mix of difficulties."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lingxi.cli import faces, show
from lingxi.cli.data import curated_of
from lingxi.cli.options import Json
from lingxi.config import made

if TYPE_CHECKING:
    from lingxi.curate.select import SelectSettings


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("select")(select)


def select(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its 3-curate.")],
    rows: Annotated[int, typer.Option(help="Rows to keep.")],
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    mix: Annotated[
        str, typer.Option(help="Share of each band of difficulty, easy to hard, adding up to 1.")
    ] = "0.2,0.5,0.3",
    model: Annotated[
        str, typer.Option(help="The embedder; `none` counts n-grams of words instead.")
    ] = "lingxi-pico",
    pool: Annotated[
        int | None, typer.Option(help="Most rows to choose from, drawn evenly; unset, four times --rows.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    as_json: Json = False,
) -> None:
    """Write the kept rows of a run that cover the others best, at a wanted mix of difficulties."""
    from lingxi.curate import KEPT_FILE
    from lingxi.curate.pool import select_rows
    from lingxi.encoding import encoder

    settings = _settings(rows, mix, seed)
    encode = None if model == "none" else encoder(faces.of(context).embedder(model), progress=None)
    found = select_rows(curated_of(run) / KEPT_FILE, out, settings, encode, pool or 4 * rows)
    if as_json:
        show.dump(asdict(found))
        return
    parts = ", ".join(f"{count:,}" for count in found.bands)
    typer.echo(
        f"{out}: {found.rows:,} of {found.pool:,} rows (of {found.kept:,} kept), easy to hard {parts}; "
        f"n-gram diversity {found.ngrams:,.1f}"
    )
    if found.coverage is not None:
        typer.echo(
            f"coverage {found.coverage:.4f}, of rows drawn at random {found.random:.4f}; "
            f"diversity {found.diversity:,.1f}"
        )


def _settings(rows: int, mix: str, seed: int) -> SelectSettings:
    from lingxi.curate.select import SelectSettings

    remedy = "give 1 row or more, and shares that add up to 1"
    return made(SelectSettings, remedy, rows=rows, mix=mix.split(","), seed=seed)
