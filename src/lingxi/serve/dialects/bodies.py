"""What the dialects share: strict bodies and their routes, prompts by others' names, the order of results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from lingxi.serve.attend import Attend
from lingxi.serve.contract import Caller, Wanted
from lingxi.serve.exchange import Bare, answer, read, takes
from lingxi.serve.refusal import invalid
from lingxi.serve.service import Service

B = TypeVar("B", bound=BaseModel)
Make = Callable[[Service, B, Caller], Awaitable[Any]]

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
# What others call a query and a document, and the names of the model's prompts for them.
_PROMPTS = {
    "query": "query",
    "search_query": "query",
    "retrieval.query": "query",
    "document": "document",
    "search_document": "document",
    "retrieval.passage": "document",
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "Something in the request is not understood, or not done here"},
    404: {"description": "No such model or index"},
    413: {"description": "Too much in one request"},
    422: {"description": "The body has not the fields that are taken"},
    424: {"description": "No model here computes this"},
    429: {"description": "Too much waits: Retry-After says how long"},
    503: {"description": "Starting or shutting down"},
    504: {"description": "Not ready in time"},
}


class Body(BaseModel):
    """A request's body: a field that is not known, or of another type, is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


def posts(
    routes: APIRouter, path: str, model: type[B], make: Make[B], service: Service, attend: Attend
) -> None:
    """A route that reads a body, and answers with what is made of it."""

    async def route(request: Request) -> Response:
        body = await read(request, model)
        return answer(await attend(request, lambda caller: make(service, body, caller)))

    path_of(routes, path, model, route, make)


def path_of(
    routes: APIRouter,
    path: str,
    model: type[BaseModel],
    route: Callable[[Request], Awaitable[Response]],
    named: Callable[..., Any] | None = None,
) -> None:
    """A route that reads a body by itself, described by that and the function `named` (or itself)."""
    said = named or route
    routes.add_api_route(
        path,
        route,
        methods=["POST"],
        route_class_override=Bare,
        name=said.__name__,
        description=said.__doc__,
        openapi_extra=takes(model),
        responses=_REFUSALS,
    )


def prompted(
    wanted: Wanted, prompts: Collection[str], said: str | None, field: str, instruction: str | None = None
) -> Wanted:
    """With the prompt that an `input_type` or `task` asks for, or the instruction; none said: text as it is.

    A prompt of the model may be named by its own name. An instruction is for queries. Raises Refusal 400.
    """
    name = _PROMPTS.get(said or "", said)
    if name is not None and name not in prompts:
        known = ", ".join(sorted({*(k for k, v in _PROMPTS.items() if v in prompts), *prompts}))
        raise invalid(
            f"{field} {name[:60]!r} is none that the model was taught",
            f"choose one of {known}, or say the task in instruction",
            field,
        )
    if instruction is None:
        return replace(wanted, prompt_name=name)
    if name not in (None, "query"):
        raise invalid(f"instruction and {field} {said!r} exclude each other", "instruct queries only", field)
    return replace(wanted, instruction=instruction)


def ranked(scores: NDArray[Any], top: int | None) -> list[int]:
    """Places by falling score, equal ones in the order given."""
    order: list[int] = np.argsort(-scores, kind="stable")[:top].tolist()
    return order
