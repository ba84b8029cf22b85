"""Cohere: `/v2/embed` and `/v1/embed`, with what its clients ask of them; reranking is `rerank`'s.

`input_type` picks the model's prompt: `search_query` and `search_document`, or a prompt by its own name.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import Field

from lingxi import vectors
from lingxi.serve.contract import Caller, Card, Embedded, Wanted
from lingxi.serve.dialects import rerank
from lingxi.serve.dialects.bodies import Attend, Body, Count, failed, prompted, said
from lingxi.serve.refusal import Refusal, invalid
from lingxi.serve.service import Service

PATHS = ("/v1/embed", "/v2/embed", "/v1/rerank", "/v2/rerank")

EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]
_MADE_OF = {"float32": {"float", "base64", "binary", "ubinary"}, "int8": {"int8", "uint8"}}


class Part(Body):
    """One part of an input; pictures are refused in words."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: dict[str, str] | None = None


class Mixed(Body):
    """An input of parts, as the newer API sends it."""

    content: Annotated[list[Part], Field(min_length=1)]


class Embed(Body):
    """Texts and the kinds of vectors wanted of them; `instruction` is ours, and makes queries of them."""

    model: str | None = None
    texts: list[str] | None = None
    images: list[str] | None = None
    inputs: list[Mixed] | None = None
    input_type: str | None = None
    instruction: str | None = None
    embedding_types: list[EmbeddingType] | None = None
    output_dimension: Count | None = None
    max_tokens: Count | None = None
    truncate: Literal["END", "START", "NONE"] | None = None
    priority: Literal[0] | None = None


def router(service: Service, attend: Attend) -> APIRouter:
    """Cohere's paths, those of reranking among them."""
    routes = APIRouter(tags=["cohere"])

    @routes.post("/v2/embed", response_model=None)
    async def second(body: Embed, request: Request) -> dict[str, Any]:
        """Vectors of every type asked for."""
        return await attend(request, lambda caller: embedded(service, body, caller, "2"))

    @routes.post("/v1/embed", response_model=None)
    async def first(body: Embed, request: Request) -> dict[str, Any]:
        """Vectors as floats, or by type where types are asked for."""
        return await attend(request, lambda caller: embedded(service, body, caller, "1"))

    routes.include_router(rerank.router(service, attend))
    return routes


async def embedded(service: Service, body: Embed, caller: Caller, version: str) -> dict[str, Any]:
    """The answer of either version; version 1 without types is a bare list of floats."""
    texts = _texts(body)
    wanted = _wanted(body, service.card(body.model, "embedder"))
    types: Sequence[EmbeddingType] = body.embedding_types or ["float"]
    found = await _precisions(service, texts, wanted, types, caller, body.model)
    bare = version == "1" and body.embedding_types is None
    by_type = {kind: _coded(found, kind) for kind in types}
    tokens = sum(next(iter(found.values())).tokens)
    return {
        "id": caller.request,
        "response_type": "embeddings_floats" if bare else "embeddings_by_type",
        "embeddings": by_type["float"] if bare else by_type,
        "texts": texts,
        "meta": {"api_version": {"version": version}, "billed_units": {"input_tokens": tokens}},
    }


async def _precisions(
    service: Service,
    texts: Sequence[str],
    wanted: Wanted,
    types: Sequence[EmbeddingType],
    caller: Caller,
    model: str | None,
) -> dict[str, Embedded]:
    """What the types are made of: signs and base64 of floats, uint8 of int8."""
    names = [name for name, made in _MADE_OF.items() if made & {*types}]
    found = await asyncio.gather(
        *(service.embed(texts, replace(wanted, precision=name), caller, model=model) for name in names)
    )
    return dict(zip(names, found, strict=True))


def _coded(found: dict[str, Embedded], kind: EmbeddingType) -> list[Any]:
    if kind in ("int8", "uint8"):
        codes = found["int8"].vectors.astype(np.int16)
        return list((codes if kind == "int8" else codes + 128).tolist())
    floats: NDArray[np.float32] = found["float32"].vectors
    if kind == "base64":
        return [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in floats]
    return list((floats if kind == "float" else vectors.quantize(floats, kind)).tolist())


def _wanted(body: Embed, card: Card) -> Wanted:
    truncate: Any = (body.truncate or "END").lower()
    wanted = Wanted(dim=body.output_dimension, truncate=truncate, max_tokens=body.max_tokens)
    return prompted(wanted, card.prompts, body.input_type, "input_type", body.instruction)


def _texts(body: Embed) -> list[str]:
    given = [name for name in ("texts", "inputs", "images") if getattr(body, name)]
    if given == ["images"]:
        raise invalid("the model reads text alone", "send texts", "images")
    if len(given) != 1:
        raise invalid(
            f"{' and '.join(given) or 'nothing'} to embed", "send texts or inputs, one of them", "texts"
        )
    return body.texts if body.texts else [_text(one.content) for one in body.inputs or []]


def _text(parts: Sequence[Part]) -> str:
    texts = [part.text for part in parts if part.type == "text" and part.text is not None]
    if len(parts) != 1 or len(texts) != 1:
        raise invalid("an input is not one text", "send one part of the type text an input", "inputs")
    return texts[0]


def jina_task(wanted: Wanted, prompts: Sequence[str], task: str | None) -> Wanted:
    """With the prompt that Jina's `task` of `/v1/embeddings` asks for; raises Refusal 400 for one not taught.

    `retrieval.query` and `retrieval.passage` are the model's prompts; a symmetric task is an instruction.
    """
    return prompted(wanted, prompts, task, "task")


def refusal(error: Refusal) -> JSONResponse:
    """Cohere's error: a message. `detail` is where Jina's and Voyage's clients look."""
    text = said(error)
    return failed(error, {"message": text, "detail": text})
