"""An account of every request: its id, how it ended, what its texts cost; told to whoever logs or counts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import uuid4

from starlette.types import ASGIApp

from lingxi.serve.guard import headers_of
from lingxi.serve.listen import Message, Receive, Send
from lingxi.serve.watch import Spent, Unwatched

_WELL_FORMED = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
# What is kept of a body where logs show texts.
_SHOWN = 2000
_spent: ContextVar[list[Spent] | None] = ContextVar("lingxi_spent", default=None)


@dataclass(slots=True)
class Account:
    """One request. `path` is the API's own (never what was asked for), `status` 499 where the client left,
    `began` Unix nanoseconds; `seconds` are by the monotonic clock.
    """

    request: str
    method: str
    headers: dict[bytes, bytes]
    began: int
    client: str = "-"
    path: str = "-"
    status: int = 499
    seconds: float = 0.0
    received: int = 0
    sent: int = 0
    body: bytes = b""
    spent: list[Spent] = field(default_factory=list)

    @property
    def gone(self) -> bool:
        """Whether the client left before an answer began."""
        return self.status == 499


class Spending(Unwatched):
    """A `Watch` that writes what a request's texts cost to the account of the request it is told in."""

    def spent(self, spent: Spent) -> None:
        """Add to the request under way, where there is one."""
        found = _spent.get()
        if found is not None:
            found.append(spent)


@dataclass(frozen=True, slots=True)
class Told:
    """Who hears of requests: `came` when one begins, `ended` with its account.

    Of paths only routes and those that are `known` are told; `bodies` keeps the beginning of bodies.
    """

    ended: Sequence[Callable[[Account], None]]
    came: Callable[[int], None] = lambda by: None
    known: frozenset[str] = frozenset()
    bodies: bool = False


class Accounting:
    """The outermost layer: gives a request its id, and tells when it ended."""

    def __init__(self, app: ASGIApp, told: Told, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._told, self._clock = app, told, clock

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on, with the account kept beside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, start = headers_of(scope), self._clock()
        account = Account(request_id(headers), scope["method"], headers, time.time_ns())
        scope.setdefault("state", {})["request"] = account.request
        token = _spent.set(account.spent)
        self._told.came(1)
        try:
            await self._app(scope, self._receiving(receive, account), _sending(send, account))
        except BaseException:
            account.status = 500 if account.status == 499 else account.status
            raise
        finally:
            _spent.reset(token)
            self._told.came(-1)
            account.seconds = self._clock() - start
            account.client = scope["state"].get("client", "-")
            account.path = self._path(scope)
            for tell in self._told.ended:
                tell(account)

    def _path(self, scope: Message) -> str:
        """The path of the route, or the path asked for where it is the API's; another may hold anything."""
        asked = scope["path"] if scope["path"] in self._told.known else "-"
        return str(getattr(scope.get("route"), "path", asked))

    def _receiving(self, receive: Receive, account: Account) -> Receive:
        async def counted() -> Message:
            message = await receive()
            part = message.get("body", b"")
            account.received += len(part)
            if self._told.bodies and len(account.body) < _SHOWN:
                account.body = (account.body + part)[:_SHOWN]
            return message

        return counted


def request_id(headers: dict[bytes, bytes]) -> str:
    """The X-Request-Id of a request if it is well-formed, else a new one."""
    given = headers.get(b"x-request-id", b"")
    return given.decode() if _WELL_FORMED.fullmatch(given) else uuid4().hex


def _sending(send: Send, account: Account) -> Send:
    async def counted(message: Message) -> None:
        if message["type"] == "http.response.start":
            account.status = message["status"]
            kept = [
                (name, value) for name, value in message.get("headers", ()) if name.lower() != b"x-request-id"
            ]
            message = {**message, "headers": [*kept, (b"x-request-id", account.request.encode())]}
        else:
            account.sent += len(message.get("body", b""))
        await send(message)

    return counted
