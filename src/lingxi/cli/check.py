"""`lingxi check`: proof that this machine, or another runtime, computes a model right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lingxi.cli import show
from lingxi.cli.models import Directory
from lingxi.cli.search import Json
from lingxi.errors import InputError

if TYPE_CHECKING:
    from lingxi.check import Report, Tolerance


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("check")(check)


def check(
    model: Directory,
    write: Annotated[bool, typer.Option("--write", help="Make the golden file anew, then check.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float16 or bfloat16.")] = None,
    score_tolerance: Annotated[
        float | None, typer.Option(help="Largest difference of a score or a component.")
    ] = None,
    cosine_tolerance: Annotated[float | None, typer.Option(help="Largest 1 − cosine.")] = None,
    longest: Annotated[int, typer.Option(help="Tokens of the longest input tried.")] = 8192,
    as_json: Json = False,
) -> None:
    """Compute a model's golden texts in every way and compare; exit 1 if one is off."""
    from lingxi.check import check_model, make_golden
    from lingxi.model.files import locate

    allowed = _tolerance(score_tolerance, cosine_tolerance)
    if write:
        make_golden(locate(model))
    _tell(check_model(model, device=device, dtype=dtype, tolerance=allowed, longest=longest), as_json)


def _tolerance(score: float | None, cosine: float | None) -> Tolerance | None:
    from lingxi.check import Tolerance

    if score is None and cosine is None:
        return None
    if score is None or cosine is None:
        raise InputError("one of two tolerances is given", "give --score-tolerance and --cosine-tolerance")
    return Tolerance(cosine, score)


def _tell(report: Report, as_json: bool) -> None:
    from lingxi.check import report_lines, report_values

    if as_json:
        show.dump(report_values(report))
    else:
        for line in report_lines(report):
            typer.echo(show.printable(line))
    raise typer.Exit(0 if report.ok else 1)
