"""`lingxi search`, the main job, and `lingxi index`, the same in steps with an index of one's own."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from lingxi.cli import media, moving, show
from lingxi.cli.faces import of, reranker_of
from lingxi.places import user_cache

Query = Annotated[str, typer.Argument(metavar="QUERY", help="Words or a question, in any language.")]
Paths = Annotated[list[str], typer.Argument(metavar="PATH...", help="Files and folders.")]
Place = Annotated[str, typer.Argument(metavar="INDEX", help="Folder of the index.")]
Model = Annotated[str | None, typer.Option(help="Embedder: a directory, hub id or shipped name.")]
Reranks = Annotated[
    str | None,
    typer.Option("--reranker", help="A reranker orders the first hits: the same; none by default."),
]
TopK = Annotated[int, typer.Option("--top-k", "-k", help="Number of passages.")]
Instruction = Annotated[str | None, typer.Option(help="The task, in English, if not plain search.")]
Lines = Annotated[int, typer.Option(help="Most lines shown of a passage; 0 shows all.")]
Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", help="Only files of this kind: text, markdown, code, html, pdf, rst."),
]
Languages = Annotated[
    list[str] | None, typer.Option("--language", help="Only code in this language: python, go, …")
]
Namespace = Annotated[str, typer.Option(help="A part of the index with files of its own.")]
Whole = Annotated[bool, typer.Option("--documents", help="Rank whole files by their passages.")]
Around = Annotated[int, typer.Option(help="Raise a passage by those so many places away (conversations).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_LINES = 8


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("search")(search)
    index = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    index.command("add")(add)
    index.command("search")(search_index)
    index.command("stats")(stats)
    index.command("remove")(remove)
    moving.register(index)
    app.add_typer(index, name="index", help="An index with a place of its own.")


def search(
    context: typer.Context,
    query: Query,
    paths: Paths,
    index: Annotated[str | None, typer.Option(help="Folder of the index (default: in the cache).")] = None,
    model: Model = None,
    reranker: Reranks = None,
    top_k: TopK = 10,
    instruction: Instruction = None,
    kind: Kinds = None,
    language: Languages = None,
    documents: Whole = False,
    around: Around = 0,
    lines: Lines = _LINES,
    images: Annotated[
        bool, typer.Option("--images", help="Find pictures and recordings; QUERY may be one, by its path.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find the passages of files that mean what is asked; indexes what changed first."""
    if images:
        media.search(query, paths, Path(index) if index else None, model, top_k, as_json)
        return
    from lingxi.index import Index
    from lingxi.parse.walk import resolve

    roots = resolve(paths)
    embedder = of(context).embedder(model)
    judge = reranker_of(context, reranker)
    place = Path(index) if index else cache_place(list(roots), embedder.fingerprint())
    opened = Index.open(place, embedder, judge)
    with show.indexing(quiet=as_json) as progress:
        report = opened.add(paths, progress)
    if sys.stderr.isatty() and not as_json and (report.segments or report.removed):
        show.complain(show.report_line(report))
    # The index in the cache holds these paths alone.
    asked: dict[str, Any] = {
        "top_k": top_k, "instruction": instruction, "below": paths if index else (),
        "kinds": kind or (), "languages": language or (),
    }  # fmt: skip
    if documents:
        _finish_documents(query, opened.documents(query, **asked), lines, as_json)
        return
    hits = opened.search(query, around=around, **asked)
    if as_json:
        show.dump(
            {"query": query, "index": show.report_values(report), "hits": [show.hit_values(h) for h in hits]}
        )
    _finish(hits, lines, as_json)


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
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say what it would cost, measured on a sample.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring an index to what files and folders hold: new, changed and gone."""
    from lingxi.index import Index
    from lingxi.parse.walk import resolve

    resolve(paths)
    if estimate:
        moving.say_estimate(of(context).embedder(model), paths, as_json)
        return
    opened = Index.open(place, of(context).embedder(model), late_chunking=late_chunking, namespace=namespace)
    with show.indexing(quiet=as_json) as progress:
        report = opened.add(paths, progress)
    if as_json:
        show.dump(show.report_values(report))
        return
    typer.echo(show.report_line(report))
    for path, reason in report.skipped:
        typer.echo(show.printable(f"skipped {path}: {reason}"))


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
    lines: Lines = _LINES,
    as_json: Json = False,
) -> None:
    """Search an index as it is."""
    from lingxi.index import Index
    from lingxi.index.store import require

    require(Path(place))
    judge = reranker_of(context, reranker)
    opened = Index.open(place, of(context).embedder(model), judge, namespace=namespace)
    asked: dict[str, Any] = {
        "top_k": top_k, "instruction": instruction, "below": below or (),
        "kinds": kind or (), "languages": language or (),
    }  # fmt: skip
    if documents:
        _finish_documents(query, opened.documents(query, **asked), lines, as_json)
        return
    hits = opened.search(query, around=around, **asked)
    if as_json:
        show.dump({"query": query, "hits": [show.hit_values(hit) for hit in hits]})
    _finish(hits, lines, as_json)


def stats(place: Place, namespace: Namespace = "", as_json: Json = False) -> None:
    """Say what an index holds."""
    from dataclasses import asdict

    from lingxi.index import Index

    opened = Index.open(place, namespace=namespace)
    values = asdict(opened.stats())
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

    count = Index.open(place, namespace=namespace).remove(paths)
    if as_json:
        show.dump({"removed": count})
    else:
        typer.echo(f"{count} files removed")
    raise typer.Exit(0 if count else 1)


def cache_place(roots: list[str], fingerprint: Mapping[str, Any]) -> Path:
    """Where `search` keeps the index of these folders made by this model."""
    said = json.dumps([sorted(roots), sorted(fingerprint.items())])
    return user_cache() / "indexes" / hashlib.sha256(said.encode()).hexdigest()[:20]


def _finish(hits: list[Any], lines: int, as_json: bool) -> None:
    if hits and not as_json:
        show.print_hits(hits, lines)
    if not hits:
        show.complain("nothing found")
        raise typer.Exit(1)


def _finish_documents(query: str, found: list[Any], lines: int, as_json: bool) -> None:
    if as_json:
        told = [
            {"path": one.path, "score": one.score, "hits": [show.hit_values(hit) for hit in one.hits]}
            for one in found
        ]
        show.dump({"query": query, "documents": told})
    for number, one in enumerate(found if not as_json else (), 1):
        typer.echo(f"{number}. {show.printable(one.path)}  {one.score:.3f}")
        show.print_hits(list(one.hits[:1]), lines)
    _finish(found, lines, as_json=True)


def _readable(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(name or "(no name)" for name in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
