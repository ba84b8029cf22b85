"""vLLM's `/score`; its other paths are OpenAI's and the rerankers'."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BeforeValidator

from lingxi.inputs import Mixed
from lingxi.serve.attend import Attend
from lingxi.serve.contract import Caller, Card
from lingxi.serve.dialects.bodies import posts
from lingxi.serve.dialects.openai import refusal
from lingxi.serve.dialects.rerank import DocumentObject, Scoring, each_part, scores_of, side_of
from lingxi.serve.refusal import invalid
from lingxi.serve.service import Service

__all__ = ["Score", "refusal", "router", "scored"]


Side = Annotated[str | DocumentObject | list[str | DocumentObject] | None, BeforeValidator(each_part)]


class Score(Scoring):
    """One query (or text) with many documents, or as many of one as of the other.

    A model that reads pictures takes objects too; of `{"content": [parts]}` each part is a side of its own.
    """

    queries: Side = None
    documents: Side = None
    text_1: Side = None
    text_2: Side = None


def router(service: Service, attend: Attend) -> APIRouter:
    """The paths of scores."""
    routes = APIRouter(tags=["vLLM"])
    for path in ("/score", "/v1/score"):
        posts(routes, path, Score, scored, service, attend)
    return routes


async def scored(service: Service, body: Score, caller: Caller) -> dict[str, Any]:
    """A score for each pair, in order."""
    card = service.card(body.model, "reranker")
    found = await scores_of(service, body, _pairs(body, card), caller)
    values, tokens = (found.logits if body.raw else found.scores), sum(found.tokens)
    return {
        "id": caller.request,
        "object": "list",
        "created": int(time.time()),
        "model": card.name,
        "data": [{"index": i, "object": "score", "score": score} for i, score in enumerate(values)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }


def _pairs(body: Score, card: Card) -> list[tuple[str | Mixed, str | Mixed]]:
    given = {n: getattr(body, n) for n in ("queries", "documents", "text_1", "text_2")}
    names = [name for name, value in given.items() if value is not None]
    if names not in (["queries", "documents"], ["text_1", "text_2"]):
        raise invalid(
            "a score needs two sides", "send queries and documents, or text_1 and text_2", "queries"
        )
    left, right = ([side_of(one, card, name) for one in _listed(given[name])] for name in names)
    if not left or not right or len(left) not in (1, len(right)):
        raise invalid(
            f"{len(left)} and {len(right)} texts make no pairs",
            "send one and many, or as many of each",
            names[0],
        )
    return list(zip(left * len(right) if len(left) == 1 else left, right, strict=True))


def _listed(side: str | DocumentObject | Sequence[str | DocumentObject]) -> list[str | DocumentObject]:
    return [side] if isinstance(side, str | DocumentObject) else list(side)
