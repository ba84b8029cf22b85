"""What every dialect, page and tool asks: models by name, vectors, scores, segments, passages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.embedder import Embedder
from lingxi.errors import InputError
from lingxi.index.index import Index
from lingxi.index.search import Hit
from lingxi.reranker import Reranker
from lingxi.serve.contract import (
    Caller,
    Card,
    Embedded,
    Load,
    ModelKind,
    Scored,
    Segment,
    State,
    TokenSpan,
    Wanted,
)
from lingxi.serve.refusal import Refusal, invalid, refused
from lingxi.serve.served import Ids, Served
from lingxi.serve.settings import Settings
from lingxi.texts import Truncate

__all__ = [
    "Caller", "Card", "Embedded", "Load", "Scored", "Segment", "Service", "State", "TokenSpan", "Wanted",
]  # fmt: skip


class Service:
    """Models by name (the first of a kind is its default) and an index, for any number of requests at once.

    `adapters` says of a name which base it belongs to. `start` warms up and checks; `close` ends the threads.
    """

    def __init__(
        self,
        embedders: Mapping[str, Embedder] | None = None,
        rerankers: Mapping[str, Reranker] | None = None,
        *,
        index: Index | None = None,
        settings: Settings | None = None,
        adapters: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.index = index
        models: dict[str, Embedder | Reranker] = {**(embedders or {}), **(rerankers or {})}
        if len(models) < len(embedders or {}) + len(rerankers or {}):
            raise InputError("an embedder and a reranker have one name", "give each model a name of its own")
        self._served = {name: Served(name, model, (adapters or {}).get(name)) for name, model in models.items()}
        self._turn = asyncio.Lock()

    def cards(self) -> tuple[Card, ...]:
        """What is served, in the order given."""
        return tuple(one.card for one in self._served.values())

    def card(self, model: str | None, kind: ModelKind) -> Card:
        """The card of a name, or of the default of a kind; raises Refusal 404 for a name not served."""
        return self._of(model, kind).card

    def _of(self, model: str | None, kind: ModelKind) -> Served:
        those = [one for one in self._served.values() if one.card.kind == kind]
        if model is None:
            if not those:
                raise Refusal(404, "not_found", f"no {kind} is served here", "start the server with one", param="model")
            return those[0]
        if model not in self._served:
            names = ", ".join(one.card.name for one in those) or "none"
            raise Refusal(404, "not_found", f"the model {model[:100]!r} is not served here", f"{kind}s here: {names}", param="model")
        one = self._served[model]
        if one.card.kind != kind:
            raise invalid(f"the model {model!r} is no {kind}", "name another, or leave it out", "model")
        return one

    async def embed(
        self, inputs: Sequence[str | Ids], wanted: Wanted, caller: Caller, *, model: str | None = None
    ) -> Embedded:
        """Vectors [n, dim] of texts or token ids; raises Refusal."""
        one = self._of(model, "embedder")
        ids = await asyncio.to_thread(one.ids, inputs, wanted)
        states = await self._states(one, "pooled", ids, [len(i) for i in ids], caller)
        return Embedded(self._finish(one, np.stack(states) if states else np.empty((0, one.embedder.hidden), np.float32), wanted), [len(i) for i in ids])

    def _finish(self, one: Served, states: NDArray[np.float32], wanted: Wanted) -> NDArray[Any]:
        try:
            return one.embedder.finish(
                states, truncate_dim=wanted.dim, precision=wanted.precision, normalize=wanted.normalize
            )
        except InputError as error:
            raise refused(error) from None

    async def score(
        self,
        pairs: Sequence[tuple[str, str]],
        caller: Caller,
        *,
        model: str | None = None,
        instruction: str | None = None,
        max_tokens_per_document: int | None = None,
        truncate: Truncate = "end",
    ) -> Scored:
        """How well each (query, document) pair fits [n]; raises Refusal."""
        one = self._of(model, "reranker")
        ids = await asyncio.to_thread(
            one.reranker.token_ids, pairs, instruction=instruction,
            max_tokens_per_document=max_tokens_per_document, truncate=truncate,
        )
        rows = await self._states(one, "pooled", ids, [len(i) for i in ids], caller)
        scores, logits = one.reranker.finish(np.stack(rows))
        return Scored(scores, logits, [len(i) for i in ids])

    async def token_states(
        self,
        texts: Sequence[str | Ids],
        caller: Caller,
        *,
        model: str | None = None,
        wanted: Wanted | None = None,
    ) -> list[NDArray[np.float32]]:
        """States [tokens, width] of all tokens of each text; raises Refusal."""
        one = self._of(model, "embedder")
        ids = await asyncio.to_thread(one.ids, texts, wanted or Wanted())
        return await self._states(one, "tokens", ids, [len(i) for i in ids], caller)

    async def segment(
        self,
        documents: Sequence[str],
        wanted: Wanted,
        caller: Caller,
        *,
        model: str | None = None,
        max_tokens: int = 256,
        late: bool = False,
    ) -> list[list[Segment]]:
        """Each document in segments of whole sentences with their vectors; `late`: each after all before it."""
        raise NotImplementedError  # next commit

    async def search(
        self,
        query: str,
        caller: Caller,
        *,
        top_k: int = 10,
        instruction: str | None = None,
        below: Sequence[str] = (),
        rerank: bool = False,
    ) -> list[Hit]:
        """The best passages of the index, best first; raises Refusal 404 without an index."""
        if self.index is None:
            raise Refusal(404, "not_found", "no index is served here", "start the server with --index")
        return await asyncio.to_thread(self.index.search, query, top_k, instruction, rerank, below)

    def tokenize(
        self, texts: Sequence[str], *, model: str | None = None, specials: bool = True
    ) -> list[list[TokenSpan]]:
        """The tokens of each text with their places, as the embedder (else the reranker) reads it."""
        return self._any(model).tokenize(texts, specials=specials)

    def decode(
        self, ids: Sequence[Ids], *, model: str | None = None, skip_specials: bool = True
    ) -> list[str]:
        """The text of each run of token ids; raises Refusal 400 for an id that the model has not."""
        return self._any(model).decode(ids, skip_specials=skip_specials)

    def _any(self, model: str | None) -> Served:
        if model is not None and model in self._served:
            return self._served[model]
        kinds = {one.card.kind for one in self._served.values()}
        return self._of(model, "embedder" if "embedder" in kinds else "reranker")

    async def _states(
        self, one: Served, kind: str, items: Sequence[Any], lengths: Sequence[int], caller: Caller
    ) -> list[Any]:
        async with self._turn:
            return list(await asyncio.to_thread(one.states, kind, items, 0))

    async def start(self) -> None:
        """Warm up, and check every model against its golden file."""

    async def close(self) -> None:
        """Take no more, finish what is under way, end the threads."""

    def state(self) -> State:
        """What each model has to do."""
        idle = Load(0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0)
        return State(True, False, dict.fromkeys(self._served, idle), self.index is not None)
