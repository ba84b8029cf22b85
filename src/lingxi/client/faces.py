"""`Client` and `AsyncClient`: the plans, run by threads and by an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from lingxi.client import extras, plans
from lingxi.client.connection import Connection
from lingxi.client.sending import Ask, Reply, answered
from lingxi.client.server import Server

P = ParamSpec("P")
T = TypeVar("T")


def _sync(
    plan: Callable[Concatenate[Server, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Client, P], T]:
    """The method of a Client that runs a plan."""

    @wraps(plan)
    def method(self: Client, /, *args: P.args, **options: P.kwargs) -> T:
        return _ended(plan(self._server, *args, **options))

    return method


def _async(
    plan: Callable[Concatenate[Server, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """The method of an AsyncClient that runs a plan."""

    @wraps(plan)
    async def method(self: AsyncClient, /, *args: P.args, **options: P.kwargs) -> T:
        return await plan(self._server, *args, **options)

    return method


def _ended(plan: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that waits for no event loop."""
    try:
        plan.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("a plan of a Client waited for an event loop")


class Client(Connection):
    """A server with the face of `Embedder` and `Reranker`; where it is lingxi, it also searches and segments.

    Any server of OpenAI's `/v1/embeddings` and Cohere's `/v1/rerank` will do. `model` and `reranker` are the
    names asked for (None: the server's own choice, or the first it lists); `prompts` says what named prompts
    are where the server is not lingxi. Each request takes at most `timeout` seconds, `max_items` texts and
    `max_tokens` tokens, and `parallel` of them run at a time. Requests refused for overload, or whose
    connection was lost, are repeated up to `retries` times, after the wait that the server asks for or a
    growing pause.

    Safe to share between threads; `with` closes its connections. Raises InputError for an address that is
    none, MissingExtraError without httpx; every call raises NoAnswerError where the server gives no answer.
    """

    encode = _sync(plans.encode)
    encode_query = _sync(plans.encode_query)
    encode_document = _sync(plans.encode_document)
    predict = _sync(plans.predict)
    rank = _sync(plans.rank)
    fingerprint = _sync(plans.fingerprint)
    get_embedding_dimension = _sync(plans.dimension)
    search = _sync(extras.search)
    search_media = _sync(extras.search_media)
    segment = _sync(extras.segment)

    @property
    def dim(self) -> int:
        """Width of the vectors, asked of the server."""
        return self.get_embedding_dimension()

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown(cancel_futures=True)
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, **options: Any) -> None:
        self._pool = ThreadPoolExecutor(self._parallel, thread_name_prefix="lingxi-client")
        self._http = self._httpx.Client(**options)

    async def _fetch(self, asks: Sequence[Ask]) -> list[Any]:
        jobs = [self._pool.submit(self._answered, ask) for ask in asks]
        try:
            return [job.result() for job in jobs]
        finally:
            for job in jobs:
                job.cancel()

    def _answered(self, ask: Ask) -> Any:
        return _ended(answered(self.url, ask, self._patience, self._send, self._sleep))

    async def _send(self, ask: Ask) -> Reply:
        try:
            return Reply.of(self._http.request(*self._call(ask), json=ask.body))
        except self._httpx.HTTPError as error:
            return self._failed(error)

    async def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class AsyncClient(Connection):
    """`Client` for an event loop: the same arguments, and the same methods to be awaited."""

    encode = _async(plans.encode)
    encode_query = _async(plans.encode_query)
    encode_document = _async(plans.encode_document)
    predict = _async(plans.predict)
    rank = _async(plans.rank)
    fingerprint = _async(plans.fingerprint)
    get_embedding_dimension = _async(plans.dimension)
    search = _async(extras.search)
    search_media = _async(extras.search_media)
    segment = _async(extras.segment)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _open(self, **options: Any) -> None:
        self._turns = asyncio.Semaphore(self._parallel)
        self._http = self._httpx.AsyncClient(**options)

    async def _fetch(self, asks: Sequence[Ask]) -> list[Any]:
        try:
            async with asyncio.TaskGroup() as group:
                jobs = [group.create_task(self._answered(ask)) for ask in asks]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [job.result() for job in jobs]

    async def _answered(self, ask: Ask) -> Any:
        async with self._turns:
            return await answered(self.url, ask, self._patience, self._send, asyncio.sleep)

    async def _send(self, ask: Ask) -> Reply:
        try:
            return Reply.of(await self._http.request(*self._call(ask), json=ask.body))
        except self._httpx.HTTPError as error:
            return self._failed(error)
