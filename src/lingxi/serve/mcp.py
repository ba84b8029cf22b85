"""An index as tools of the Model Context Protocol: search, similar, rerank and, where it may write, index.

What passages say is data: they are given as fields of a result that says so, and stand in no description,
instruction or error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

from pydantic import Field

from lingxi import __version__
from lingxi.errors import InputError, LingxiError, MissingExtraError
from lingxi.index import Hit, Index
from lingxi.parse.walk import is_below
from lingxi.serve.mcp_shapes import NOTICE, Filters, Indexed, Passages, Rank, Ranking, passages_of

try:
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.server.transport_security import TransportSecuritySettings
    from mcp.types import ToolAnnotations
except ImportError:
    raise MissingExtraError("mcp>=2", "mcp", "the MCP server") from None

Text = Annotated[str, Field(min_length=1, max_length=100_000)]
TopK = Annotated[int, Field(ge=1, le=100, description="Number of results.")]
Task = Annotated[
    str | None, Field(max_length=2000, description="What makes a passage fit, in one English sentence.")
]
_READS = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
# Indexing writes the index alone, and does again what is done: nothing.
_WRITES = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)


@dataclass(frozen=True, slots=True)
class Shelf:
    """What the tools work with: `judge` orders what is found, `reranker` opens the one that `rerank` asks.

    Below `roots` may be indexed. One call computes at a time: models need not be safe to share.
    """

    index: Index
    embedder: Any
    judge: Any | None
    reranker: Callable[[], Any]
    roots: tuple[Path, ...] = ()
    turn: Lock = field(default_factory=Lock)

    def search(self, query: str, **options: Any) -> list[Hit]:
        """Hits, for someone who sees the index and not the disk."""
        return self.index.search_as(self.embedder, self.judge, query, **options)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """One call's turn; what the caller can mend is said, what it cannot goes to the log alone."""
        try:
            with self.turn:
                yield
        except InputError as error:
            raise ToolError(str(error)) from None
        except LingxiError as error:
            raise ToolError("the index or a model cannot be used; the server's log says why") from error


Tools = Callable[[Callable[..., None]], None]
"""More tools that read: given `add(function, title)`, which takes them in."""


def make_server(shelf: Shelf, *, write: bool = False, more: Sequence[Tools] = ()) -> MCPServer[Any]:
    """The server of an index; without `write` it has no tool that changes anything.

    `more` are tools of other rooms, which read only.
    """
    server: MCPServer[Any] = MCPServer(
        "lingxi",
        version=__version__,
        instructions=f"Searches files by meaning. {NOTICE}",
        log_level="WARNING",
    )
    _add_reading(server, shelf)
    for tools in more:
        tools(lambda tool, title, **hints: _add(server, tool, title, **hints))
    if write:
        _add_writing(server, shelf)
    return server


def _add(server: MCPServer[Any], tool: Callable[..., Any], title: str, *, asks_others: bool = False) -> None:
    """A tool that reads; it `asks_others` where a server elsewhere has a part in the answer."""
    hints = _READS.model_copy(update={"open_world_hint": True}) if asks_others else _READS
    server.add_tool(tool, title=title, annotations=hints, structured_output=True)


def _add_reading(server: MCPServer[Any], shelf: Shelf) -> None:
    def search(
        query: Text, top_k: TopK = 10, filters: Filters | None = None, instruction: Task = None
    ) -> Passages:
        """Find the passages of the indexed files that mean what a query asks, in any language."""
        where = filters.model_dump() if filters else {}
        with shelf.at_work():
            return passages_of(shelf.search(query, top_k=top_k, instruction=instruction, **where))

    def similar(text: Text, top_k: TopK = 10, filters: Filters | None = None) -> Passages:
        """Find the passages of the indexed files that say what a text says."""
        with shelf.at_work():
            return passages_of(shelf.index.similar(text, top_k, **(filters.model_dump() if filters else {})))

    def rerank(
        query: Text, documents: Annotated[list[str], Field(max_length=1000)], instruction: Task = None
    ) -> Ranking:
        """Order documents by how well they meet a query and an instruction."""
        with shelf.at_work():
            found = shelf.reranker().rank(query, documents, instruction=instruction)
        return Ranking(results=[Rank(index=one["corpus_id"], score=one["score"]) for one in found])

    for tool, title in (
        (search, "Search by meaning"),
        (similar, "Find what is similar"),
        (rerank, "Order documents"),
    ):
        _add(server, tool, title)


def _add_writing(server: MCPServer[Any], shelf: Shelf) -> None:
    def index(paths: Annotated[list[str], Field(min_length=1, max_length=1000)]) -> Indexed:
        """Bring the index to what files and folders hold now: new, changed and gone."""
        with shelf.at_work():
            report = shelf.index.add([_allowed(path, shelf.roots) for path in paths])
        counts = {name: getattr(report, name) for name in ("added", "changed", "unchanged", "removed")}
        return Indexed(**counts, skipped=len(report.skipped))

    server.add_tool(index, title="Index files", annotations=_WRITES, structured_output=True)


def _allowed(path: str, roots: Sequence[Path]) -> Path:
    """The file or folder, links followed, below one of the roots; whatever else there is stays unsaid."""
    for root in roots:
        found = (root / path).resolve()
        if is_below(str(found), str(root.resolve())) and found.exists():
            return found
    raise InputError(f"{path}: not found below the folders that may be indexed", "name a path below them")


def serve_stdio(server: MCPServer[Any]) -> None:
    """Serve on standard input and output until the input ends."""
    server.run("stdio")


def serve_http(server: MCPServer[Any], port: int) -> None:
    """Serve at http://127.0.0.1:PORT/mcp, for programs of this machine alone.

    A request that names another host, or comes from a web page (it has an Origin), is refused.
    """
    names = [f"127.0.0.1:{port}", f"localhost:{port}"]
    security = TransportSecuritySettings(allowed_hosts=names, allowed_origins=[])
    server.run("streamable-http", host="127.0.0.1", port=port, transport_security=security)
