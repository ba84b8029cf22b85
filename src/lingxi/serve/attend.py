"""One request's work: who asks, and that the work ends when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from starlette.requests import Request

from lingxi.serve.contract import Caller
from lingxi.serve.refusal import Refusal

T = TypeVar("T")
# What nginx writes into its log for a client that left; nobody reads the answer.
CLIENT_LEFT = 499


class Attend(Protocol):
    """Run the work of a request, made for its caller, and cancel it when the client leaves."""

    async def __call__(self, request: Request, make: Callable[[Caller], Awaitable[T]]) -> T:
        """What the work gives; raises its Refusal, or one of 499."""


def attending(deadline_s: float) -> Attend:
    """An `attend` whose callers have so many seconds."""

    async def attend(request: Request, make: Callable[[Caller], Awaitable[T]]) -> T:
        work, left = asyncio.current_task(), False

        async def watch() -> None:
            nonlocal left
            await _gone(request)
            left = True
            assert work is not None
            work.cancel()

        watcher = asyncio.ensure_future(watch())
        try:
            return await make(caller_of(request, deadline_s))
        except asyncio.CancelledError:
            # Another may have cancelled this task too, as a server that stops does.
            if not left or work is None or work.uncancel() > 0:
                raise
            raise Refusal(CLIENT_LEFT, "late", "the client left", "stay for the answer") from None
        finally:
            watcher.cancel()

    return attend


def caller_of(request: Request, deadline_s: float) -> Caller:
    """Who asks: the name that the guard found for a key, else the address; and until when."""
    address = request.client.host if request.client else "local"
    state = request.scope.get("state", {})
    client, number = state.get("client") or address, state.get("request_id") or uuid.uuid4().hex
    return Caller(client, number, time.monotonic() + deadline_s)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
