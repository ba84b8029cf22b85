"""`lingxi index`: search in steps, with an index of one's own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingxi.cli import media, moving, show
from lingxi.cli.faces import reranker_of
from lingxi.cli.options import (
    SHOWN_LINES,
    Around,
    Instruction,
    Json,
    Kinds,
    Languages,
    Lines,
    Model,
    Namespace,
    Pages,
    Paths,
    Place,
    Query,
    Reranks,
    TopK,
    Whole,
)
from lingxi.cli.search import Shown, answer, asked_of, beside_of

if TYPE_CHECKING:
    from lingxi.index.media import MediaIndex


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    index = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    index.command("add")(add)
    index.command("search")(search_index)
    index.command("stats")(stats)
    index.command("remove")(remove)
    moving.register(index)
    app.add_typer(index, name="index", help="An index with a place of its own.")


def add(
    context: typer.Context,
    place: Place,
    paths: Paths,
    model: Model = None,
    late_chunking: Annotated[
        bool | None,
        typer.Option(help="Embed segments in the context of their file; an index keeps what it began with."),
    ] = None,
    namespace: Namespace = "",
    pages: Pages = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say what it would cost, measured on a sample.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring an index to what files and folders hold: new, changed and gone.

    A model that reads pictures (lingxi-nano-vl, Qwen3-VL-Embedding) puts pictures and sound in too.
    """
    from lingxi.index import Index
    from lingxi.index.seeing import add_all
    from lingxi.parse.walk import resolve

    resolve(paths)
    embedder, seer = media.both(context, model)
    if estimate:
        moving.say_estimate(embedder, paths, as_json)
        return
    opened = Index.open(place, embedder, late_chunking=late_chunking, namespace=namespace)
    with show.indexing(quiet=as_json) as progress:
        report, seen = add_all(opened, beside_of(place, seer, namespace), paths, progress, pages=pages)
    if as_json:
        show.dump(show.report_values(report) | ({"media": asdict(seen)} if seen else {}))
        return
    typer.echo(show.report_line(report))
    for path, reason in report.skipped:
        typer.echo(show.printable(f"skipped {path}: {reason}"))
    if seen:
        typer.echo(
            f"pictures, sound, pages: {seen.added} added, {seen.kept} unchanged, {seen.removed} removed"
        )
    media.say(seen)


def search_index(
    context: typer.Context,
    place: Place,
    query: Query,
    model: Model = None,
    reranker: Reranks = None,
    top_k: TopK = 10,
    instruction: Instruction = None,
    below: Annotated[list[str] | None, typer.Option(help="Only files in this folder, or this file.")] = None,
    kind: Kinds = None,
    language: Languages = None,
    namespace: Namespace = "",
    documents: Whole = False,
    around: Around = 0,
    lines: Lines = SHOWN_LINES,
    as_json: Json = False,
) -> None:
    """Search an index as it is."""
    from lingxi.index import Index
    from lingxi.index.generations import holds_media
    from lingxi.index.store import require

    shown = Shown(documents, around, lines, as_json)
    require(Path(place))
    judge = reranker_of(context, reranker)
    embedder, seer = media.both(context, model)
    opened = Index.open(place, embedder, judge, namespace=namespace)
    beside = beside_of(place, seer if holds_media(place, namespace) else None, namespace)
    asked = asked_of(top_k, instruction, below, kind, language)
    answer(opened, beside, query, asked, shown)


def stats(place: Place, namespace: Namespace = "", as_json: Json = False) -> None:
    """Say what an index holds."""
    from lingxi.index import Index

    opened = Index.open(place, namespace=namespace)
    values = asdict(opened.stats())
    if beside := _held(place, namespace):
        values |= beside.counts()
    names = opened.namespaces()
    if names != [""]:
        values["namespaces"] = names
    if as_json:
        show.dump(values)
        return
    for name, value in values.items():
        typer.echo(f"{name:10} {_readable(value)}")


def remove(place: Place, paths: Paths, namespace: Namespace = "", as_json: Json = False) -> None:
    """Take files, or all below folders, out of an index (not from the disk)."""
    from lingxi.index import Index

    # A picture is known to both halves: to one as a file without text.
    beside = _held(place, namespace)
    seen = beside.remove(paths) if beside else 0
    count = max(Index.open(place, namespace=namespace).remove(paths), seen)
    if as_json:
        show.dump({"removed": count})
    else:
        typer.echo(f"{count} files removed")
    raise typer.Exit(0 if count else 1)


def _held(place: str | Path, namespace: str) -> MediaIndex | None:
    """The pictures and sound that an index holds, for no model; torch is loaded only where there are some."""
    from lingxi.index.generations import holds_media

    if not holds_media(place, namespace):
        return None
    from lingxi.index.media import MediaIndex

    return MediaIndex(place, None, namespace)


def _readable(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(name or "(no name)" for name in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
