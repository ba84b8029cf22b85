"""One side of a comparison: how a model, at a width and a precision, scores texts for a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.serve.contract import Caller, Card, Wanted
from lingxi.serve.pages.asked import Serves
from lingxi.serve.pages.forms import FormError, Side
from lingxi.vectors import similarity


@dataclass(frozen=True, slots=True)
class Scoring:
    """A score of each text, what it is (`cosine` or `probability`), and the bytes of a vector (0: none)."""

    label: str
    measure: str
    scores: list[float]
    bytes: int


def card_of(cards: Sequence[Card], side: Side) -> Card:
    """The card a side names, or the first; raises FormError for one not served, or a width it has not."""
    card = next((card for card in cards if side.model in (None, card.name)), None)
    if card is None:
        raise FormError("bad_choice", "model")
    if card.kind == "reranker" and (side.dim is not None or side.precision != "float32"):
        raise FormError("only_embedders")
    if side.dim is not None and side.dim > card.dim:
        low = min((*card.dims, card.dim))
        raise FormError("bad_number", "width", low=low, high=card.dim)
    return card


async def scored(
    service: Serves, card: Card, side: Side, query: str, texts: Sequence[str], instruction: str | None,
    caller: Caller,
) -> Scoring:  # fmt: skip
    """How a side scores the texts for the query; raises Refusal."""
    if card.kind == "reranker":
        pairs = [(query, text) for text in texts]
        judged = await service.score(pairs, caller, model=card.name, instruction=instruction)
        return Scoring(card.name, "probability", judged.scores.tolist(), 0)
    as_query = Wanted(
        instruction=instruction,
        prompt_name="query" if instruction is None else None,
        dim=side.dim,
        precision=side.precision,
    )
    as_text = Wanted(prompt_name="document", dim=side.dim, precision=side.precision)
    asked = await service.embed([query], as_query, caller, model=card.name)
    given = await service.embed(texts, as_text, caller, model=card.name)
    cosines = similarity(_plain(asked.vectors, side.precision), _plain(given.vectors, side.precision))[0]
    return Scoring(_label(card, side), "cosine", cosines.tolist(), int(given.vectors[0].nbytes))


def _label(card: Card, side: Side) -> str:
    width = "" if side.dim in (None, card.dim) else f" · {side.dim}"
    return card.name + width + ("" if side.precision == "float32" else f" · {side.precision}")


def _plain(codes: NDArray[Any], precision: str) -> NDArray[np.float32]:
    """Codes as floats whose cosine is that of what they stand for; signs as ±1."""
    if precision == "uint8":
        return np.asarray(codes, np.float32) - 128
    if precision in ("binary", "ubinary"):
        packed = (codes.astype(np.int16) + (128 if precision == "binary" else 0)).astype(np.uint8)
        return np.unpackbits(packed, axis=-1).astype(np.float32) * 2 - 1
    return np.asarray(codes, np.float32)
