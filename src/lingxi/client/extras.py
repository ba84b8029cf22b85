"""What lingxi alone serves: what its index holds, and segments of documents with their vectors."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lingxi.client.sending import Ask
from lingxi.client.server import Server, named, ours
from lingxi.client.wire import placed, size
from lingxi.errors import InputError
from lingxi.index.search import Hit
from lingxi.serve.contract import Segment
from lingxi.texts import checked
from lingxi.vectors import check_precision

if TYPE_CHECKING:
    from lingxi.index.media import MediaHit


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
    narrowed = _narrowed(top_k, instruction, below, kinds, languages)
    asked = {"query": query, "rerank": rerank and judged, **narrowed}
    (found,) = await server.fetch([Ask("/search", asked, _hits, "passages")])
    return list(found)


async def search_media(
    server: Server,
    query: str | Path,
    top_k: int = 10,
    instruction: str | None = None,
    below: Sequence[str | Path] = (),
    kinds: Sequence[str] = (),
) -> list[MediaHit]:
    """The best `top_k` pictures, recordings and pages (each) of the server's index, as `MediaIndex.search`.

    A string is words; a Path is a picture or recording here, which is sent as an example. Raises InputError
    for a file that is neither, and where the server's index holds texts alone.
    """
    await ours(server, "an index to search")
    asked = {"query": query} if isinstance(query, str) else _example(query)
    narrowed = _narrowed(top_k, instruction, below, kinds)
    (found,) = await server.fetch([Ask("/search", {**asked, **narrowed}, _media, "pictures and sound")])
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


def _narrowed(
    top_k: int,
    instruction: str | None,
    below: Sequence[str | Path],
    kinds: Sequence[str],
    languages: Sequence[str] = (),
) -> dict[str, Any]:
    """What a search is asked beside its query; what was not given is left to the server."""
    named = {"below": [str(path) for path in below], "kinds": [*kinds], "languages": [*languages]}
    given: dict[str, Any] = {name: values for name, values in named.items() if values}
    given |= {} if instruction is None else {"instruction": instruction}
    return {"top_k": top_k, **given}


def _example(path: Path) -> dict[str, str]:
    """A file as the example that a search is sent."""
    from lingxi.index.media_files import kind_of_name

    kind = kind_of_name(path)
    if kind not in ("image", "audio"):
        raise InputError(
            f"{path} is neither a picture nor a recording", "give words as a string, or the path of one"
        )
    try:
        data = base64.b64encode(path.expanduser().read_bytes()).decode()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", "give a file that can be read") from None
    # The server goes by what the bytes are.
    return {kind: f"data:application/octet-stream;base64,{data}"}


def _media(answer: Any) -> list[MediaHit]:
    # Not above: it brings torch, which other calls of a client do without.
    from lingxi.index.media import MediaHit

    if "media" not in answer:
        raise InputError(
            "the server's index holds texts alone",
            "serve an index of pictures or sound by a model that reads them (docs/serve.md)",
        )
    return [
        MediaHit(one["path"], one["kind"], one["score"], one["page"] or 0, one["key"])
        for one in answer["media"]
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
