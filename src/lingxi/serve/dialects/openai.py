"""OpenAI's dialect: `/v1/embeddings` and `/v1/models`, with what vLLM and this server add to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictInt,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response

from lingxi.inputs import Mixed
from lingxi.serve.attend import Attend
from lingxi.serve.contract import Caller, Card, Embedded, Wanted
from lingxi.serve.dialects.parts import Item, Message, conversation, item_of
from lingxi.serve.dialects.words import others_words
from lingxi.serve.exchange import Bare, answer, base64_of, read, takes
from lingxi.serve.refusal import Refusal, RefusalKind, invalid
from lingxi.serve.service import Service
from lingxi.texts import Truncate

_ITEM_SCHEMA = {
    "type": "object",
    "minProperties": 1,
    "properties": {
        "text": {"type": "string"},
        "image": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "video": {"type": "array", "minItems": 1, "items": {"type": "string"}},
        "audio": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "content": {"type": "array", "items": {"type": "object"}},
    },
}
_INPUT_SCHEMA = {
    "description": "A text, texts, the token ids of one text, or those of several; of a model that reads "
    "pictures or sound also objects of `text`, `image`, `video` (frames) and `audio`, as data: URLs.",
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
        {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}},
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}},
        },
        {
            "type": "array",
            "minItems": 1,
            "items": {"anyOf": [{"type": "string", "minLength": 1}, _ITEM_SCHEMA]},
        },
    ],
}


def _input(given: Any) -> list[Any]:
    """Texts, or token ids a text; written out, as a union would try a long list as each of its members.

    Objects are inputs of several things, and may stand among texts.
    """
    if isinstance(given, str | dict):
        given = [given]
    if not isinstance(given, list):
        raise _wrong("should be a text, a list of texts, or token ids")
    if not given:
        raise _wrong("should not be empty")
    kinds = set(map(type, given))
    if dict in kinds and kinds <= {dict, str}:
        return [item if isinstance(item, str) else _item(item, place) for place, item in enumerate(given)]
    if kinds == {int}:
        given, kinds = [given], {list}
    if kinds not in ({str}, {list}):
        raise _wrong("should hold texts alone, or token ids alone")
    for place, item in enumerate(given):
        if not item:
            raise _wrong(f"number {place} should not be empty")
        if kinds == {list} and (set(map(type, item)) != {int} or min(item) < 0):
            raise _wrong(f"number {place} should hold token ids alone, whole numbers from 0")
    return list(given)


def _chat_alone(body: Any) -> Any:
    """A body of messages with something in the place of input, which it may not have beside them."""
    if not isinstance(body, dict) or body.get("messages") is None:
        return body
    if "input" in body:
        raise invalid("input and messages exclude each other", "send one of them", "messages")
    return {**body, "input": "messages"}


def _item(item: dict[str, Any], place: int) -> str | Mixed:
    try:
        return item_of(Item.model_validate(item), "input")
    except ValidationError:
        raise _wrong(f"number {place} should hold text, image, video, audio or content") from None


def _wrong(what: str) -> PydanticCustomError:
    return PydanticCustomError("input", "{what}", {"what": what})


class EmbeddingRequest(BaseModel):
    """What `/v1/embeddings` takes; fields from `instruction` on are not OpenAI's."""

    model_config = ConfigDict(extra="forbid", title="EmbeddingRequest")

    input: Annotated[list[Any], PlainValidator(_input), WithJsonSchema(_INPUT_SCHEMA)]
    model: str | None = Field(None, description="A name of /v1/models; left out: the first embedder.")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[StrictInt, Field(ge=1)] | None = Field(
        None, description="Width that vectors are cut to."
    )
    user: str | None = Field(None, description="Taken for compatibility; nothing depends on it.")
    instruction: str | None = Field(None, description="The task that the texts are queries of.")
    prompt_name: str | None = Field(None, description="A prompt of the model by its name.")
    input_type: Literal["query", "document", "passage"] | None = None
    embed_dtype: Literal["float32", "int8", "uint8", "binary", "ubinary"] = "float32"
    endianness: Literal["native", "little", "big"] = Field(
        "native", description="Of base64; native is little."
    )
    truncate_prompt_tokens: Annotated[StrictInt, Field(ge=-1)] | None = Field(
        None,
        description="Cut longer inputs to so many tokens, -1: to the model's limit; left out: refuse them.",
    )
    truncation_side: Literal["left", "right"] = Field("right", description="What a longer input loses.")
    messages: Annotated[list[Message], Field(min_length=1)] | None = Field(
        None,
        description="In the place of input, one input as a chat (vLLM), the system's turn its task.",
    )

    _chat = model_validator(mode="before")(_chat_alone)
    _others = model_validator(mode="before")(others_words)


def router(service: Service, attend: Attend) -> APIRouter:
    """The dialect's routes."""
    routes = APIRouter(tags=["OpenAI"])

    async def embeddings(request: Request) -> Response:
        """Vectors of texts."""
        body = await read(request, EmbeddingRequest)
        inputs, wanted = _asked(body)

        async def make(caller: Caller) -> Embedded:
            return await service.embed(inputs, wanted, caller, model=body.model)

        found = await attend(request, make)
        return answer(_embeddings(found, body, service.card(body.model, "embedder")))

    for path in ("/v1/embeddings", "/embeddings"):
        routes.add_api_route(
            path,
            embeddings,
            methods=["POST"],
            route_class_override=Bare,
            openapi_extra=takes(EmbeddingRequest),
            responses=_RESPONSES,
        )

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        """What is served."""
        return {"object": "list", "data": [_model(card) for card in service.cards()]}

    @routes.get("/v1/models/{model:path}", responses={404: _said(_ERROR, "No such model")})
    async def model(model: str) -> dict[str, Any]:
        """One of them."""
        for card in service.cards():
            if card.name == model:
                return _model(card)
        raise Refusal(
            404, "not_found", "the model is not served here", "name one of /v1/models", param="model"
        )

    return routes


def _asked(body: EmbeddingRequest) -> tuple[list[Any], Wanted]:
    """The inputs, and how they become vectors; raises Refusal 400 for a chat that is no input."""
    wanted = _wanted(body)
    if body.messages is None:
        return body.input, wanted
    item, instruction = conversation(body.messages, "messages")
    if instruction is not None and wanted.instruction is None and wanted.prompt_name is None:
        wanted = replace(wanted, instruction=instruction)
    return [item], wanted


def _wanted(body: EmbeddingRequest) -> Wanted:
    """How the texts become vectors; raises Refusal 400 for fields that contradict one another."""
    prompt = body.prompt_name
    if body.input_type is not None:
        if prompt is not None:
            raise invalid("input_type and prompt_name exclude each other", "give one of them", "input_type")
        if body.instruction is not None and body.input_type != "query":
            raise invalid("an instruction is of queries", "leave out input_type, or say query", "input_type")
        if body.instruction is None:
            prompt = "query" if body.input_type == "query" else "document"
    if body.truncate_prompt_tokens == 0:
        raise invalid("no tokens are left of an input", "choose 1 or more, or -1", "truncate_prompt_tokens")
    limit = body.truncate_prompt_tokens
    truncate: Truncate = "none" if limit is None else "start" if body.truncation_side == "left" else "end"
    return Wanted(
        instruction=body.instruction,
        prompt_name=prompt,
        dim=body.dimensions,
        precision=body.embed_dtype,
        truncate=truncate,
        max_tokens=None if limit in (None, -1) else limit,
    )


def _embeddings(found: Embedded, body: EmbeddingRequest, card: Card) -> dict[str, Any]:
    big = body.endianness == "big"
    rows: Sequence[NDArray[Any] | str] = list(np.asarray(found.vectors))
    if body.encoding_format == "base64":
        rows = [base64_of(row, big) for row in found.vectors]
    total = sum(found.tokens)
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)],
        "model": card.name,
        "usage": {"prompt_tokens": total, "total_tokens": total},
    }


def _model(card: Card) -> dict[str, Any]:
    return {
        "id": card.name,
        "object": "model",
        "created": card.opened,
        "owned_by": "lingxi",
        "kind": card.kind,
        "dimensions": list(card.dims) if card.kind == "embedder" else [],
        "max_model_len": card.max_length,
        "parent": card.adapter_of,
    } | ({"modalities": list(card.modalities)} if len(card.modalities) > 1 else {})


_SAID: dict[RefusalKind, tuple[str, str | None]] = {
    "invalid_input": ("invalid_request_error", None),
    "unauthorized": ("invalid_request_error", "invalid_api_key"),
    "not_found": ("invalid_request_error", "not_found"),
    "too_large": ("invalid_request_error", "too_large"),
    "overloaded": ("rate_limit_error", "rate_limit_exceeded"),
    "late": ("server_error", "timeout"),
    "unready": ("server_error", "unavailable"),
    "backend": ("server_error", None),
}


def refusal(error: Refusal) -> Response:
    """`{"error": {"message", "type", "param", "code"}}`; what fails a check is 400, as OpenAI's own."""
    kind, code = _SAID[error.kind]
    if error.kind == "not_found" and error.param == "model":
        code = "model_not_found"
    status = 400 if error.status == 422 or (error.status == 413 and error.param) else error.status
    said = {"message": str(error), "type": kind, "param": error.param, "code": code}
    return answer({"error": said}, status)


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_LIST = {
    "type": "object",
    "required": ["object", "data", "model", "usage"],
    "properties": {
        "object": {"const": "list"},
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["object", "index", "embedding"],
                "properties": {
                    "object": {"const": "embedding"},
                    "index": {"type": "integer"},
                    "embedding": {
                        "anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}]
                    },
                },
            },
        },
        "model": {"type": "string"},
        "usage": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
}


def _said(schema: dict[str, Any], what: str) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": schema}}}


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: _said(_LIST, "Vectors, in the order of the inputs"),
    400: _said(_ERROR, "Something in the request is not understood, or too much"),
    404: _said(_ERROR, "No such model"),
    429: _said(_ERROR, "Too much waits: Retry-After says how long"),
    503: _said(_ERROR, "Starting or shutting down"),
    504: _said(_ERROR, "Not ready in time"),
}
