"""`lingxi search`, the main job, and `lingxi index`, the same in steps with an index of one's own."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingxi.cli import media, moving, show
from lingxi.cli.faces import reranker_of
from lingxi.places import user_cache

if TYPE_CHECKING:
    from lingxi.index.media import Encodes, MediaHit, MediaIndex

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
Pages = Annotated[
    bool, typer.Option("--pages", help="Pages of PDFs as pictures too, by a model that reads pictures.")
]
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
    pages: Pages = False,
    as_json: Json = False,
) -> None:
    """Find the passages of files that mean what is asked; indexes what changed first.

    With a model that reads pictures also pictures, recordings and pages; QUERY may be one, by its path.
    """
    if images:
        own = Path(index) if index else None
        media.search(context, query, paths, own, model, top_k, as_json, pages=pages)
        return
    from lingxi.index import Index
    from lingxi.index.seeing import add_all
    from lingxi.parse.walk import resolve

    roots = resolve(paths)
    embedder, seer = media.both(context, model)
    judge = reranker_of(context, reranker)
    place = Path(index) if index else cache_place(list(roots), (seer or embedder).fingerprint())
    opened = Index.open(place, embedder, judge)
    beside = _beside(place, seer)
    with show.indexing(quiet=as_json) as progress:
        report, seen = add_all(opened, beside, paths, progress, pages=pages)
    media.say(seen)
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
    hits, found = _found(opened, beside, query, asked, around)
    if as_json:
        told = {
            "query": query,
            "index": show.report_values(report),
            "hits": [show.hit_values(h) for h in hits],
        }
        show.dump(told | ({"media": [asdict(hit) for hit in found]} if beside else {}))
    _finish(hits, lines, as_json, found)


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
        report, seen = add_all(opened, _beside(place, seer, namespace), paths, progress, pages=pages)
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
    lines: Lines = _LINES,
    as_json: Json = False,
) -> None:
    """Search an index as it is."""
    from lingxi.index import Index
    from lingxi.index.generations import media_name
    from lingxi.index.store import require

    require(Path(place))
    judge = reranker_of(context, reranker)
    embedder, seer = media.both(context, model)
    opened = Index.open(place, embedder, judge, namespace=namespace)
    there = (Path(place).expanduser() / media_name(namespace)).is_file()
    beside = _beside(place, seer if there else None, namespace)
    asked: dict[str, Any] = {
        "top_k": top_k, "instruction": instruction, "below": below or (),
        "kinds": kind or (), "languages": language or (),
    }  # fmt: skip
    if documents:
        _finish_documents(query, opened.documents(query, **asked), lines, as_json)
        return
    hits, found = _found(opened, beside, query, asked, around)
    if as_json:
        told = {"query": query, "hits": [show.hit_values(hit) for hit in hits]}
        show.dump(told | ({"media": [asdict(hit) for hit in found]} if beside else {}))
    _finish(hits, lines, as_json, found)


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


def cache_place(roots: list[str], fingerprint: Mapping[str, Any]) -> Path:
    """Where `search` keeps the index of these folders made by this model."""
    said = json.dumps([sorted(roots), sorted(fingerprint.items())])
    return user_cache() / "indexes" / hashlib.sha256(said.encode()).hexdigest()[:20]


def _beside(place: str | Path, seer: Encodes | None, namespace: str = "") -> MediaIndex | None:
    """The pictures and sound beside the passages of an index; None for a model of texts."""
    if seer is None:
        return None
    from lingxi.index.media import MediaIndex

    return MediaIndex(place, seer, namespace)


def _held(place: str | Path, namespace: str) -> MediaIndex | None:
    """The pictures and sound that an index holds, for no model; torch is loaded only where there are some."""
    from lingxi.index.generations import media_name

    if not (Path(place).expanduser() / media_name(namespace)).is_file():
        return None
    from lingxi.index.media import MediaIndex

    return MediaIndex(place, None, namespace)


def _found(
    opened: Any, beside: MediaIndex | None, query: str, asked: dict[str, Any], around: int
) -> tuple[list[Any], list[MediaHit]]:
    """Passages, and what is beside them; a query that names a picture or recording is looked at or heard."""
    example = media.example_of(query) if beside else None
    if beside is None or example is None:
        hits = opened.search(query, around=around, **asked)
        return hits, beside.search(query, top_k=asked["top_k"]) if beside else []
    vector = beside.embedder.encode_query([example])[0]
    narrowed = {key: value for key, value in asked.items() if key != "instruction"}
    return opened.near(vector, **narrowed), beside.nearest(vector, top_k=asked["top_k"])


def _finish(hits: list[Any], lines: int, as_json: bool, found: Sequence[MediaHit] = ()) -> None:
    if hits and not as_json:
        show.print_hits(hits, lines)
    if not as_json:
        media.print_hits(found)
    if not hits and not found:
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
