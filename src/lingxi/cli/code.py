"""`lingxi code`: functions and types of a repository, found by words, a name, code or an error message."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingxi.cli import show
from lingxi.cli.faces import of
from lingxi.cli.options import Json, Lines, TopK

if TYPE_CHECKING:
    from lingxi.apps.code import CodeHit, CodeIndex, UpdateReport

Query = Annotated[
    str,
    typer.Argument(metavar="QUERY", help="Words, a name, code or an error message; - reads it from stdin."),
]
Repository = Annotated[str, typer.Argument(metavar="[REPO]", help="A repository, or a folder in it.")]
Place = Annotated[str | None, typer.Option("--index", help="Folder of the index (default: in the cache).")]
Model = Annotated[
    str | None,
    typer.Option(
        help="Embedder: a directory, hub id or shipped name (default: the one that ships, in int8)."
    ),
]
At = Annotated[str | None, typer.Option(help="A commit, branch or tag instead of the files as they lie.")]
Languages = Annotated[list[str] | None, typer.Option("--language", help="Only these: py, c++, go …")]
Paths = Annotated[
    list[str] | None,
    typer.Option("--path", help="Only below these, from the top of the repository, or a pattern."),
]
Blame = Annotated[bool, typer.Option("--blame", help="Say who wrote the lines of each hit.")]
_LINES = 8
_SAYS = {"it": "its own comments ask", "lingxi": "comments of lingxi ask: it has too few itself"}
_READ_AS = {"name": "a name", "code": "code", "error": "an error message"}


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    code = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    code.command("index")(index)
    code.command("search")(search)
    code.command("prune")(prune)
    app.add_typer(code, name="code", help="Search the code of a repository, at any commit.")


def index(
    context: typer.Context,
    repository: Repository,
    place: Place = None,
    model: Model = None,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Index what changed in a repository, and say what was left out and why."""
    opened = _opened(context, repository, place, model)
    report = _updated(opened, at, as_json)
    trust = opened.trust(at)
    if as_json:
        show.dump({**_report_values(report), "trust": asdict(trust) if trust else None})
        return
    typer.echo(_report_line(report))
    if trust and trust.on:
        typer.echo(f"vectors count {trust.vector:g} (by {trust.probes} questions that {_SAYS[trust.on]})")
    for path, reason in report.skipped:
        typer.echo(" ".join(show.printable(f"skipped {_one_line(path)}: {reason}").split("\n")))


def search(
    context: typer.Context,
    query: Query,
    repository: Repository = ".",
    place: Place = None,
    model: Model = None,
    languages: Languages = None,
    paths: Paths = None,
    at: At = None,
    blame: Blame = False,
    top_k: TopK = 10,
    lines: Lines = _LINES,
    as_json: Json = False,
) -> None:
    """Find functions and types of a repository; indexes what changed first."""
    opened = _opened(context, repository, place, model)
    report = _updated(opened, at, as_json)
    if sys.stderr.isatty() and not as_json and (report.units or report.removed):
        show.complain(_report_line(report))
    asked = sys.stdin.read() if query == "-" else query
    answer = opened.search(asked, top_k, languages=languages or (), paths=paths or (), at=at, blame=blame)
    if as_json:
        hits = [{**asdict(hit), "place": hit.place} for hit in answer.hits]
        show.dump({**asdict(answer), "hits": hits, "root": str(opened.root), "index": _report_values(report)})
    else:
        _print(answer.hits, lines, answer.kind)
    for note in answer.notes:
        show.complain(note)
    if not answer.hits:
        show.complain("nothing found")
        raise typer.Exit(1)


def prune(
    context: typer.Context,
    repository: Repository = ".",
    place: Place = None,
    model: Model = None,
    keep: Annotated[int, typer.Option(help="Indexes of commits to keep, the last used.")] = 0,
    as_json: Json = False,
) -> None:
    """Take out old indexes of commits, which `--at` made; the files as they lie stay indexed."""
    done = _opened(context, repository, place, model).prune(keep)
    if as_json:
        show.dump(asdict(done))
    else:
        typer.echo(f"{done.removed} indexes of commits removed ({done.bytes / 1e6:.1f} MB), {done.kept} kept")


def _opened(context: typer.Context, repository: str, place: str | None, model: str | None) -> CodeIndex:
    from lingxi.apps.code import CodeIndex

    return CodeIndex.open(repository, place, of(context).light(model))


def _updated(opened: CodeIndex, at: str | None, quiet: bool) -> UpdateReport:
    with show.indexing(quiet=quiet) as progress:
        return opened.update(at, progress)


def _report_values(report: UpdateReport) -> dict[str, Any]:
    skipped = [{"path": path, "reason": reason} for path, reason in report.skipped]
    return {**asdict(report), "skipped": skipped}


def _report_line(report: UpdateReport) -> str:
    counts = [f"{getattr(report, name)} {name}" for name in ("added", "changed", "unchanged", "removed")]
    counts += [f"{report.units} units"] if report.units else []
    counts += [f"{len(report.skipped)} skipped"] if report.skipped else []
    counts += [f"{report.ignored} hidden or ignored"] if report.ignored else []
    return f"{', '.join(counts)} in {report.seconds:.1f} s"


def _print(hits: tuple[CodeHit, ...], lines: int, kind: str) -> None:
    from lingxi.index import Hit

    if kind in _READ_AS:
        show.complain(f"read as {_READ_AS[kind]}")
    for hit in hits:
        rows = hit.text.split("\n")
        start = sum(len(row) + 1 for row in rows[: hit.line - hit.first_line]) + hit.column - 1
        end = start + len(rows[hit.line - hit.first_line].strip())
        named = f"{_one_line(hit.path)}"
        shown = Hit(
            named,
            0,
            len(hit.text),
            hit.first_line,
            hit.last_line,
            hit.text,
            hit.score,
            hit.scores,
            (start, end),
        )
        show.print_hits([shown], lines)
        _print_blame(hit)


def _print_blame(hit: CodeHit) -> None:
    """One line for each run of lines of one commit."""
    for _, run in groupby(hit.blame, key=lambda one: one.commit):
        own = list(run)
        first, last = own[0], own[-1]
        day = time.strftime("%Y-%m-%d", time.gmtime(first.time)) if first.commit else ""
        said = (
            f"{first.commit[:10]} {day} {first.author}: {first.summary}" if first.commit else "not committed"
        )
        span = f"{first.line}" if first.line == last.line else f"{first.line}-{last.line}"
        typer.echo(f"    {span}  {' '.join(show.printable(said).split())}")
    if hit.blame:
        typer.echo("")


def _one_line(path: str) -> str:
    """A path on one line: a line break in a file's name must not begin a hit of its own."""
    return str(Path(path)).replace("\n", "\\n").replace("\r", "\\r")
