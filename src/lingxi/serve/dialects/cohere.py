"""Cohere: `/v2/embed` and `/v1/embed`, and the paths of reranking that others share (`rerank`).

`input_type` picks the model's prompt: `search_query` and `search_document`, or a prompt by its own name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from lingxi.inputs import Mixed, pictures_in
from lingxi.serve.attend import Attend
from lingxi.serve.contract import Caller, Card, Embedded, Wanted
from lingxi.serve.dialects.bodies import Body, Count, posts, prompted
from lingxi.serve.dialects.parts import Part, input_of
from lingxi.serve.dialects.rerank import Rerank, reranked
from lingxi.serve.exchange import answer, base64_of
from lingxi.serve.refusal import Refusal, invalid
from lingxi.serve.service import Service

EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]
_PRECISIONS = {"float": "float32", "base64": "float32"}


class Parts(Body):
    """An input of parts, as the newer API sends it."""

    content: Annotated[list[Part], Field(min_length=1)]


class Embed(Body):
    """Texts and the kinds of vectors wanted of them; `instruction` is ours, and makes queries of them."""

    model: str | None = None
    texts: list[str] | None = None
    images: list[str] | None = None
    inputs: list[Parts] | None = None
    input_type: str | None = None
    instruction: str | None = None
    embedding_types: list[EmbeddingType] | None = None
    output_dimension: Count | None = None
    max_tokens: Count | None = None
    truncate: Literal["END", "START", "NONE"] | None = None
    priority: Literal[0] | None = None


def router(service: Service, attend: Attend) -> APIRouter:
    """Cohere's paths, which Jina, Voyage and vLLM share for reranking."""
    routes = APIRouter(tags=["Cohere"])
    posts(routes, "/v1/embed", Embed, embedded_1, service, attend)
    posts(routes, "/v2/embed", Embed, embedded_2, service, attend)
    posts(routes, "/v1/rerank", Rerank, reranked_1, service, attend)
    posts(routes, "/v2/rerank", Rerank, reranked_2, service, attend)
    return routes


async def reranked_1(service: Service, body: Rerank, caller: Caller) -> dict[str, Any]:
    """Order documents by how well they answer a query: Cohere v1, Jina, Voyage, vLLM."""
    return await reranked(service, body, caller, "1")


async def reranked_2(service: Service, body: Rerank, caller: Caller) -> dict[str, Any]:
    """Order documents by how well they answer a query: Cohere v2, vLLM."""
    return await reranked(service, body, caller, "2")


async def embedded_1(service: Service, body: Embed, caller: Caller) -> dict[str, Any]:
    """Vectors as floats, or by type where types are asked for."""
    found = await embedded_2(service, body, caller)
    found["meta"]["api_version"]["version"] = "1"
    if body.embedding_types is not None:
        return found
    return {**found, "response_type": "embeddings_floats", "embeddings": found["embeddings"]["float"]}


async def embedded_2(service: Service, body: Embed, caller: Caller) -> dict[str, Any]:
    """Vectors of every type asked for."""
    inputs = _inputs(body)
    wanted = _wanted(body, service.card(body.model, "embedder"))
    types: Sequence[EmbeddingType] = body.embedding_types or ["float"]
    precisions = [_PRECISIONS.get(kind, kind) for kind in types]
    found = await service.embed_each(inputs, wanted, precisions, caller, model=body.model)
    looked = sum(map(pictures_in, inputs))
    billed = {"input_tokens": sum(found[0].tokens)} | ({"images": looked} if looked else {})
    return {
        "id": caller.request,
        "response_type": "embeddings_by_type",
        "embeddings": {kind: _rows(one, kind) for kind, one in zip(types, found, strict=True)},
        "texts": [item for item in inputs if isinstance(item, str)],
        "meta": {"api_version": {"version": "2"}, "billed_units": billed},
    }


def _rows(found: Embedded, kind: EmbeddingType) -> list[Any]:
    return [base64_of(row) if kind == "base64" else row for row in found.vectors]


def _wanted(body: Embed, card: Card) -> Wanted:
    truncate: Any = (body.truncate or "END").lower()
    wanted = Wanted(dim=body.output_dimension, truncate=truncate, max_tokens=body.max_tokens)
    return prompted(wanted, card.prompts, body.input_type, "input_type", body.instruction)


def _inputs(body: Embed) -> list[str | Mixed]:
    given = [name for name in ("texts", "inputs", "images") if getattr(body, name)]
    if len(given) != 1:
        raise invalid(
            f"{' and '.join(given) or 'nothing'} to embed",
            "send texts, images or inputs, one of them",
            "texts",
        )
    if body.texts:
        return list(body.texts)
    if body.images:
        return [Mixed(images=(url,)) for url in body.images]
    return [input_of(one.content, "inputs") for one in body.inputs or []]


def refusal(error: Refusal) -> Response:
    """Cohere's error: a message. `detail` is where Jina's and Voyage's clients look."""
    said = str(error)
    return answer({"message": said, "detail": said}, 400 if error.status == 422 else error.status)
