"""The search page: a form, the passages found for it, and why each stands where it does."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lingxi.errors import InputError
from lingxi.serve.contract import Caller
from lingxi.serve.pages.asked import Serves
from lingxi.serve.pages.forms import SearchForm
from lingxi.serve.pages.passages import Passage, passages
from lingxi.serve.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Found:
    """Passages for a form, and how they came about."""

    passages: list[Passage]
    rerank: bool
    ms: int


async def found(service: Serves, form: SearchForm, caller: Caller) -> Found:
    """Search as a form says; raises Refusal. A path without passages finds nothing."""
    began = time.perf_counter()
    rerank = form.rerank and has_reranker(service)
    try:
        hits = await service.search(
            form.query,
            caller,
            top_k=form.number,
            instruction=form.instruction,
            below=(form.path,) if form.path else (),
            kinds=(form.kind,) if form.kind else (),
            rerank=rerank,
        )
    except (InputError, Refusal) as error:
        # A path that the index does not hold is as one where nothing was found.
        if not form.path or getattr(error, "status", 400) != 400:
            raise
        hits = []
    ms = round(1000 * (time.perf_counter() - began))
    return Found(passages(hits), rerank, ms)


def has_reranker(service: Serves) -> bool:
    """Whether a reranker is served."""
    return any(card.kind == "reranker" for card in service.cards())
