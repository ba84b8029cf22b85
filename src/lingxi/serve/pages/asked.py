"""What the pages ask of the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lingxi.media.preview import Preview
from lingxi.serve.contract import Caller, Card, Embedded, Scored, Wanted
from lingxi.serve.searching import Searches
from lingxi.serve.settings import Settings


class Serves(Searches, Protocol):
    """The part of the service that the pages use; every method may raise Refusal."""

    settings: Settings

    def cards(self) -> tuple[Card, ...]:
        """What is served."""

    async def shown(self, key: str) -> Preview:
        """A picture, page or sound that was found, as a browser gets it."""

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
