"""The life of a server: the port taken first, the models proved next, and at a signal drained."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType

from fastapi import FastAPI

from lingxi.serve import logs, workers
from lingxi.serve.app import Extra, create_app
from lingxi.serve.ledger import Place
from lingxi.serve.listen import Server, Signs, bound, config
from lingxi.serve.opening import Plan, open_service, prepared
from lingxi.serve.operations import Operations, check
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
        self._loop.call_soon_threadsafe(self._stop if self._signals > 1 else self._begin_to_leave)

    def _stop(self) -> None:
        self.should_exit = self.force_exit = True

    def _begin_to_leave(self) -> None:
        self.service.drain()
        self._leaving = self._loop.create_task(self._leave())

    async def _leave(self) -> None:
        await self.service.idle(self.drain_s)
        await asyncio.sleep(_LAST_WORDS_S)
        self.should_exit = True


def open_app(
    plan: Plan, extras: Sequence[Extra], settings: Settings, place: Place | None = None
) -> tuple[FastAPI, Service]:
    """The application of one process, its models opened and proved; raises LingxiError in words."""
    logs.configure(texts=settings.log_texts)
    around = Operations(settings, place)
    service = open_service(plan, settings, around.watch)
    try:
        asyncio.run(service.start())
        app = create_app(service, settings, extras=(*extras, around.install))
    except BaseException:
        service.close()
        raise
    # What libraries and models are made of stays: the collector need not walk through it while requests wait.
    gc.collect()
    gc.freeze()
    return app, service


def make_server(
    plan: Plan, extras: Sequence[Extra], settings: Settings, place: Place, signs: Signs
) -> DrainingServer:
    """The server of one process, as a worker asks for it; raises as `open_app`."""
    app, service = open_app(plan, extras, settings, place)
    server = DrainingServer(config(app, drain_s=settings.drain_s), signs)
    server.service, server.drain_s = service, settings.drain_s
    return server


def run(
    plan: Plan,
    settings: Settings,
    *,
    extras: Sequence[Extra] = (),
    started: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve until a signal, in one process or in `settings.workers`; `started` is told the port.

    Raises InputError where the address is taken or a setting would leave the server open, StartError where
    workers die at the start, and what `open_app` raises. `extras` are functions of modules, which workers
    find by name.
    """
    check(settings)
    logs.configure(texts=settings.log_texts)
    if settings.workers > 1:
        workers.check_workers(settings.workers)
        with prepared(plan) as ready:
            workers.run(settings, partial(make_server, ready, tuple(extras)), started=started)
        return
    with bound(settings.host, settings.port) as listener, prepared(plan) as ready:
        port = listener.getsockname()[1]
        server = make_server(ready, extras, settings, Place(), Signs(lambda: started(port)))
        try:
            server.run([listener])
        finally:
            server.service.close()
