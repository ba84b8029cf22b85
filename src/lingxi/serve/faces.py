"""The served models as an index asks them: from another thread, by turns with all other requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lingxi.serve.contract import Embedded, Scored, Wanted

T = TypeVar("T")


class Embeds(Protocol):
    """`Service.embed` for one caller."""

    def __call__(self, inputs: Sequence[str], wanted: Wanted) -> Coroutine[Any, Any, Embedded]:
        """Vectors of texts."""


Scores = Callable[[Sequence[tuple[str, str]], str | None], Coroutine[Any, Any, Scored]]


@dataclass(frozen=True, slots=True)
class QueuedEmbedder:
    """An embedder whose vectors are made in the event loop `loop`; not to be called from its thread."""

    dim: int
    print: dict[str, str | int]
    embed: Embeds
    loop: asyncio.AbstractEventLoop

    def encode_query(self, inputs: Sequence[str], *, instruction: str | None = None) -> NDArray[Any]:
        """Unit vectors [n, dim] of queries."""
        name = "query" if instruction is None else None
        return _waited(
            self.embed(inputs, Wanted(instruction=instruction, prompt_name=name)), self.loop
        ).vectors

    def encode_document(
        self, inputs: Sequence[str], *, show_progress_bar: bool | None = None
    ) -> NDArray[Any]:
        """Unit vectors [n, dim] of documents."""
        return _waited(self.embed(inputs, Wanted(prompt_name="document")), self.loop).vectors

    def fingerprint(self) -> dict[str, str | int]:
        """What a stored vector depends on."""
        return self.print


@dataclass(frozen=True, slots=True)
class QueuedReranker:
    """A reranker whose scores are made in the event loop `loop`."""

    score: Scores
    loop: asyncio.AbstractEventLoop

    def predict(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        instruction: str | None = None,
        show_progress_bar: bool | None = None,
    ) -> NDArray[np.float32]:
        """Probability [n] that each pair is a match."""
        return _waited(self.score(list(pairs), instruction), self.loop).scores


def _waited(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result()
