"""Reranking as Cohere, Jina, Voyage, vLLM and infinity ask for it, and vLLM's `/score`.

`/rerank` is TEI's too, which sends `texts` where the others send `documents`. Voyage is told by `top_k` or
`truncation`, and answered in its shape. Documents come back where `return_documents` says so, as Cohere v1,
Voyage and infinity have it; vLLM, which always sends them, and Jina cannot be told from those.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from lingxi.serve.contract import Caller, Scored
from lingxi.serve.dialects import tei
from lingxi.serve.dialects.bodies import Attend, Body, Count, failed, ranked, said
from lingxi.serve.dialects.tei_bodies import Rerank as TeiRerank
from lingxi.serve.refusal import Refusal, invalid
from lingxi.serve.service import Service

PATHS = ("/rerank",)
SCORE_PATHS = ("/score", "/v1/score")


class TextDocument(BaseModel):
    """A document as an object: its `text` is judged, what else it holds is given back with it."""

    model_config = ConfigDict(extra="allow", strict=True)

    text: str


class Scoring(Body):
    """What rerank and score requests have in common; raw scores are logit(yes) − logit(no)."""

    model: str | None = None
    instruction: str | None = None
    max_tokens_per_doc: Count | None = None
    use_activation: bool | None = None
    raw_scores: bool | None = None
    truncation: bool | None = None
    truncate_prompt_tokens: Literal[-1] | None = None
    priority: Literal[0] | None = None
    user: str | None = None

    @property
    def raw(self) -> bool:
        """Whether scores are wanted before the sigmoid."""
        return self.raw_scores is True or self.use_activation is False


class Rerank(Scoring):
    """A query and the documents to order by how well they answer it."""

    query: str
    documents: Annotated[list[str | TextDocument], Field(min_length=1)]
    top_n: Count | None = None
    top_k: Count | None = None
    return_documents: bool | None = None
    rank_fields: list[str] | None = None

    @property
    def texts(self) -> list[str]:
        """The documents' texts."""
        return [d if isinstance(d, str) else d.text for d in self.documents]


class Score(Scoring):
    """One query (or text) with many documents, or as many of one as of the other."""

    queries: str | list[str] | None = None
    documents: str | list[str] | None = None
    text_1: str | list[str] | None = None
    text_2: str | list[str] | None = None


def _asked_by(body: Any) -> str:
    tei_like = isinstance(body, dict) and "texts" in body and "documents" not in body
    return "texts" if tei_like else "documents"


AnyRerank = Annotated[
    Annotated[Rerank, Tag("documents")] | Annotated[TeiRerank, Tag("texts")], Discriminator(_asked_by)
]


def router(service: Service, attend: Attend) -> APIRouter:
    """The paths of reranking."""
    routes = APIRouter(tags=["rerank"])

    @routes.post("/v1/rerank", response_model=None)
    async def first(body: Rerank, request: Request) -> dict[str, Any]:
        """Order documents: Cohere v1, Jina, Voyage, vLLM."""
        return await attend(request, lambda caller: reranked(service, body, caller, "1"))

    @routes.post("/v2/rerank", response_model=None)
    async def second(body: Rerank, request: Request) -> dict[str, Any]:
        """Order documents: Cohere v2, vLLM."""
        return await attend(request, lambda caller: reranked(service, body, caller, "2"))

    @routes.post("/rerank", response_model=None)
    async def either(body: AnyRerank, request: Request) -> Any:
        """Order `documents` (vLLM, infinity, Jina) or `texts` (TEI)."""
        if isinstance(body, Rerank):
            return await attend(request, lambda caller: reranked(service, body, caller, "1"))
        try:
            return await attend(request, lambda caller: tei.reranked(service, body, caller))
        except Refusal as error:
            return tei.refusal(error)

    @routes.post("/score", response_model=None)
    @routes.post("/v1/score", response_model=None)
    async def score(body: Score, request: Request) -> dict[str, Any]:
        """Score pairs: vLLM."""
        return await attend(request, lambda caller: scored(service, body, caller))

    return routes


async def reranked(service: Service, body: Rerank, caller: Caller, version: str) -> dict[str, Any]:
    """The documents by falling score, in the shape of who asked."""
    if body.rank_fields not in (None, ["text"]):
        raise invalid("documents are judged by their text alone", "put all into text", "rank_fields")
    if body.top_n is not None and body.top_k is not None:
        raise invalid("top_n and top_k are the same", "send one of them", "top_k")
    found = await _scores(service, body, [(body.query, text) for text in body.texts], caller)
    name = service.card(body.model, "reranker").name
    tokens = sum(found.tokens)
    if body.model_fields_set & {"top_k", "truncation"}:
        return {
            "object": "list",
            "data": _results(body, found, body.top_k or body.top_n, plain=True),
            "model": name,
            "usage": {"total_tokens": tokens},
        }
    return {
        "id": caller.request,
        "model": name,
        "results": _results(body, found, body.top_n),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "meta": {"api_version": {"version": version}, "billed_units": {"search_units": 1}},
    }


def _results(body: Rerank, found: Scored, top: int | None, *, plain: bool = False) -> list[dict[str, Any]]:
    values = found.logits if body.raw else found.scores
    return [
        {"index": i, "relevance_score": float(values[i])}
        | ({"document": _document(body, i, plain)} if body.return_documents else {})
        for i in ranked(values, top)
    ]


def _document(body: Rerank, place: int, plain: bool) -> str | dict[str, Any]:
    document = body.documents[place]
    if plain:
        return body.texts[place]
    return {"text": document} if isinstance(document, str) else document.model_dump()


async def scored(service: Service, body: Score, caller: Caller) -> dict[str, Any]:
    """A score for each pair, in order."""
    found = await _scores(service, body, _pairs(body), caller)
    values, tokens = (found.logits if body.raw else found.scores), sum(found.tokens)
    return {
        "id": caller.request,
        "object": "list",
        "created": int(time.time()),
        "model": service.card(body.model, "reranker").name,
        "data": [{"index": i, "object": "score", "score": float(s)} for i, s in enumerate(values)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }


def _pairs(body: Score) -> list[tuple[str, str]]:
    given = {n: getattr(body, n) for n in ("queries", "documents", "text_1", "text_2")}
    names = [name for name, value in given.items() if value is not None]
    if names not in (["queries", "documents"], ["text_1", "text_2"]):
        raise invalid(
            "a score needs two sides", "send queries and documents, or text_1 and text_2", "queries"
        )
    left, right = (_listed(given[name]) for name in names)
    if not left or not right or len(left) not in (1, len(right)):
        raise invalid(
            f"{len(left)} and {len(right)} texts make no pairs",
            "send one and many, or as many of each",
            names[0],
        )
    return list(zip(left * len(right) if len(left) == 1 else left, right, strict=True))


def _listed(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


async def _scores(
    service: Service, body: Scoring, pairs: Sequence[tuple[str, str]], caller: Caller
) -> Scored:
    return await service.score(
        pairs,
        caller,
        model=body.model,
        instruction=body.instruction,
        max_tokens_per_document=body.max_tokens_per_doc,
        truncate="none" if body.truncation is False else "end",
    )


def refusal(error: Refusal) -> JSONResponse:
    """`/rerank`'s error, in which the clients of all its dialects find their words."""
    text = said(error)
    kind = tei.error_type(error)
    return failed(error, {"message": text, "detail": text, "error": text, "error_type": kind})
