"""Threads for work that takes seconds: so many at a time, so many that wait, none of one client alone."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Event, Lock
from typing import Any, TypeVar

from lingxi.serve.contract import Caller
from lingxi.serve.refusal import Refusal

T = TypeVar("T")
_AGAIN_S = 5.0
IsOver = Callable[[], bool]


class Desk:
    """Work by `threads`; of what is under way and waits, one client has at most half (one piece at least)."""

    def __init__(self, threads: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "lingxi-apps")
        self._most = threads + waiting
        self._held: Counter[str] = Counter()
        self._lock = Lock()

    async def do(self, caller: Caller, make: Callable[[IsOver], T]) -> T:
        """What `make` gives; it is told when nobody waits for it any more. Raises Refusal 429 and 504."""
        self._admit(caller.client)
        over, context = Event(), copy_context()
        work = self._pool.submit(context.run, make, over.is_set)
        work.add_done_callback(lambda done: self._leave(caller.client, done))
        left = None if caller.deadline is None else max(0.0, caller.deadline - time.monotonic())
        try:
            async with asyncio.timeout(left):
                return await asyncio.wrap_future(work)
        except TimeoutError:
            raise Refusal(504, "late", "the answer was not ready in time", "ask for less") from None
        finally:
            over.set()

    def close(self) -> None:
        """Take no more work."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _admit(self, client: str) -> None:
        with self._lock:
            if self._held.total() >= self._most or self._held[client] >= max(1, self._most // 2):
                raise Refusal(429, "overloaded", "too much waits", "ask again soon", retry_after=_AGAIN_S)
            self._held[client] += 1

    def _leave(self, client: str, done: Future[Any]) -> None:
        with self._lock:
            self._held[client] -= 1
            self._held += Counter()  # clients that hold nothing go


async def as_it_comes(
    make: Callable[[Callable[[str], None]], Coroutine[Any, Any, T]],
) -> AsyncIterator[str | T]:
    """The texts that work shows from its thread, and at the end what it gives; who stops reading ends it."""
    loop, came = asyncio.get_running_loop(), asyncio.Queue[str | None]()

    def show(text: str) -> None:
        loop.call_soon_threadsafe(came.put_nowait, text)

    work = asyncio.ensure_future(make(show))
    work.add_done_callback(lambda _: came.put_nowait(None))
    try:
        while (text := await came.get()) is not None:
            yield text
        yield work.result()
    finally:
        work.cancel()
