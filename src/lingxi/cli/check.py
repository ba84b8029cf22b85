"""`lingxi check`: proof that this machine, or another runtime, computes a model right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingxi.cli import show
from lingxi.cli.models import Directory
from lingxi.cli.options import Json
from lingxi.errors import InputError

if TYPE_CHECKING:
    from lingxi.check import Asking, Report, Tolerance


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("check")(check)


def check(
    model: Directory,
    write: Annotated[bool, typer.Option("--write", help="Make the golden file anew, then check.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float16 or bfloat16.")] = None,
    engine: Annotated[str | None, typer.Option(help="native or torch: who computes.")] = None,
    weights: Annotated[str | None, typer.Option(help="float32 or int8: what is computed in.")] = None,
    score_tolerance: Annotated[
        float | None, typer.Option(help="Largest difference of a score or a component.")
    ] = None,
    cosine_tolerance: Annotated[float | None, typer.Option(help="Largest 1 − cosine.")] = None,
    longest: Annotated[
        int | None, typer.Option(help="Tokens of the longest input tried: 8192, or 400 with --against.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="transformers, sentence-transformers, onnxruntime, onnx:FILE, openvino:FILE, "
            "a model, or a server's URL."
        ),
    ] = None,
    dialect: Annotated[
        str | None, typer.Option(help="openai, tei or cohere, where asking is not enough.")
    ] = None,
    instructions: Annotated[
        str | None, typer.Option(help="Who puts them before a query: text (sent so) or server (asked to).")
    ] = None,
    served: Annotated[str | None, typer.Option(help="The model's name on the server.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the server's token; else LINGXI_TOKEN.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds a server may take for an answer.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Compute a model's golden texts in every way, or elsewhere, and compare; exit 1 if one is off."""
    from lingxi.check import Asking, make_golden
    from lingxi.model.files import locate

    if write:
        make_golden(locate(model))
    options: dict[str, Any] = {"device": device, "dtype": dtype, "engine": engine, "weights": weights}
    options["tolerance"] = _tolerance(score_tolerance, cosine_tolerance)
    if longest is not None:
        options["longest"] = longest
    asking = Asking(dialect, instructions, served, _token(token_file), timeout)
    _tell(_report(model, against, asking, options), as_json)


def _report(model: str, against: str | None, asking: Asking, options: dict[str, Any]) -> Report:
    from lingxi.check import check_against, check_model

    if against is None:
        return check_model(model, **options)
    return check_against(model, against, asking=asking, **options)


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get("LINGXI_TOKEN")
    try:
        return file.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"{file}: no token can be read ({error})", "name a text file with the token"
        ) from None


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
