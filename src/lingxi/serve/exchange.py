"""Bodies in and out: read into a model in one pass, described in the OpenAPI document, written by orjson.

FastAPI reads a body into Python values, checks those, and encodes an answer value by value; for vectors both
cost more than a short query's pass through a small model.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

import orjson
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

M = TypeVar("M", bound=BaseModel)


class Bare(APIRoute):
    """A route whose endpoint takes the request and gives the answer: FastAPI describes it, no more."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself."""
        return cast(Callable[[Request], Coroutine[Any, Any, Response]], self.endpoint)


def takes(*models: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads one of these models from its body."""
    schemas = [model.model_json_schema(ref_template="#/components/schemas/{model}") for model in models]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def read(request: Request, model: type[M]) -> M:
    """The body as a model; raises RequestValidationError, whose shape is the dialect's."""
    body = await request.body()
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_input=False, include_url=False)) from None


def answer(value: Any, status: int = 200) -> Response:
    """A JSON answer; arrays of numbers may stand in it as they are."""
    return Response(
        orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json"
    )


def base64_of(row: NDArray[Any], big: bool = False) -> str:
    """The numbers of a row as base64, lowest byte first."""
    ordered = row.dtype.newbyteorder(">") if big else row.dtype.newbyteorder("<")
    return base64.b64encode(row.astype(ordered, copy=False).tobytes()).decode()


def hoisted(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document with the `$defs` of bodies moved to where references look for them."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            schemas.update(node.pop("$defs", {}))
            for value in list(node.values()):
                visit(value)
        elif isinstance(node, list):
            for value in node:
                visit(value)

    visit(document["paths"])
    return document
