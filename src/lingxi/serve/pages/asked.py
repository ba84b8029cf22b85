"""What the pages ask of the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lingxi.index.search import Hit
from lingxi.serve.contract import Caller, Card, Embedded, Scored, State, Wanted
from lingxi.serve.settings import Settings


class Serves(Protocol):
    """The part of the service that the pages use; every method may raise Refusal."""

    settings: Settings

    def cards(self) -> tuple[Card, ...]:
        """What is served."""

    def state(self) -> State:
        """What it has to do, and did."""

    async def embed(
        self, inputs: Sequence[str], wanted: Wanted, caller: Caller, *, model: str | None = None
    ) -> Embedded:
        """Vectors of texts."""

    async def score(
        self,
        pairs: Sequence[tuple[str, str]],
        caller: Caller,
        *,
        model: str | None = None,
        instruction: str | None = None,
    ) -> Scored:
        """Scores of (query, document) pairs."""

    async def search(
        self,
        query: str,
        caller: Caller,
        *,
        top_k: int = 10,
        instruction: str | None = None,
        below: Sequence[str] = (),
        kinds: Sequence[str] = (),
        rerank: bool = False,
        mark: bool = True,
    ) -> list[Hit]:
        """Passages of the index."""
