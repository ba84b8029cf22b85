"""`lingxi mcp`: an index as tools for assistants that speak the Model Context Protocol."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from lingxi.cli import show
from lingxi.cli.faces import of, reranker_of
from lingxi.cli.options import Model, Reranks
from lingxi.cli.serve import AppKeys, AppsFile
from lingxi.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the verb of this file."""
    app.command("mcp")(mcp)


def mcp(
    context: typer.Context,
    index: Annotated[str, typer.Option(help="Folder of the index; made by --write where there is none.")],
    model: Model = None,
    reranker: Reranks = None,
    write: Annotated[bool, typer.Option("--write", help="Give a tool that indexes files, too.")] = False,
    root: Annotated[
        list[str] | None, typer.Option(help="A folder that may be indexed, with --write; repeatable.")
    ] = None,
    http: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Serve http://127.0.0.1:PORT/mcp; else standard input."),
    ] = None,
    apps: AppsFile = None,
    app: AppKeys = None,
) -> None:
    """Serve an index to assistants: search, similar, rerank; read-only unless told otherwise."""
    from lingxi.index import Index
    from lingxi.index.store import require
    from lingxi.parse.walk import resolve
    from lingxi.serve.mcp import Shelf, make_server, serve_http, serve_stdio

    if bool(root) != write:
        raise InputError("--write and --root go together", "name each folder that may be indexed by --root")
    if not write:
        require(Path(index))
    roots = tuple(Path(path) for path in resolve(root)) if root else ()
    embedder, judge = of(context).embedder(model), reranker_of(context, reranker)
    ranks = cache(lambda: judge or of(context).reranker(None))
    shelf = Shelf(Index.open(index, embedder), embedder, judge, ranks, roots)
    more = []
    if apps or app:
        from lingxi.apps.served import read_apps
        from lingxi.apps.served.tools import tools

        more.append(tools(read_apps(apps, app or ()), shelf))
    server = make_server(shelf, write=write, more=more)
    if http is None:
        serve_stdio(server)
        return
    show.complain(f"http://127.0.0.1:{http}/mcp serves {index}; Ctrl-C ends")
    serve_http(server, http)
