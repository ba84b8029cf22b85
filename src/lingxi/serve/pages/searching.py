"""The search page: a form, the passages found, why each stands where it does, and what is beside them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from lingxi.errors import InputError
from lingxi.index.media import KINDS as MEDIA_KINDS
from lingxi.serve.contract import Caller
from lingxi.serve.pages.asked import Serves
from lingxi.serve.pages.beside import Row, rows
from lingxi.serve.pages.forms import KINDS, SearchForm
from lingxi.serve.pages.passages import Passage, passages
from lingxi.serve.pages.uploads import Example
from lingxi.serve.refusal import Refusal
from lingxi.serve.searching import Like, Query, SearchResult, SearchWanted, searched


@dataclass(frozen=True, slots=True)
class Found:
    """Passages and rows of pictures and sound for a form, and how they came about."""

    passages: list[Passage]
    rows: list[Row]
    rerank: bool
    ms: int

    @property
    def beside(self) -> int:
        """How many pictures, pages and sounds there are."""
        return sum(len(row.things) for row in self.rows)


async def found(service: Serves, form: SearchForm, example: Example | None, caller: Caller) -> Found:
    """Search as a form says; raises Refusal. A path without passages finds nothing."""
    began = time.perf_counter()
    query: Query = example.item if example else Like(form.like) if form.like else form.query
    rerank = form.rerank and has_reranker(service) and isinstance(query, str)
    wanted = SearchWanted(
        top_k=form.number,
        instruction=form.instruction if isinstance(query, str) else None,
        below=(form.path,) if form.path else (),
        kinds=(form.kind,) if form.kind else (),
        rerank=rerank,
    )
    try:
        result = await searched(service, query, wanted, caller)
    except (InputError, Refusal) as error:
        # A path that the index does not hold is as one where nothing was found.
        if not form.path or getattr(error, "status", 400) != 400:
            raise
        result = SearchResult([], None)
    if not isinstance(query, str):
        # Nothing in a passage is nearer to an example than the rest of it: no sentence is marked.
        result = replace(result, hits=[replace(hit, sentence=(hit.start, hit.start)) for hit in result.hits])
    ms = round(1000 * (time.perf_counter() - began))
    return Found(passages(result.hits), rows(result.media or ()), rerank, ms)


def has_reranker(service: Serves) -> bool:
    """Whether a reranker is served."""
    return any(card.kind == "reranker" for card in service.cards())


def kinds_of(service: Serves) -> tuple[str, ...]:
    """The kinds of files that may be asked for."""
    return KINDS + MEDIA_KINDS if service.state().media else KINDS
