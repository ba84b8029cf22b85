"""One process that serves: the port taken first, the models proved next, and at a signal drained."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from types import FrameType

from lingxi.serve.app import Extra, create_app
from lingxi.serve.listen import Server, bound, config
from lingxi.serve.opening import Plan, open_service, prepared
from lingxi.serve.service import Service
from lingxi.serve.settings import Settings
from lingxi.serve.watch import Watch

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
    watch: Watch | None = None,
    started: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve until a signal; `started` is told the port when requests are taken.

    Raises InputError where the address is taken, and what `open_service` and `Service.start` raise.
    """
    with bound(settings.host, settings.port) as listener, prepared(plan) as ready:
        service = open_service(ready, settings, watch)
        try:
            asyncio.run(service.start())
            app = create_app(service, settings, extras=extras)
            port = listener.getsockname()[1]
            server = DrainingServer(config(app, drain_s=settings.drain_s), lambda: started(port))
            server.service, server.drain_s = service, settings.drain_s
            server.run([listener])
        finally:
            service.close()
