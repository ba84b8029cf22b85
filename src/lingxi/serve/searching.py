"""One search of a served index, by words or by example: passages, and what is beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lingxi.index.media import KINDS, MediaHit
from lingxi.index.search import Hit
from lingxi.inputs import Mixed
from lingxi.serve.contract import Caller, State
from lingxi.serve.refusal import invalid


@dataclass(frozen=True, slots=True)
class Like:
    """As an example, what was found under a key."""

    key: str


Query = str | Mixed | Like


@dataclass(frozen=True, slots=True)
class SearchWanted:
    """How an index is searched; the fields are those of `Service.search`, kinds also those of media."""

    top_k: int = 10
    instruction: str | None = None
    below: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    rerank: bool = False


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Passages, and pictures, pages and sound: None where the index has none."""

    hits: list[Hit]
    media: list[MediaHit] | None


class Searches(Protocol):
    """The part of the service that is searched; every method may raise Refusal."""

    def state(self) -> State:
        """What is served."""

    def vector_at(self, key: str) -> NDArray[np.float32]:
        """The vector of something found."""

    async def vector_of(
        self, query: str | Mixed, caller: Caller, *, instruction: str | None = None
    ) -> NDArray[np.float32]:
        """The vector of words or of an example."""

    async def search(
        self,
        query: str,
        caller: Caller,
        *,
        top_k: int = 10,
        instruction: str | None = None,
        below: Sequence[str] = (),
        kinds: Sequence[str] = (),
        languages: Sequence[str] = (),
        rerank: bool = False,
        mark: bool = True,
    ) -> list[Hit]:
        """Passages by words."""

    async def near(
        self,
        vector: NDArray[np.float32],
        *,
        top_k: int = 10,
        below: Sequence[str] = (),
        kinds: Sequence[str] = (),
        languages: Sequence[str] = (),
    ) -> list[Hit]:
        """Passages by a vector."""

    async def beside(
        self,
        vector: NDArray[np.float32],
        *,
        top_k: int = 10,
        below: Sequence[str] = (),
        kinds: Sequence[str] = (),
    ) -> list[MediaHit]:
        """Pictures, pages and sound by a vector."""


def asked_for(query: str | None, image: str | None, audio: str | None, like: str | None) -> Query:
    """The query of a request that says one of these."""
    if query is not None:
        return query
    if like is not None:
        return Like(like)
    return Mixed(images=(image,)) if image is not None else Mixed(audios=(audio,))


async def searched(service: Searches, query: Query, wanted: SearchWanted, caller: Caller) -> SearchResult:
    """Search passages and what is beside them; raises Refusal, 404 for an example where there is nothing."""
    texts = tuple(kind for kind in wanted.kinds if kind not in KINDS)
    media = tuple(kind for kind in wanted.kinds if kind in KINDS)
    if media and wanted.languages:
        raise invalid("programming languages are of code", f"leave them out, or {media[0]}", "languages")
    by_words = isinstance(query, str)
    looks = service.state().media and (not wanted.kinds or bool(media)) and not wanted.languages
    vector = await _vector(service, query, wanted, caller) if looks or not by_words else None
    hits = [] if media and not texts else await _passages(service, query, vector, wanted, texts, caller)
    if not looks or vector is None:
        return SearchResult(hits, [] if service.state().media else None)
    found = await service.beside(vector, top_k=wanted.top_k, below=wanted.below, kinds=media)
    return SearchResult(hits, found)


async def _vector(
    service: Searches, query: Query, wanted: SearchWanted, caller: Caller
) -> NDArray[np.float32]:
    if isinstance(query, Like):
        return service.vector_at(query.key)
    return await service.vector_of(query, caller, instruction=wanted.instruction)


async def _passages(
    service: Searches,
    query: Query,
    vector: NDArray[np.float32] | None,
    wanted: SearchWanted,
    kinds: Sequence[str],
    caller: Caller,
) -> list[Hit]:
    if not isinstance(query, str):
        assert vector is not None
        return await service.near(
            vector, top_k=wanted.top_k, below=wanted.below, kinds=kinds, languages=wanted.languages
        )
    return await service.search(
        query,
        caller,
        top_k=wanted.top_k,
        instruction=wanted.instruction,
        below=wanted.below,
        kinds=kinds,
        languages=wanted.languages,
        rerank=wanted.rerank,
    )
