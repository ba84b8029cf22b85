"""What the bridges ask of an `Embedder`, a `Reranker` or a client: at once, in a thread, or awaited."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from lingxi.errors import InputError


def plain(vectors: Any) -> Any:
    """Vectors as lists of numbers; raises InputError for those of an `AsyncClient` that nobody awaited."""
    return now(vectors).tolist()


def now(value: Any) -> Any:
    """The value itself; raises InputError where it is still to be awaited."""
    if inspect.iscoroutine(value):
        value.close()
        raise InputError("an AsyncClient was asked without await", "use the async methods, or give a Client")
    return value


async def later(method: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a method of a model answers: awaited where it is async, else in a thread, off the event loop."""
    if inspect.iscoroutinefunction(method):
        return await method(*args, **options)
    return await asyncio.to_thread(method, *args, **options)


def ordered(scores: Sequence[float], top: int | None) -> list[tuple[int, float]]:
    """(place, score) by falling score, equal ones in the order given, at most `top` of them."""
    if top is not None and top < 1:
        raise InputError(f"{top} results were asked for", "choose 1 or more, or None for all")
    order = sorted(range(len(scores)), key=lambda i: -scores[i])[:top]
    return [(i, float(scores[i])) for i in order]
