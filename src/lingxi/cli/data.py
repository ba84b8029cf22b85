"""`lingxi ledger` and `pack`: what became of the rows of a run, and how they are carried away."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lingxi.cli import show
from lingxi.cli.options import Json
from lingxi.errors import InputError

_CURATED, REVIEW = "3-curate", "review"


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("pack")(pack)
    app.command("ledger")(ledger)


def pack(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its 3-curate.")],
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")] = Path("pairs.packed.parquet"),
    megabytes: Annotated[float, typer.Option(help="Largest size, in 1e6 bytes.")] = 55.0,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    characters: Annotated[int | None, typer.Option(help="Cut every text.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Write a compact, balanced copy of a run's kept rows for a training run elsewhere."""
    from lingxi.curate import KEPT_FILE
    from lingxi.curate.pack import pack as write

    found = write(curated_of(run) / KEPT_FILE, out, megabytes, seed, characters=characters)
    if as_json:
        show.dump(asdict(found))
        return
    typer.echo(
        f"{out}: {found.rows:,} rows of {found.strata:,} tasks and languages, {found.bytes / 1e6:.1f} MB, "
        f"at most {found.cap:,} of each"
    )


def ledger(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its 3-curate.")],
    plot: Annotated[Path | None, typer.Option(help="Draw the languages into this SVG file.")] = None,
    as_json: Json = False,
) -> None:
    """Show how many rows of each task, source and language came in, fell for which reason, and stayed."""
    from lingxi.curate.ledger import as_markdown, read_ledger
    from lingxi.curate.ledger import plot as draw

    curated = curated_of(run)
    report, judged = read_ledger(curated / "ledger.json"), _reviewed(curated)
    if plot is not None:
        plot.write_text(draw(report), "utf-8")
    if as_json:
        show.dump({**asdict(report), "reviewed": judged})
        return
    typer.echo(as_markdown(report).rstrip())
    if judged:
        typer.echo("\n| language | reviewed of kept | accepted |\n|---|---:|---:|")
    for language, (count, accepted) in judged.items():
        typer.echo(f"| {language} | {count:,} of {report.by_language[language].kept:,} | {accepted:,} |")


def _reviewed(curated: Path) -> dict[str, tuple[int, int]]:
    """What people judged of a run's kept rows, by language; nothing where there was no review."""
    from lingxi.curate.review.figures import reviewed
    from lingxi.curate.review.sample import SAMPLE, read_sample
    from lingxi.curate.review.verdicts import Verdicts

    folder = curated.with_name(REVIEW)
    return reviewed(read_sample(folder), Verdicts(folder).all()) if (folder / SAMPLE).exists() else {}


def curated_of(run: Path) -> Path:
    """The folder of a run's curated rows; raises InputError where there is none."""
    curated = run / _CURATED if (run / _CURATED).is_dir() else run
    if not curated.is_dir():
        raise InputError(f"{run}: no such run", "name a folder of runs/, after its curate stage")
    return curated
