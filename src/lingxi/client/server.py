"""What a client knows of a server: whether it is lingxi, which models it has, what a request may hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lingxi.asking import NoAnswerError
from lingxi.client import wire
from lingxi.client.sending import Ask
from lingxi.errors import InputError

T = TypeVar("T")
Fetch = Callable[[Sequence[Ask]], Awaitable[list[Any]]]


@dataclass(slots=True)
class Server:
    """Which models are asked, in requests of at most so many items and tokens; `own` once it is known.

    A text has at most as many tokens as bytes: bytes are counted, so that no request is refused for its size.
    """

    fetch: Fetch
    model: str | None = None
    reranker: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    max_items: int = 256
    max_tokens: int = 200_000
    own: Sequence[Mapping[str, Any]] | None = None
    first: str | None = None

    def batches(self, items: Iterable[T], tokens: Callable[[T], int]) -> Iterator[list[T]]:
        """Items in lists of what one request takes."""
        return wire.batches(items, tokens, self.max_items, self.max_tokens)


async def cards(server: Server) -> Sequence[Mapping[str, Any]]:
    """The models of a lingxi server, by name, kind and fingerprint; none of another. Asked once."""
    if server.own is None:
        try:
            (server.own,) = await server.fetch([Ask("/fingerprint", None, wire.cards, "fingerprints")])
        except NoAnswerError as error:
            if error.status in (None, 401, 403, 429) or error.status >= 500:
                raise
            server.own = ()
    return server.own


async def embedder(server: Server, what: str) -> Mapping[str, Any]:
    """The embedder that is asked; raises InputError where there is none of the name, and as `ours`."""
    fit = [card for card in await ours(server, what) if card["kind"] == "embedder"]
    found = [card for card in fit if server.model in (None, card["name"])]
    if not found:
        names = ", ".join(str(card["name"]) for card in fit) or "none"
        raise InputError(f"the server has no embedder {server.model or ''}", f"it has: {names}")
    return found[0]


async def ours(server: Server, what: str) -> Sequence[Mapping[str, Any]]:
    """The models of a lingxi server; raises InputError elsewhere, where `what` cannot be had."""
    own = await cards(server)
    if not own:
        raise InputError(f"the server is not lingxi, which alone has {what}", "leave it out")
    return own


async def named(server: Server, model: str | None) -> dict[str, Any]:
    """The field `model`: as given, left to a lingxi server, else the first that the server lists."""
    if model is not None or await cards(server):
        return {"model": model} if model is not None else {}
    if server.first is None:
        (server.first,) = await server.fetch([Ask("/v1/models", None, wire.first, "models")])
    return {"model": server.first}
