"""What is asked of a server for each call of the face, and what its answers make.

A plan is a coroutine that asks by `Server.fetch` alone, with requests that may go side by side. An event loop
awaits it; a `Client`, whose `fetch` never waits for a loop, runs it to its end at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi import prompts, vectors
from lingxi.client import wire
from lingxi.client.sending import Ask
from lingxi.client.server import Server, cards, embedder, named, ours
from lingxi.errors import InputError
from lingxi.texts import Rows, checked, checked_pairs, progress, windows


async def encode(
    server: Server,
    inputs: str | Iterable[str],
    *,
    instruction: str | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
    truncate_dim: int | None = None,
    precision: str = "float32",
    show_progress_bar: bool | None = None,
) -> NDArray[Any]:
    """Unit vectors [n, dim] of texts, or [dim] of one string, as `Embedder.encode` in process.

    Longer texts than the model reads are cut by a lingxi server, without a word; an empty text is refused.

    `prompt_name` is known to a lingxi server, or from the client's `prompts`; int8 and uint8 to a lingxi
    server alone. Raises InputError for these elsewhere, NoAnswerError where the server gives no vectors.
    """
    coded = precision if vectors.check_precision(precision) in ("int8", "uint8") else "float32"
    before, fields = await _prompted(server, instruction, prompt_name, prompt)
    fields |= {"dimensions": truncate_dim} if truncate_dim is not None else {}
    if coded != "float32":
        await ours(server, f"precision {precision!r}")
        fields |= {"embed_dtype": coded}
    # Longer texts are cut, as in process; what others do with them is their custom.
    fields |= {"truncate_prompt_tokens": -1} if await cards(server) else {}
    fields |= await named(server, server.model)
    texts: Iterable[str] = [inputs] if isinstance(inputs, str) else inputs
    total = len(texts) if isinstance(texts, Sequence) else None
    parts: list[NDArray[Any]] = []
    rows = Rows()
    with progress(total, show_progress_bar, "embedding") as done:
        for window in windows((before + text for text in checked(texts)), len):
            parts += await server.fetch(_vectors(server, rows.fresh(window, str), fields, coded))
            done(len(window))
    if not parts:
        return np.empty((0, truncate_dim or (await dimension(server))), coded)
    out = rows.all(np.concatenate(parts))
    out = out if coded != "float32" else vectors.quantize(out, precision)
    return np.asarray(out[0]) if isinstance(inputs, str) else out


async def encode_query(
    server: Server, /, inputs: str | Iterable[str], *, instruction: str | None = None, **options: Any
) -> NDArray[Any]:
    """`encode` with the model's query prompt, or with `instruction` as the task."""
    name = "query" if instruction is None else None
    return await encode(server, inputs, instruction=instruction, prompt_name=name, **options)


async def encode_document(server: Server, /, inputs: str | Iterable[str], **options: Any) -> NDArray[Any]:
    """`encode` with the model's document prompt."""
    return await encode(server, inputs, prompt_name="document", **options)


async def predict(
    server: Server,
    pairs: Iterable[tuple[str, str]],
    *,
    instruction: str | None = None,
    show_progress_bar: bool | None = None,
) -> NDArray[np.float32]:
    """Score [n] of each (query, document) pair, in the order given, as `Reranker.predict` in process.

    A server that is not lingxi scores as it does, and takes no instruction: raises InputError for one.
    """
    given = list(checked_pairs(pairs))
    fields: dict[str, Any] = {}
    if instruction is not None:
        await ours(server, "instructions for reranking")
        fields = {"instruction": instruction}
    fields |= await named(server, server.reranker)
    out = np.empty(len(given), np.float32)
    places, asks = [], []
    for query, at in wire.by_query(given).items():
        for own in server.batches(at, lambda i: wire.size(given[i][0]) + wire.size(given[i][1])):
            places.append(own)
            asks.append(wire.rerank(query, [given[i][1] for i in own], fields))
    with progress(len(given), show_progress_bar, "reranking") as done:
        for own, scores in zip(places, await server.fetch(asks), strict=True):
            out[own] = scores
            done(len(own))
    return out


async def rank(
    server: Server,
    query: str,
    documents: Sequence[str],
    *,
    top_k: int | None = None,
    instruction: str | None = None,
    return_documents: bool = True,
) -> list[dict[str, Any]]:
    """The documents by falling score: `[{"corpus_id", "score", "text"}]`, at most `top_k`.

    Equal scores keep the order given. Raises InputError for a `top_k` below 1, and as `predict`.
    """
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}", "choose 1 or more, or leave it out for all")
    if isinstance(documents, str):
        raise InputError("documents is one string", "pass a list of strings")
    scores = await predict(server, [(query, d) for d in documents], instruction=instruction)
    order = np.argsort(-scores, kind="stable")[:top_k]
    return [
        {"corpus_id": int(i), "score": float(scores[i])}
        | ({"text": documents[i]} if return_documents else {})
        for i in order
    ]


async def fingerprint(server: Server) -> dict[str, str | int]:
    """What a stored vector depends on, as the embedder says in process; raises InputError elsewhere."""
    return dict((await embedder(server, "a fingerprint"))["fingerprint"])


async def dimension(server: Server) -> int:
    """Width of the vectors: a lingxi server says it, another is asked for a vector."""
    if await cards(server):
        return int((await embedder(server, "a width"))["fingerprint"]["dim"])
    fields = await named(server, server.model)
    (found,) = await server.fetch(_vectors(server, ["width"], fields, "float32"))
    return int(found.shape[1])


async def _prompted(
    server: Server, instruction: str | None, name: str | None, prompt: str | None
) -> tuple[str, dict[str, Any]]:
    """What is put before each text here, and the field by which the server is to put its own prompt."""
    if sum(given is not None for given in (instruction, name, prompt)) > 1:
        raise InputError("instruction, prompt_name and prompt exclude each other", "give one of them")
    if instruction is not None:
        return prompts.query_prefix(instruction), {}
    if name is None:
        return prompt or "", {}
    if name in server.prompts:
        return server.prompts[name], {}
    if await cards(server):
        return "", {"prompt_name": name}
    if name == "document":
        return "", {}
    raise InputError(
        f"the server is not lingxi, and its prompt {name!r} is not known",
        f"give an instruction, or the prompts of its model: prompts={{{name!r}: …}}",
    )


def _vectors(server: Server, texts: Sequence[str], fields: Mapping[str, Any], coded: str) -> list[Ask]:
    return [wire.embed(batch, fields, coded) for batch in server.batches(texts, wire.size)]
