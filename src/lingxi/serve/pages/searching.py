"""The search page: a form, the passages found for it, and why each stands where it does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from lingxi.errors import InputError
from lingxi.index.search import Hit
from lingxi.parse import kind_of
from lingxi.serve.contract import Caller
from lingxi.serve.pages.asked import Serves
from lingxi.serve.pages.forms import SearchForm
from lingxi.serve.pages.passages import Passage, passages
from lingxi.serve.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Found:
    """Passages for a form; `narrowed` is how many there were before the kind was asked for (0: not asked)."""

    passages: list[Passage]
    narrowed: int
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
            rerank=rerank,
        )
    except (InputError, Refusal) as error:
        # A path that the index does not hold is as one where nothing was found.
        if not form.path or getattr(error, "status", 400) != 400:
            raise
        hits = []
    ms = round(1000 * (time.perf_counter() - began))
    kept = [hit for hit in hits if _is_of(hit, form.kind)]
    return Found(passages(kept), len(hits) if form.kind else 0, rerank, ms)


def has_reranker(service: Serves) -> bool:
    """Whether a reranker is served."""
    return any(card.kind == "reranker" for card in service.cards())


def _is_of(hit: Hit, kind: str | None) -> bool:
    return kind is None or kind_of(Path(hit.path))[0] == kind
