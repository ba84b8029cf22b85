"""What lingxi alone serves: passages of its index, and segments of documents with their vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lingxi.client.plans import Server, named
from lingxi.client.sending import Ask
from lingxi.client.wire import size, vector
from lingxi.index.search import Hit
from lingxi.texts import checked


@dataclass(frozen=True, slots=True)
class Segment:
    """`document[start:stop] == text`, the number of its tokens, and its vector [dim]."""

    start: int
    stop: int
    text: str
    tokens: int
    vector: NDArray[Any]


async def search(
    server: Server,
    query: str,
    top_k: int = 10,
    instruction: str | None = None,
    rerank: bool = True,
    below: Sequence[str] = (),
) -> list[Hit]:
    """The best `top_k` passages of the server's index, best first, as `Index.search` in process."""
    body = {"query": query, "top_k": top_k, "rerank": rerank, "below": [str(path) for path in below]}
    asked = {**body, **({} if instruction is None else {"instruction": instruction})}
    (found,) = await server.fetch([Ask("/search", asked, _hits, "passages")])
    return list(found)


async def segment(
    server: Server, documents: Sequence[str], *, max_tokens: int = 512, late: bool = False
) -> list[list[Segment]]:
    """Each document in segments of at most `max_tokens` tokens, with their vectors.

    With `late` a segment is embedded after all before it, in one pass a document (late chunking).
    """
    fields = {"max_tokens": max_tokens, "late": late, **await named(server, server.model)}
    asks = [
        Ask("/segment", {"documents": batch, **fields}, _segments, "segments")
        for batch in server.batches(checked(documents), size)
    ]
    return [own for found in await server.fetch(asks) for own in found]


def _hits(answer: Any) -> list[Hit]:
    return [_hit(one) for one in answer["hits"]]


def _hit(said: Mapping[str, Any]) -> Hit:
    names = ("path", "start", "end", "first_line", "last_line", "text", "score", "scores")
    marked = said["sentence"]
    return Hit(**{name: said[name] for name in names}, sentence=(marked["start"], marked["end"]))


def _segments(answer: Any) -> list[list[Segment]]:
    return [
        [
            Segment(s["start"], s["stop"], s["text"], s["tokens"], vector(s["embedding"], "float32"))
            for s in own
        ]
        for own in answer["data"]
    ]
