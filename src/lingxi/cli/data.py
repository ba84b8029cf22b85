"""`lingxi ledger`, `review` and `pack`: what became of the rows of a run, read by people, carried away."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lingxi.cli import show
from lingxi.cli.search import Json
from lingxi.errors import InputError, MissingExtraError

_CURATED, _REVIEW = "3-curate", "review"


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("review")(review)
    app.command("pack")(pack)
    app.command("ledger")(ledger)


def review(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its 3-curate.")],
    rows: Annotated[int, typer.Option(help="Rows in the sample, as many of each stratum.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the sample.")] = 0,
    dropped: Annotated[
        bool, typer.Option("--dropped", help="Sample dropped rows too, as many of each reason.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8765,
    export: Annotated[Path | None, typer.Option(help="Write the verdicts to this file and end.")] = None,
    take: Annotated[
        Path | None, typer.Option("--import", help="Take in verdicts from this file and end.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="Of --export and --import: jsonl, argilla or label-studio.")
    ] = "jsonl",
    feedback: Annotated[
        Path | None, typer.Option(help="Write what the verdicts change for the next curate and end.")
    ] = None,
    precision: Annotated[float, typer.Option(help="Precision wanted of each stratum, for --feedback.")] = 0.9,
    figures: Annotated[
        bool, typer.Option("--figures", help="Print precision and agreement and end.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Serve a page where people accept, reject or mend a sample of rows, by keyboard."""
    from lingxi.curate.review.sample import draw_sample
    from lingxi.curate.review.verdicts import Verdicts

    if form not in ("jsonl", "argilla", "label-studio"):
        raise InputError(f"no format {form!r}", "name jsonl, argilla or label-studio")
    curated = curated_of(run)
    out = curated.with_name(_REVIEW)
    verdicts = Verdicts(out)
    said = verdicts.all()
    sample = draw_sample(curated, out, rows, seed, dropped, {one.row for one in said})
    if export or take:
        _exchange(form, sample, verdicts, export, take)
    elif feedback:
        _feed_back(sample, said, precision, feedback, as_json)
    elif figures:
        _figures(sample, said, as_json)
    else:
        _serve(sample, verdicts, port)


def _exchange(form: Any, sample: Any, verdicts: Any, export: Path | None, take: Path | None) -> None:
    from lingxi.curate.review.exchange import export_as, import_as

    if export:
        found = export_as(form, sample, verdicts, export)
        typer.echo(f"{found:,} {'verdicts' if form == 'jsonl' else 'rows'}")
    if take:
        typer.echo(f"{import_as(form, verdicts, take):,} verdicts")


def _feed_back(sample: Any, said: Any, precision: float, path: Path, as_json: bool) -> None:
    from lingxi.curate.review.feedback import feedback, save_feedback

    found = feedback(sample, said, precision)
    save_feedback(found, path)
    counts = {
        "rejected": len(found.drops), "mended": len(found.fixes),
        "thresholds": dict(found.thresholds), "strata dropped": sorted(found.strata),
    }  # fmt: skip
    if as_json:
        show.dump(counts)
        return
    typer.echo(
        f"{path}: {len(found.drops):,} rows rejected, {len(found.fixes):,} mended, "
        f"{len(found.thresholds):,} thresholds, {len(found.strata):,} strata dropped"
    )


def _figures(sample: Any, said: Any, as_json: bool) -> None:
    from lingxi.curate.review.figures import kappa, precisions

    found, agreement = [asdict(item) for item in precisions(sample, said)], kappa(said)
    if as_json:
        show.dump({"precision": found, "kappa": agreement})
        return
    for item in found:
        span = f"[{100 * item['low']:.0f}, {100 * item['high']:.0f}]"
        typer.echo(
            f"{item['stratum']:60} {100 * item['value']:5.1f} % {span:12} {item['judged']:>5} "
            f"of {item['rows']:,} rows"
        )
    typer.echo(f"kappa of two reviewers: {'none yet' if agreement is None else round(agreement, 3)}")


def _serve(sample: Any, verdicts: Any, port: int) -> None:
    from lingxi.curate.review.page import make_app

    app = make_app(sample, verdicts)
    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError("uvicorn", "review", "the review page") from None
    show.complain(f"http://127.0.0.1:{port} shows {len(sample):,} rows; Ctrl-C ends, verdicts stay")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def pack(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its 3-curate.")],
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")] = Path("pairs.packed.parquet"),
    megabytes: Annotated[float, typer.Option(help="Largest size, in 1e6 bytes.")] = 55.0,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    as_json: Json = False,
) -> None:
    """Write a compact, balanced copy of a run's kept rows for a training run elsewhere."""
    from lingxi.curate import KEPT_FILE
    from lingxi.curate.pack import pack as write

    found = write(curated_of(run) / KEPT_FILE, out, megabytes, seed)
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

    folder = curated.with_name(_REVIEW)
    return reviewed(read_sample(folder), Verdicts(folder).all()) if (folder / SAMPLE).exists() else {}


def curated_of(run: Path) -> Path:
    """The folder of a run's curated rows; raises InputError where there is none."""
    curated = run / _CURATED if (run / _CURATED).is_dir() else run
    if not curated.is_dir():
        raise InputError(f"{run}: no such run", "name a folder of runs/, after its curate stage")
    return curated
