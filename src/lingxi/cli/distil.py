"""`lingxi compress distil`: a smaller student of a teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingxi.cli import show
from lingxi.cli.options import Json
from lingxi.cli.recipe import Overrides, toml_lines

if TYPE_CHECKING:
    from lingxi.compress.bill import Bill
    from lingxi.compress.estimate import Estimate
    from lingxi.compress.settings import DistilSettings


def register(compress: typer.Typer) -> None:
    """Add the verb of this file to the group."""
    compress.command("distil")(distil)


def distil(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE|MODEL", help="A recipe (TOML); or a teacher, all else as KEY=VALUE."),
    ],
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved recipe, parameters, memory and hours; stop.")
    ] = False,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Cut a smaller student out of a teacher and draw it back to the teacher's answers."""
    from lingxi.compress.distil import distil as run
    from lingxi.compress.estimate import estimate
    from lingxi.config import to_json

    settings = _settings(recipe, overrides or ())
    if dry_run:
        _show_estimate(to_json(settings), estimate(settings), as_json)
        return
    found = run(settings, runs / settings.name, show.complain)
    if as_json:
        show.dump({"out": str(found.out), "bill": asdict(found.bill), "last_step": dict(found.figures)})
        return
    for line in _bill(found.bill):
        typer.echo(line)
    typer.echo(f"written to {found.out}")


def _settings(recipe: str, overrides: Sequence[str]) -> DistilSettings:
    from lingxi.compress.settings import DistilSettings
    from lingxi.config import load, resolved

    if recipe.endswith(".toml"):
        return load(Path(recipe), DistilSettings, overrides)
    values = {"name": f"{Path(recipe).name}-student", "teacher": recipe}
    return resolved(values, DistilSettings, overrides, recipe)


def _show_estimate(recipe: dict[str, Any], found: Estimate, as_json: bool) -> None:
    if as_json:
        show.dump({"recipe": recipe, "lines": [asdict(line) for line in found.lines]})
        return
    for line in toml_lines(recipe):
        typer.echo(line)
    typer.echo("")
    for each in found.lines:
        value = f"{each.value:,.0f}" if each.value >= 1000 else f"{each.value:,.3g}"
        typer.echo(f"{each.name:44} {value:>15} {each.unit:8} = {each.sum}")


def _bill(bill: Bill) -> Iterator[str]:
    rows = (
        ("parameters", bill.teacher.parameters, bill.student.parameters),
        ("of them not token vectors", bill.teacher.network, bill.student.network),
        ("operations of a text", bill.teacher.operations, bill.student.operations),
    )
    for name, teacher, student in rows:
        yield f"{name:26} {teacher:>16,} → {student:>14,}  {student / teacher:.1%}"
