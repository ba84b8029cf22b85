"""`lingxi merge`: several checkpoints made into one model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingxi.cli import show
from lingxi.cli.options import Json
from lingxi.config import made
from lingxi.errors import InputError, require_new

if TYPE_CHECKING:
    from lingxi.merge.run import Merged
    from lingxi.merge.settings import MergeSettings

_SEE = "see `lingxi merge --help`"


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("merge")(merge)


def merge(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL MODEL...", help="Directories, hub ids or shipped names.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist.")],
    method: Annotated[str, typer.Option(help="slerp, linear, or task (vectors added to --base).")] = "slerp",
    weights: Annotated[
        str | None, typer.Option(help="One for each model, comma by comma; even ones by default.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="What task vectors are differences from.")] = None,
    per_tensor: Annotated[
        bool, typer.Option("--per-tensor/--global", help="Slerp with an angle for each tensor, or one.")
    ] = True,
    trim: Annotated[float, typer.Option(help="Share of each task vector that is kept.")] = 1.0,
    elect: Annotated[
        bool, typer.Option("--elect", help="TIES: leave out differences of the minor sign.")
    ] = False,
    dev: Annotated[
        Path | None, typer.Option(help="Search the weights on this file of pairs (Parquet, JSON Lines …).")
    ] = None,
    search: Annotated[str, typer.Option(help="With --dev: grid, coordinate or descend.")] = "grid",
    trials: Annotated[
        int | None, typer.Option(help="With --dev: most merges scored (19), or steps of descend (40).")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, float16, bfloat16 or int8 (ours alone).")] = "float32",
    device: Annotated[str | None, typer.Option(help="With --dev: cpu, cuda, …")] = None,
    as_json: Json = False,
) -> None:
    """Merge checkpoints of one network; with --dev by the weights that rank its pairs best."""
    require_new(out)
    settings = _settings(
        method=method,
        weights=_numbers(weights),
        base=base,
        granularity="tensor" if per_tensor else "global",
        trim=trim,
        elect=elect,
        dtype=dtype,
        search=_search(search, trials) if dev else None,
    )
    from lingxi.check import make_golden
    from lingxi.merge.run import merge_models
    from lingxi.model.files import locate

    found = merge_models(
        settings, [locate(name) for name in models], out, make_golden, dev=dev, device=device
    )
    _show(found, models, as_json)


def _settings(**values: Any) -> MergeSettings:
    from lingxi.merge.settings import MergeSettings

    return made(MergeSettings, _SEE, **values)


def _search(method: str, trials: int | None) -> dict[str, Any]:
    name = "steps" if method == "descend" else "trials"
    return {"method": method} if trials is None else {"method": method, name: trials}


def _numbers(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"weights are {text!r}", "write numbers, as 0.5,0.5") from None


def _show(found: Merged, models: list[str], as_json: bool) -> None:
    if as_json:
        searched = asdict(found.search) if found.search else None
        show.dump({"out": str(found.out), "weights": found.weights, "search": searched})
        return
    for name, weight in zip(models, found.weights, strict=True):
        typer.echo(f"{weight:8.4f}  {show.printable(name)}")
    if found.search:
        typer.echo(found.search.said())
    typer.echo(f"written to {found.out}")
