"""`lingxi review`: people read a sample of a run's rows; what they said is counted, moved, and fed back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from lingxi.cli import show
from lingxi.cli.data import REVIEW, curated_of
from lingxi.cli.options import Json
from lingxi.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from lingxi.curate.review.exchange import Format
    from lingxi.curate.review.shown import Shown
    from lingxi.curate.review.verdicts import Said, Verdicts

_PORT, _PRECISION, _FORMATS = 8765, 0.9, ("jsonl", "argilla", "label-studio")


def register(app: typer.Typer) -> None:
    """Add the verb of this file."""
    app.command("review")(review)


def review(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its 3-curate.")],
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows in the sample, as many of each stratum; 200 at first.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sample; 0 at first.")] = None,
    dropped: Annotated[
        bool, typer.Option("--dropped", help="Sample dropped rows too, as many of each reason.")
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(help="Strata of kept rows: source (at first; with languages and score), stage (task)."),
    ] = None,
    port: Annotated[int | None, typer.Option(help=f"Port on 127.0.0.1; {_PORT} unless set.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write the verdicts to this file and end.")] = None,
    take: Annotated[
        Path | None, typer.Option("--import", help="Take in verdicts from this file and end.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="Of --export and --import: jsonl (unless set), argilla, label-studio."),
    ] = None,
    feedback: Annotated[
        Path | None, typer.Option(help="Write what the verdicts change for the next curate and end.")
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(help=f"Precision wanted of each stratum, for --feedback; {_PRECISION} unless set."),
    ] = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="Print precision and agreement and end.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Serve a page where people accept, reject or mend a sample of rows, by keyboard."""
    jobs = {"--export": export, "--import": take, "--feedback": feedback, "--figures": figures or None}
    _check(
        [name for name, value in jobs.items() if value is not None],
        {"--format": form, "--precision": precision, "--port": port, "--json": as_json or None},
    )
    sample, verdicts = _opened(curated_of(run), rows, seed, dropped, by)
    if export is not None:
        _export(_format(form), sample, verdicts, export, as_json)
    elif take is not None:
        _import(_format(form), verdicts, take, as_json)
    elif feedback is not None:
        _feed_back(sample, verdicts.all(), _PRECISION if precision is None else precision, feedback, as_json)
    elif figures:
        _figures(sample, verdicts.all(), as_json)
    else:
        _serve(sample, verdicts, _PORT if port is None else port)


def _check(jobs: Sequence[str], options: dict[str, Any]) -> None:
    """Raise InputError for two jobs at once, and for an option that the job does not heed."""
    if len(jobs) > 1:
        raise InputError(f"{' and '.join(jobs)} are two jobs", "ask for one at a time")
    job = jobs[0] if jobs else "the page"
    heeds = {"--export": ("--format", "--json"), "--import": ("--format", "--json"), "the page": ("--port",),
             "--feedback": ("--precision", "--json"), "--figures": ("--json",)}  # fmt: skip
    for name, value in options.items():
        if value is not None and name not in heeds[job]:
            those = ", ".join(other for other, own in heeds.items() if name in own)
            raise InputError(f"{name} changes nothing of {job}", f"leave it out; it is of {those}")
    if options["--format"] not in (None, *_FORMATS):
        raise InputError(f"no format {options['--format']!r}", f"name one of {', '.join(_FORMATS)}")


def _format(form: str | None) -> Format:
    return cast("Format", form or _FORMATS[0])


def _opened(
    curated: Path, rows: int | None, seed: int | None, dropped: bool, by: str | None
) -> tuple[list[Shown], Verdicts]:
    """The sample of a run, drawn where it is not there yet, and what was said of it."""
    from lingxi.curate.review.sample import draw_sample
    from lingxi.curate.review.survey import By
    from lingxi.curate.review.verdicts import Verdicts

    if by not in (None, *get_args(By)):
        raise InputError(f"no strata by {by!r}", f"name one of {', '.join(get_args(By))}")
    out = curated.with_name(REVIEW)
    verdicts = Verdicts(out)
    judged = {one.row for one in verdicts.all()}
    return draw_sample(curated, out, rows, seed, dropped, judged, cast("By | None", by)), verdicts


def _export(form: Format, sample: Sequence[Shown], verdicts: Verdicts, path: Path, as_json: bool) -> None:
    from lingxi.curate.review.exchange import export_as

    found, what = export_as(form, sample, verdicts, path), "verdicts" if form == "jsonl" else "rows"
    show.dump({"out": str(path), what: found}) if as_json else typer.echo(f"{found:,} {what}")


def _import(form: Format, verdicts: Verdicts, path: Path, as_json: bool) -> None:
    from lingxi.curate.review.exchange import import_as

    found = import_as(form, verdicts, path)
    show.dump({"verdicts": found}) if as_json else typer.echo(f"{found:,} verdicts")


def _feed_back(
    sample: Sequence[Shown], said: Sequence[Said], precision: float, path: Path, as_json: bool
) -> None:
    from lingxi.curate.review.feedback import feedback, load_feedback, save_feedback

    found = feedback(sample, said, precision, load_feedback(path) if path.is_file() else None)
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


def _figures(sample: Sequence[Shown], said: Sequence[Said], as_json: bool) -> None:
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


def _serve(sample: Sequence[Shown], verdicts: Verdicts, port: int) -> None:
    from lingxi.curate.review.page import make_app

    app = make_app(sample, verdicts)
    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError("uvicorn", "review", "the review page") from None
    show.complain(f"http://127.0.0.1:{port} shows {len(sample):,} rows; Ctrl-C ends, verdicts stay")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
