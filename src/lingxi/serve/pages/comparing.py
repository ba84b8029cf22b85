"""The compare page: two sides order the same texts for a query."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from lingxi.serve.contract import Caller, Card
from lingxi.serve.pages.asked import Serves
from lingxi.serve.pages.forms import CompareForm, FormError, Side
from lingxi.serve.pages.orders import Comparison, compare
from lingxi.serve.pages.sides import Scoring, card_of, scored

_PASSAGES = 20


@dataclass(frozen=True, slots=True)
class Compared:
    """The texts, the places of those of the index, what each side scored, and how they differ."""

    texts: list[str]
    places: list[str]
    scoring_a: Scoring
    scoring_b: Scoring
    result: Comparison


async def compared(service: Serves, form: CompareForm, caller: Caller) -> Compared:
    """Compare as a form says; raises FormError and Refusal."""
    cards = service.cards()
    card_a, card_b = card_of(cards, form.a), card_of(cards, form.b)
    texts, places = await _material(service, form, caller)
    a, b = await asyncio.gather(
        scored(service, card_a, form.a, form.query, texts, form.instruction, caller),
        scored(service, card_b, form.b, form.query, texts, form.instruction, caller),
    )
    return Compared(texts, places, a, b, compare(a.scores, b.scores))


async def _material(service: Serves, form: CompareForm, caller: Caller) -> tuple[list[str], list[str]]:
    if form.source == "texts":
        return list(form.texts), []
    hits = await service.search(form.query, caller, top_k=_PASSAGES, instruction=form.instruction, mark=False)
    if len(hits) < 2:
        raise FormError("few_passages")
    return [hit.text for hit in hits], [hit.place for hit in hits]


def usual_sides(cards: Sequence[Card]) -> tuple[Side, Side]:
    """What is compared unless told: two embedders where there are two, else one and half its width."""
    embedders = [card for card in cards if card.kind == "embedder"] or list(cards)
    if not embedders:
        return Side(), Side()
    first = Side(embedders[0].name)
    if len(embedders) > 1:
        return first, Side(embedders[1].name)
    narrower = [dim for dim in embedders[0].dims if dim <= embedders[0].dim // 2]
    return first, Side(embedders[0].name, max(narrower) if narrower else None)
