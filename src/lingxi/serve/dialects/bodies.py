"""What the dialects share: strict bodies, prompts by others' names, the order of results, errors as JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Annotated, Any, Protocol, TypeVar

import numpy as np
from fastapi import Request
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from lingxi.serve.contract import Caller, Wanted
from lingxi.serve.refusal import Refusal, invalid

T = TypeVar("T")

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


class Attend(Protocol):
    """Does the work of a request for its caller, and stops it where the client leaves."""

    async def __call__(self, request: Request, make: Callable[[Caller], Awaitable[T]]) -> T:
        """What `make` gives."""
        ...


class Body(BaseModel):
    """A request's body: a field that is not known, or of another type, is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


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


def said(error: Refusal) -> str:
    """A refusal in one line."""
    return f"{error.reason}; {error.remedy}"


def failed(error: Refusal, content: Any, status: int | None = None) -> JSONResponse:
    """An error's body with its status, and when to ask again."""
    wait = {} if error.retry_after is None else {"Retry-After": str(max(1, round(error.retry_after)))}
    return JSONResponse(content, status or error.status, wait)
