"""The port: one socket for all workers, uvicorn without its own logs, and connections that may not hang."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from lingxi.errors import InputError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

# How many connections wait at the port while all workers are busy.
_WAITING = 1024
# Bytes of an answer that a client has to take in the time it is waited for.
_READ = 16_384


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds a connection is waited for: until its request's head is there, idle between two requests,
    and until it takes more of an answer.
    """

    head: float = 10.0
    idle: float = 30.0
    answer: float = 60.0


class _Timed(asyncio.Protocol):
    """Closes connections that hang, whichever protocol of uvicorn it is put before."""

    patience: Patience
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    cycle: Any
    _head: asyncio.TimerHandle | None = None
    _answer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head = _ended(self._head)
        elif self._head is None and not self.transport.is_closing():
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head, self._answer = _ended(self._head), _ended(self._answer)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_reading()

    def resume_writing(self) -> None:
        self._answer = _ended(self._answer)
        super().resume_writing()

    def _wait_for_reading(self) -> None:
        self._answer = self.loop.call_later(
            self.patience.answer, self._has_read, self.transport.get_write_buffer_size()
        )

    def _has_read(self, before: int) -> None:
        if before - self.transport.get_write_buffer_size() >= _READ:
            self._wait_for_reading()
        else:
            # Closing would wait for the client to read: only aborting lets go of the connection.
            self.transport.abort()

    def _wait_for_head(self) -> None:
        self._head = self.loop.call_later(self.patience.head, self.transport.close)


def _ended(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if timer is not None:
        timer.cancel()
    return None


def patient(patience: Patience) -> type[asyncio.Protocol]:
    """Uvicorn's HTTP protocol (httptools' where it is installed) with those limits."""
    base: type[asyncio.Protocol] = H11Protocol
    if importlib.util.find_spec("httptools") is not None:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

        base = HttpToolsProtocol
    return type("PatientProtocol", (_Timed, base), {"patience": patience})


def config(app: Application, *, drain_s: float, patience: Patience | None = None) -> uvicorn.Config:
    """How uvicorn serves an app here: no logs or headers of its own, no trust in forwarded addresses."""
    given = patience or Patience()
    return uvicorn.Config(
        app,
        http=patient(given),
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        workers=1,
        # A worker takes one connection a turn, so that the others get theirs.
        backlog=1,
        timeout_keep_alive=int(given.idle),
        timeout_graceful_shutdown=int(drain_s),
    )


def bound(host: str, port: int) -> socket.socket:
    """A socket bound to an address, shared by all workers; raises InputError in words where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:
        listener.close()
        why = error.strerror if isinstance(error, OSError) and error.strerror else "no such address"
        raise InputError(
            f"cannot listen on {host}:{port}: {why.lower()}", "choose another --port or --host"
        ) from None
    listener.listen(_WAITING)
    listener.set_inheritable(True)
    return listener


@dataclass(frozen=True, slots=True)
class Signs:
    """What a server says of itself: that it takes requests, and ten times a second that its loop turns."""

    ready: Callable[[], None] = lambda: None
    alive: Callable[[], None] = lambda: None


class Server(uvicorn.Server):
    """A uvicorn server on a bound socket, which gives signs."""

    def __init__(self, config: uvicorn.Config, signs: Signs | None = None) -> None:
        super().__init__(config)
        self._signs = signs or Signs()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, make room again for what waits at the port (asyncio's backlog is the turn), and say so."""
        self._signs.alive()
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_WAITING)
        if self.started:
            self._signs.ready()

    async def on_tick(self, counter: int) -> bool:
        """As uvicorn's, with a sign of life."""
        self._signs.alive()
        return await super().on_tick(counter)
