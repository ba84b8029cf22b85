"""`lingxi search`, the main job: index what changed, search, print."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingxi.cli import media, show
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
    Pages,
    Paths,
    Query,
    Reranks,
    TopK,
    Whole,
)
from lingxi.errors import InputError
from lingxi.places import user_cache

if TYPE_CHECKING:
    from lingxi.index.media import Encodes, MediaHit, MediaIndex


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("search")(search)


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
    lines: Lines = SHOWN_LINES,
    images: Annotated[
        bool, typer.Option("--images", help="Find pictures and recordings; QUERY may be one, by its path.")
    ] = False,
    pages: Pages = False,
    as_json: Json = False,
) -> None:
    """Find the passages of files that mean what is asked; indexes what changed first.

    With a model that reads pictures also pictures, recordings and pages; QUERY may be one, by its path.
    """
    shown = Shown(documents, around, lines, as_json)
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
    beside = beside_of(place, seer)
    with show.indexing(quiet=as_json) as progress:
        report, seen = add_all(opened, beside, paths, progress, pages=pages)
    media.say(seen)
    if sys.stderr.isatty() and not as_json and (report.segments or report.removed):
        show.complain(show.report_line(report))
    # The index in the cache holds these paths alone.
    asked = asked_of(top_k, instruction, paths if index else None, kind, language)
    answer(opened, beside, query, asked, shown, {"index": show.report_values(report)})


def cache_place(roots: list[str], fingerprint: Mapping[str, Any]) -> Path:
    """Where `search` keeps the index of these folders made by this model."""
    said = json.dumps([sorted(roots), sorted(fingerprint.items())])
    return user_cache() / "indexes" / hashlib.sha256(said.encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Shown:
    """How an answer is asked for and printed; raises InputError for what does not go together."""

    documents: bool
    around: int
    lines: int
    as_json: bool

    def __post_init__(self) -> None:
        if self.documents and self.around:
            raise InputError(
                "--around raises passages by their neighbours, --documents ranks whole files",
                "give one of the two",
            )


def asked_of(
    top_k: int,
    instruction: str | None,
    below: Sequence[str] | None,
    kinds: Sequence[str] | None,
    languages: Sequence[str] | None,
) -> dict[str, Any]:
    """What an index is asked beside the query, of options that were given or not."""
    narrowed = {"below": below or (), "kinds": kinds or (), "languages": languages or ()}
    return {"top_k": top_k, "instruction": instruction, **narrowed}


def answer(
    opened: Any,
    beside: MediaIndex | None,
    query: str,
    asked: Mapping[str, Any],
    shown: Shown,
    told: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Search an open index and print what it finds (`told` beside it in JSON); exit code 1 for nothing."""
    if shown.documents:
        _finish_documents(query, opened.documents(query, **asked), shown)
        return
    hits, found = _found(opened, beside, query, asked, shown.around)
    if shown.as_json:
        values = {"query": query, **told, "hits": [show.hit_values(hit) for hit in hits]}
        show.dump(values | ({"media": [asdict(hit) for hit in found]} if beside else {}))
    _finish(hits, found, shown)


def beside_of(place: str | Path, seer: Encodes | None, namespace: str = "") -> MediaIndex | None:
    """The pictures and sound beside the passages of an index; None for a model of texts."""
    if seer is None:
        return None
    from lingxi.index.media import MediaIndex

    return MediaIndex(place, seer, namespace)


def _found(
    opened: Any, beside: MediaIndex | None, query: str, asked: Mapping[str, Any], around: int
) -> tuple[list[Any], list[MediaHit]]:
    """Passages, and what is beside them; a query that names a picture or recording is looked at or heard."""
    example = media.example_of(query) if beside else None
    if beside is None or example is None:
        hits = opened.search(query, around=around, **asked)
        return hits, beside.search(query, top_k=asked["top_k"]) if beside else []
    vector = beside.embedder.encode_query([example])[0]
    narrowed = {key: value for key, value in asked.items() if key != "instruction"}
    return opened.near(vector, **narrowed), beside.nearest(vector, top_k=asked["top_k"])


def _finish(hits: Sequence[Any], found: Sequence[MediaHit], shown: Shown) -> None:
    if hits and not shown.as_json:
        show.print_hits(list(hits), shown.lines)
    if not shown.as_json:
        media.print_hits(found)
    if not hits and not found:
        show.complain("nothing found")
        raise typer.Exit(1)


def _finish_documents(query: str, found: Sequence[Any], shown: Shown) -> None:
    if shown.as_json:
        told = [
            {"path": one.path, "score": one.score, "hits": [show.hit_values(hit) for hit in one.hits]}
            for one in found
        ]
        show.dump({"query": query, "documents": told})
    for number, one in enumerate(found if not shown.as_json else (), 1):
        typer.echo(f"{number}. {show.printable(one.path)}  {one.score:.3f}")
        show.print_hits(list(one.hits[:1]), shown.lines)
    if not found:
        show.complain("nothing found")
        raise typer.Exit(1)
