"""What the queue tells whoever counts, logs or traces: a seam, so that the queue knows of none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["embedder", "reranker"]
Dropped = Literal["gone", "late", "failed"]


@dataclass(frozen=True, slots=True)
class Spent:
    """What the texts of one request cost: tokens of each text, and seconds by the monotonic clock.

    `waited` is from the queue's door to the start of its (first) batch, `computed` the time of the batches
    it was in.
    """

    kind: Kind
    model: str
    lengths: Sequence[int]
    tokenized: float
    waited: float
    computed: float


class Watch(Protocol):
    """Told by the queue and the service, in any thread; must return at once and never raise."""

    def waiting(self, texts: int, tokens: int) -> None:
        """How much waits now, over all models; told after each change."""

    def batch(self, model: str, texts: int, tokens: int, seconds: float) -> None:
        """A batch was computed in that time."""

    def spent(self, spent: Spent) -> None:
        """A request's texts are computed; told in the request's own task, before its answer is made."""

    def dropped(self, why: Dropped, texts: int) -> None:
        """Texts left the queue without an answer: client gone, deadline past, or their batch failed."""


class Unwatched:
    """Nobody looks."""

    def waiting(self, texts: int, tokens: int) -> None:
        """Say nothing."""

    def batch(self, model: str, texts: int, tokens: int, seconds: float) -> None:
        """Say nothing."""

    def spent(self, spent: Spent) -> None:
        """Say nothing."""

    def dropped(self, why: Dropped, texts: int) -> None:
        """Say nothing."""


@dataclass(frozen=True, slots=True)
class All:
    """Several who look, told one after another."""

    watches: Sequence[Watch]

    def waiting(self, texts: int, tokens: int) -> None:
        """Tell each."""
        for watch in self.watches:
            watch.waiting(texts, tokens)

    def batch(self, model: str, texts: int, tokens: int, seconds: float) -> None:
        """Tell each."""
        for watch in self.watches:
            watch.batch(model, texts, tokens, seconds)

    def spent(self, spent: Spent) -> None:
        """Tell each."""
        for watch in self.watches:
            watch.spent(spent)

    def dropped(self, why: Dropped, texts: int) -> None:
        """Tell each."""
        for watch in self.watches:
            watch.dropped(why, texts)
