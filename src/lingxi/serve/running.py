"""What serves, in one process or several: the port taken, the models proved, and at a signal drained."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType

from fastapi import FastAPI

from lingxi.errors import LingxiError
from lingxi.serve import logs, workers
from lingxi.serve.app import Extra, create_app
from lingxi.serve.ledger import Place
from lingxi.serve.listen import Server, Signs, bound, config
from lingxi.serve.opening import Plan, open_service, prepared
from lingxi.serve.operations import Operations
from lingxi.serve.service import Service
from lingxi.serve.settings import Settings

# What is left of the answers is written before connections are closed.
_LAST_WORDS_S = 0.2


class DrainingServer(Server):
    """Uvicorn that at SIGTERM (or Ctrl-C) first answers 503 while what is under way finishes, then stops.

    A second signal stops it at once.
    """

    service: Service
    drain_s: float
    _loop: asyncio.AbstractEventLoop
    _signals: int = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and know the loop that signals are handed to."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at the second."""
        self._signals += 1
        self.service.drain()
        if self._signals > 1:
            self.should_exit = self.force_exit = True
        else:
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._leave()))

    async def _leave(self) -> None:
        await self.service.idle(self.drain_s)
        await asyncio.sleep(_LAST_WORDS_S)
        self.should_exit = True


def run(
    plan: Plan,
    settings: Settings,
    *,
    extras: Sequence[Extra] = (),
    started: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve until a signal, with `settings.workers` processes; `started` is told the port when they answer.

    `extras` are functions of modules where there are several. Raises InputError where the address is taken,
    StartError where workers die at the start, and what `open_service` and `Service.start` raise.
    """
    logs.configure(texts=settings.log_texts)
    with prepared(plan) as ready:
        make = partial(made, ready, tuple(extras))
        if settings.workers > 1:
            workers.run(settings, make, started=started)
            return
        with bound(settings.host, settings.port) as listener:
            port = listener.getsockname()[1]
            make(settings, Place(), Signs(lambda: started(port))).run([listener])


def made(plan: Plan, extras: Sequence[Extra], settings: Settings, place: Place, signs: Signs) -> Server:
    """The server of one process, its models proved; its application closes the service at the end."""
    logs.configure(texts=settings.log_texts)
    service, app = opened(plan, extras, settings, place)
    try:
        asyncio.run(service.start())
    except LingxiError:
        service.close()
        raise
    server = DrainingServer(config(app, drain_s=settings.drain_s), signs)
    server.service, server.drain_s = service, settings.drain_s
    return server


def opened(plan: Plan, extras: Sequence[Extra], settings: Settings, place: Place) -> tuple[Service, FastAPI]:
    """The service of a prepared plan, and its application with all that stands around it."""
    around = Operations(settings, place)
    service = open_service(plan, settings, around.watch)
    return service, create_app(service, settings, extras=[*extras, around.install])
