"""What lingxi alone serves: passages of its index, and segments of documents with their vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lingxi.client.sending import Ask
from lingxi.client.server import Server, named, ours
from lingxi.client.wire import placed, size
from lingxi.index.search import Hit
from lingxi.serve.contract import Segment
from lingxi.texts import checked
from lingxi.vectors import check_precision


async def search(
    server: Server,
    query: str,
    top_k: int = 10,
    instruction: str | None = None,
    rerank: bool = True,
    below: Sequence[str | Path] = (),
    kinds: Sequence[str] = (),
    languages: Sequence[str] = (),
) -> list[Hit]:
    """The best `top_k` passages of the server's index, best first, as `Index.search` in process.

    With `rerank` a reranker of the server orders them, if it has one; `below` names paths as hits show them.
    """
    judged = any(card["kind"] == "reranker" for card in await ours(server, "an index to search"))
    named = {"below": [str(path) for path in below], "kinds": [*kinds], "languages": [*languages]}
    given = {name: values for name, values in named.items() if values}
    body = {"query": query, "top_k": top_k, "rerank": rerank and judged, **given}
    asked = body if instruction is None else {**body, "instruction": instruction}
    (found,) = await server.fetch([Ask("/search", asked, _hits, "passages")])
    return list(found)


async def segment(
    server: Server,
    documents: Sequence[str],
    *,
    max_tokens: int = 256,
    late: bool = False,
    truncate_dim: int | None = None,
    precision: str = "float32",
) -> list[list[Segment]]:
    """Each document in segments of whole sentences, at most `max_tokens` of its tokens, with vectors [dim].

    Each is embedded by itself, or, with `late`, after all before it (late chunking).
    """
    await ours(server, "segments")
    fields = {"max_tokens": max_tokens, "late": late, "precision": check_precision(precision)}
    fields |= {} if truncate_dim is None else {"dimensions": truncate_dim}
    fields |= await named(server, server.model)
    asks = [
        Ask("/segment", {"documents": batch, **fields}, _segments(len(batch), precision), "segments")
        for batch in server.batches(checked(documents), size)
    ]
    return [own for found in await server.fetch(asks) for own in found]


def _hits(answer: Any) -> list[Hit]:
    names = ("path", "start", "end", "first_line", "last_line", "text", "score", "scores", "ranks")
    return [
        Hit(**{name: one[name] for name in names}, sentence=tuple(one["sentence"])) for one in answer["hits"]
    ]


def _segments(count: int, precision: str) -> Callable[[Any], list[list[Segment]]]:
    kind = np.dtype({"binary": "int8", "ubinary": "uint8"}.get(precision, precision))

    def one(said: Mapping[str, Any]) -> Segment:
        vector = np.asarray(said["embedding"], kind)
        return Segment(said["start"], said["stop"], said["text"], said["tokens"], vector)

    def read(answer: Any) -> list[list[Segment]]:
        """The segments of each document, in the order asked."""
        return [[one(said) for said in own] for own in placed(answer["data"], "segments", count)]

    return read
