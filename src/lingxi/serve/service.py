"""What every dialect, page and tool asks: models by name, vectors, scores, segments, passages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lingxi.embedder import Embedder
from lingxi.errors import InputError
from lingxi.index.index import Index
from lingxi.index.media import MediaHit, MediaIndex
from lingxi.index.search import Hit
from lingxi.inputs import Mixed, pictures_in, sounds_in
from lingxi.media import MediaEmbedder
from lingxi.media.preview import Preview
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
from lingxi.serve.faces import QueuedEmbedder, QueuedReranker
from lingxi.serve.models import Models
from lingxi.serve.proof import prove
from lingxi.serve.refusal import Refusal, invalid, refused
from lingxi.serve.served import Ids, Served
from lingxi.serve.settings import Settings
from lingxi.serve.shelf import Shelf
from lingxi.serve.watch import Spent, Unwatched, Watch
from lingxi.texts import Truncate

__all__ = [
    "Caller", "Card", "Embedded", "Load", "Scored", "Segment", "Service", "State", "TokenSpan", "Wanted",
]  # fmt: skip

T = TypeVar("T")
# Texts of fewer characters are tokenized at once: handing them to a thread would take longer.
_SHORT = 2000
_THREADS = 4


class Service:
    """Models by name (the first of a kind is its default) and an index, for any number of requests at once.

    `media` are the pictures and sound beside the passages of the index, by the first embedder.
    `adapters` says of a name which base it belongs to. `start` warms up and checks, and is called before the
    first request; `close` ends the threads. Raises InputError for two models of one name.
    """

    def __init__(
        self,
        embedders: Mapping[str, Embedder | MediaEmbedder] | None = None,
        rerankers: Mapping[str, Reranker] | None = None,
        *,
        index: Index | None = None,
        media: MediaIndex | None = None,
        settings: Settings | None = None,
        adapters: Mapping[str, str] | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.index = index
        self.shelf = Shelf(media, index.told) if index is not None and media is not None else None
        self._watch: Watch = watch or Unwatched()
        self._models = Models(embedders or {}, rerankers or {}, adapters or {}, self.settings, self._watch)
        self._pool = ThreadPoolExecutor(_THREADS, "lingxi-texts")
        self._ready = self._draining = False

    def cards(self) -> tuple[Card, ...]:
        """What is served, in the order given."""
        return tuple(one.card for one in self._models)

    def card(self, model: str | None, kind: ModelKind) -> Card:
        """The card of a name, or of the default of a kind; raises Refusal 404, or 400 for another kind."""
        return self._models.of(model, kind).card

    async def embed(
        self, inputs: Sequence[str | Mixed | Ids], wanted: Wanted, caller: Caller, *, model: str | None = None
    ) -> Embedded:
        """Vectors [n, dim] of texts, pictures or token ids; raises Refusal."""
        return (await self.embed_each(inputs, wanted, (wanted.precision,), caller, model=model))[0]

    async def embed_each(
        self,
        inputs: Sequence[str | Mixed | Ids],
        wanted: Wanted,
        precisions: Sequence[str],
        caller: Caller,
        *,
        model: str | None = None,
    ) -> list[Embedded]:
        """`embed` in each of several precisions, computed once; raises Refusal."""
        one = self._models.of(model, "embedder")
        one.check_dim(wanted.dim)
        ids, seconds = await self._ids(one, inputs, caller, lambda: one.ids(inputs, wanted))
        rows = await self._rows(one, "pooled", ids, ids, caller, seconds)
        states, tokens = _stacked(rows, one), list(map(len, ids))
        return [
            Embedded(await self._finish(one, states, replace(wanted, precision=precision)), tokens)
            for precision in precisions
        ]

    async def score(
        self,
        pairs: Sequence[tuple[str | Mixed, str | Mixed]],
        caller: Caller,
        *,
        model: str | None = None,
        instruction: str | None = None,
        max_tokens_per_document: int | None = None,
        truncate: Truncate = "end",
    ) -> Scored:
        """How well each (query, document) pair fits [n]; raises Refusal."""
        one = self._models.of(model, "reranker")
        texts = [text for pair in pairs for text in pair]
        ids, seconds = await self._ids(
            one,
            texts,
            caller,
            lambda: one.pair_ids(pairs, instruction, max_tokens_per_document, truncate),
            len(pairs),
        )
        rows = await self._rows(one, "pooled", ids, ids, caller, seconds)
        scores, logits = one.reranker.finish(_stacked(rows, one))
        return Scored(scores, logits, list(map(len, ids)))

    async def token_states(
        self,
        texts: Sequence[str | Ids],
        caller: Caller,
        *,
        model: str | None = None,
        wanted: Wanted | None = None,
    ) -> list[NDArray[np.float32]]:
        """States [tokens, width] of all tokens of each text, before pooling; raises Refusal."""
        one = self._models.of(model, "embedder")
        ids, seconds = await self._ids(one, texts, caller, lambda: one.ids(texts, wanted or Wanted()))
        return await self._rows(one, "tokens", ids, ids, caller, seconds)

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
        """Each document in segments of whole sentences, at most `max_tokens` of its tokens, with vectors.

        Each is embedded by itself, or, with `late`, after all before it (late chunking). Raises Refusal.
        """
        one = self._models.of(model, "embedder")
        one.check_dim(wanted.dim)
        if not 1 <= max_tokens <= one.card.max_length:
            raise invalid(
                f"max_tokens is {max_tokens}", f"choose 1 to {one.card.max_length} tokens", "max_tokens"
            )
        cut, seconds = await self._ids(one, documents, caller, lambda: one.cut(documents, max_tokens))
        texts = [[text[a:b] for a, b in spans] for text, spans in zip(documents, cut, strict=True)]
        states, tokens = await self._segment_states(one, texts, wanted, caller, seconds, late)
        vectors = await self._finish(one, states, wanted)
        bounds = [0, *accumulate(map(len, cut))]
        return [
            [
                Segment(*span, text[slice(*span)], tokens[i], vectors[i])
                for span, i in zip(spans, range(start, stop), strict=True)
            ]
            for text, spans, (start, stop) in zip(documents, cut, pairwise(bounds), strict=True)
        ]

    async def _segment_states(
        self,
        one: Served,
        texts: Sequence[Sequence[str]],
        wanted: Wanted,
        caller: Caller,
        seconds: float,
        late: bool,
    ) -> tuple[NDArray[np.float32], list[int]]:
        """States [segments, hidden] of all documents' segments, and the tokens of each."""
        plain = wanted.instruction is None and wanted.prompt_name is None and wanted.prompt is None
        if not late:
            how = replace(wanted, prompt_name="document") if plain else wanted
            ids = await self._threaded(lambda: one.ids([t for some in texts for t in some], how))
            rows = await self._rows(one, "pooled", ids, ids, caller, seconds)
            return _stacked(rows, one), list(map(len, ids))
        if not plain:
            raise invalid("late chunking takes no instruction", "leave it out", "instruction")
        laid = await self._threaded(lambda: [part for some in texts for part in one.embedder.laid(some)])
        rows = await self._rows(one, "laid", laid, [part.ids for part in laid], caller, seconds)
        found = np.concatenate(rows) if rows else np.empty((0, one.embedder.hidden), np.float32)
        return found, [stop - start for part in laid for start, stop in part.spans]

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
        """The best passages of the index, best first; `below` are paths as hits show them.

        `kinds` and programming `languages` say what files are to be, and `mark` looks for the best sentence
        of each passage, as of `Index.search`.

        Raises Refusal: 404 without an index, or without a reranker where one is asked for.
        """
        index = self._index()
        embedder = self.face(caller)
        reranker = self.judge(caller) if rerank else None
        return await self._found(
            lambda: index.search_as(
                embedder,
                reranker,
                query,
                top_k=top_k,
                instruction=instruction,
                below=below,
                kinds=kinds,
                languages=languages,
                mark=mark,
            )
        )

    async def vector_of(
        self, query: str | Mixed, caller: Caller, *, instruction: str | None = None
    ) -> NDArray[np.float32]:
        """The vector [dim] of a text, picture or sound that the index is searched by; raises Refusal."""
        wanted = Wanted(instruction=instruction, prompt_name="query" if instruction is None else None)
        return np.asarray((await self.embed([query], wanted, caller)).vectors[0], np.float32)

    async def near(
        self,
        vector: NDArray[np.float32],
        *,
        top_k: int = 10,
        below: Sequence[str] = (),
        kinds: Sequence[str] = (),
        languages: Sequence[str] = (),
    ) -> list[Hit]:
        """The passages of the index nearest to a vector, as of a picture; raises Refusal."""
        index = self._index()
        return await self._found(lambda: index.near(vector, top_k, below, kinds, languages))

    async def beside(
        self,
        vector: NDArray[np.float32],
        *,
        top_k: int = 10,
        below: Sequence[str] = (),
        kinds: Sequence[str] = (),
    ) -> list[MediaHit]:
        """Pictures, pages and sound of the index, `top_k` of each, nearest to a vector; raises Refusal."""
        shelf = self._shelf()
        return await self._found(lambda: shelf.nearest(vector, top_k=top_k, kinds=kinds, below=below))

    def vector_at(self, key: str) -> NDArray[np.float32]:
        """The vector of a picture, page or sound that was found; raises Refusal 404."""
        return self._shelf().vector(key)

    async def shown(self, key: str) -> Preview:
        """What a browser gets of a picture, page or sound that was found; raises Refusal 404."""
        return await self._shelf().shown(key)

    def _index(self) -> Index:
        if self.index is None:
            raise Refusal(404, "not_found", "no index is served here", "start the server with --index")
        return self.index

    def _shelf(self) -> Shelf:
        if self.shelf is None:
            raise Refusal(
                404, "not_found", "no pictures or sound are served here",
                "index some with a model that reads them, and serve it first",
            )  # fmt: skip
        return self.shelf

    async def _found(self, search: Callable[[], list[T]]) -> list[T]:
        try:
            return await self._threaded(search)
        except InputError as error:
            raise refused(error) from None

    def face(self, caller: Caller, model: str | None = None) -> QueuedEmbedder:
        """An embedder for threads that work for a caller; asked in the event loop, raises Refusal."""
        one = self._models.of(model, "embedder")
        one.admit(caller)
        return QueuedEmbedder(
            one.card.dim,
            one.card.fingerprint,
            lambda texts, how: self.embed(texts, how, caller, model=one.card.name),
            asyncio.get_running_loop(),
            one.embedder.prompts,
        )

    def judge(self, caller: Caller) -> QueuedReranker:
        """A reranker for threads that work for a caller; as `face`."""
        self._models.of(None, "reranker").admit(caller)
        return QueuedReranker(
            lambda pairs, task: self.score(pairs, caller, instruction=task), asyncio.get_running_loop()
        )

    def embedder(self, model: str | None = None) -> Embedder:
        """An embedder itself, for what is done before requests are taken; raises Refusal."""
        return self._models.of(model, "embedder").embedder

    def tokenize(
        self, texts: Sequence[str], *, model: str | None = None, specials: bool = True
    ) -> list[list[TokenSpan]]:
        """The tokens of each text with their places, as the embedder (else the reranker) reads it."""
        return self._models.any(model).tokenize(texts, specials=specials)

    def decode(
        self, ids: Sequence[Ids], *, model: str | None = None, skip_specials: bool = True
    ) -> list[str]:
        """The text of each run of token ids; raises Refusal 400 for an id that the model has not."""
        return self._models.any(model).decode(ids, skip_specials=skip_specials)

    async def _ids(
        self,
        one: Served,
        texts: Sequence[str | Mixed | Ids],
        caller: Caller,
        make: Callable[[], list[T]],
        items: int | None = None,
    ) -> tuple[list[T], float]:
        """What a tokenizer makes of texts, and the seconds; in a thread where they are long."""
        one.admit(caller)
        count, most = len(texts) if items is None else items, self.settings.max_items
        if count > most:
            raise Refusal(
                413, "too_large", f"{count} inputs", f"send at most {most} at a time", param="input"
            )
        most = self.settings.max_pictures
        seen = {id(item): pictures_in(item) + sounds_in(item) for item in texts}
        if (looked := sum(seen.values())) > most:
            raise Refusal(
                413,
                "too_large",
                f"{looked} pictures or sounds",
                f"send at most {most} at a time",
                param="input",
            )
        began = time.monotonic()
        short = not looked and sum(len(text) for text in texts if not isinstance(text, Mixed)) < _SHORT
        made = make() if short else await self._threaded(make)
        return made, time.monotonic() - began

    async def _rows(
        self,
        one: Served,
        kind: str,
        items: Sequence[Any],
        ids: Sequence[Ids],
        caller: Caller,
        tokenized: float,
    ) -> list[Any]:
        lengths = list(map(len, ids))
        most = self.settings.max_request_tokens
        if sum(lengths) > most:
            raise Refusal(
                413, "too_large", f"{sum(lengths)} tokens", f"send at most {most} at a time", param="input"
            )
        found = await one.queue.rows(kind, items, lengths, caller)
        card = one.card
        self._watch.spent(Spent(card.kind, card.name, lengths, tokenized, found.waited, found.computed))
        return found.rows

    async def _finish(self, one: Served, states: NDArray[np.float32], wanted: Wanted) -> NDArray[Any]:
        def make() -> NDArray[Any]:
            return one.embedder.finish(
                states, truncate_dim=wanted.dim, precision=wanted.precision, normalize=wanted.normalize
            )

        try:
            return make() if len(states) < _SHORT // 100 else await self._threaded(make)
        except InputError as error:
            raise refused(error) from None

    async def _threaded(self, make: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, make)

    async def start(self) -> None:
        """Warm up and, where the settings say so, check every model against its golden file.

        Raises ModelError naming the model whose served vectors or scores are not those of its golden file.
        """
        if self._ready:
            return
        for card in self.cards():
            await prove(self, self._models.of(card.name, card.kind), self.settings.self_check)
        self._ready = True

    def drain(self) -> None:
        """Take no more requests (503); what is under way is finished."""
        self._draining = True
        for one in self._models:
            one.queue.drain()

    async def idle(self, seconds: float) -> bool:
        """Wait until nothing is under way, at most so long; whether that is so."""
        return all(await asyncio.gather(*(one.queue.idle(seconds) for one in self._models)))

    def close(self) -> None:
        """End the threads after what they are at; what waits is refused."""
        self.drain()
        for one in self._models:
            one.queue.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self.shelf is not None:
            self.shelf.close()

    def state(self) -> State:
        """Whether requests are taken, and what each model has to do."""
        ready = self._ready and not self._draining and all(one.queue.alive() for one in self._models)
        loads = {one.card.name: one.queue.load() for one in self._models}
        return State(ready, self._draining, loads, self.index is not None, self.shelf is not None)


def _stacked(rows: Sequence[Any], one: Served) -> NDArray[np.float32]:
    return np.stack(rows) if rows else np.empty((0, one.model.hidden), np.float32)
