"""`lingxi align`: the entities that two knowledge graphs share; `lingxi graph`: a graph of documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lingxi.cli import show
from lingxi.cli.faces import of, reranker_of
from lingxi.cli.options import Json, Model, Paths, Reranks
from lingxi.config import made

if TYPE_CHECKING:
    from lingxi.apps.align import Alignment

_SHOWN = 20
Graph = "A graph: TSV, JSON Lines or RDF (.ttl .nt .rdf), or a folder of such."
Left = Annotated[Path, typer.Argument(metavar="LEFT", help=Graph)]
Right = Annotated[Path, typer.Argument(metavar="RIGHT", help="The other graph.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="A setting of `docs/align.md`: structure=0.3.")
]


def register(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("align")(align)
    graph = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    graph.callback()(_graph)
    graph.command("build")(build)
    app.add_typer(graph, name="graph", help="One graph of the things that documents name.")


def _graph() -> None:
    """One graph of the things that documents name."""


def align(
    context: typer.Context,
    left: Left,
    right: Right,
    seeds: Annotated[Path | None, typer.Option(help="Known pairs: two ids a line, a tab between.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="File for the matches: .nt (owl:sameAs), .tsv or .json.")
    ] = None,
    least: Annotated[float, typer.Option(help="Leave out matches less sure than this, 0 to 1.")] = 0.0,
    language: Annotated[
        str | None, typer.Option(help="Language of the labels that name RDF entities.")
    ] = None,
    model: Model = None,
    reranker: Reranks = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Find the entities of two knowledge graphs that are the same, across languages, and say why."""
    from lingxi.apps.align import AlignSettings, read_graph, read_seeds, write
    from lingxi.apps.align import align as run
    from lingxi.apps.align.export import values

    settings = made(AlignSettings, "see docs/align.md for every setting", **_values(overrides))
    graphs = read_graph(left, language), read_graph(right, language)
    for note in (*graphs[0].notes, *graphs[1].notes):
        show.complain(f"note: {note}")
    known = read_seeds(seeds, *graphs) if seeds else ()
    judge = reranker_of(context, reranker)
    found = run(
        *graphs, of(context).embedder(model), seeds=known, reranker=judge, settings=settings, progress=None
    )
    kept = [match for match in found.matches if match.confidence >= least]
    if out:
        show.complain(f"{write(found, out, least)} matches written to {out}")
    if as_json:
        show.dump({"calibration": found.calibration, "matches": [values(match) for match in kept]})
    elif not out:
        _print(found, kept)
    raise typer.Exit(0 if kept else 1)


def build(
    context: typer.Context,
    paths: Paths,
    out: Annotated[Path, typer.Option(help="Folder for graph.json, graph.graphml and graph.html.")],
    names: Annotated[int, typer.Option(help="Most names kept of each language.")] = 150,
    llm: Annotated[
        str | None, typer.Option(help="URL#MODEL of an OpenAI-compatible server that finds the names.")
    ] = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Find what documents of several languages name, join the languages, and draw it."""
    from lingxi.apps.graph import GraphSettings, write
    from lingxi.apps.graph import build as run
    from lingxi.apps.graph.asked import chat_of

    settings = made(GraphSettings, "see `lingxi graph build --help`", names=names)
    graph = run(paths, of(context).embedder(model), settings=settings, chat=chat_of(llm) if llm else None)
    written = write(graph, out)
    for note in graph.notes:
        show.complain(f"note: {note}")
    joined = sum(len(node.names) > 1 for node in graph.nodes)
    figures = {"things": len(graph.nodes), "joined": joined, "links": len(graph.links)}
    if as_json:
        show.dump({**figures, "documents": len(graph.documents), "files": [str(path) for path in written]})
    else:
        typer.echo(
            f"{figures['things']} things, {joined} of them named in several languages, "
            f"{figures['links']} links from {len(graph.documents)} documents; open {written[-1]}"
        )
    raise typer.Exit(0 if graph.nodes else 1)


def _print(found: Alignment, kept: list[Any]) -> None:
    names = [{e.id: e.name or e.id for e in graph.entities} for graph in (found.left, found.right)]
    for match in kept[:_SHOWN]:
        line = f"{match.confidence:.2f}  {names[0][match.left]} = {names[1][match.right]}"
        agreed = ", ".join(
            f"{names[0][a.left_neighbour]} = {names[1][a.right_neighbour]}" for a in match.neighbours[:2]
        )
        typer.echo(show.printable(f"{line}  ({agreed})" if agreed else line))
    if len(kept) > _SHOWN:
        typer.echo(f"and {len(kept) - _SHOWN} more; --out FILE writes all")
    typer.echo(f"confidence: {found.calibration}")


def _values(overrides: list[str] | None) -> dict[str, Any]:
    """Settings of `key=value` options; raises InputError for one of another shape."""
    from lingxi.errors import InputError

    pairs = [text.partition("=") for text in overrides or ()]
    wrong = next((key for key, sign, _ in pairs if not sign), None)
    if wrong is not None:
        raise InputError(f"--set {wrong} has no value", "write --set key=value")
    return {key.strip(): value.strip() for key, _, value in pairs}
