"""The served models as an index asks them: from another thread, by turns with all other requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lingxi.serve.contract import Embedded, Scored, Wanted

T = TypeVar("T")
# So many texts are one request: more would be refused as one, and hold others up.
_AT_A_TIME = 512


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
    prompts: Mapping[str, str] = field(default_factory=dict)

    def encode_query(
        self,
        inputs: Sequence[str],
        *,
        instruction: str | None = None,
        show_progress_bar: bool | None = None,
    ) -> NDArray[Any]:
        """Unit vectors [n, dim] of queries."""
        name = "query" if instruction is None else None
        return self._vectors(inputs, Wanted(instruction=instruction, prompt_name=name))

    def encode_document(
        self, inputs: Sequence[str], *, show_progress_bar: bool | None = None
    ) -> NDArray[Any]:
        """Unit vectors [n, dim] of documents."""
        return self._vectors(inputs, Wanted(prompt_name="document"))

    def _vectors(self, inputs: Sequence[str], wanted: Wanted) -> NDArray[Any]:
        found = [_waited(self.embed(some, wanted), self.loop).vectors for some in _pieces(inputs)]
        return np.concatenate(found)

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
        found = [_waited(self.score(some, instruction), self.loop).scores for some in _pieces(list(pairs))]
        return np.concatenate(found)


def _pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Items so many at a time; nothing is one piece too."""
    return (items[at : at + _AT_A_TIME] for at in range(0, max(1, len(items)), _AT_A_TIME))


def _waited(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result()
