"""Our own paths: `/search` the index, `/segment` documents with vectors, `/fingerprint` what is served."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from lingxi.index.media import MediaHit
from lingxi.index.search import Hit
from lingxi.serve.attend import Attend
from lingxi.serve.contract import Caller, Card, Segment, Wanted
from lingxi.serve.dialects.bodies import Body, Count, posts
from lingxi.serve.exchange import answer
from lingxi.serve.refusal import Refusal, invalid
from lingxi.serve.searching import SearchWanted, asked_for, searched
from lingxi.serve.service import Service


class Search(Body):
    """What is looked for in the index; `below` names files or folders of it, `rerank` asks the reranker.

    `kinds` (text, markdown, code … image, page, audio) and programming `languages` say what files are to be.
    In the place of words an `image` or `audio` (a data: URL) is an example, or `like`, the key of something
    found. Pictures, pages and sound come in `media`, `top_k` of each.
    """

    query: str | None = None
    image: str | None = None
    audio: str | None = None
    like: str | None = None
    top_k: Annotated[int, Field(ge=1, le=1000)] = 10
    instruction: str | None = None
    below: list[str] = Field(default_factory=list)
    kinds: list[str] = Field(default_factory=list)
    languages: list[str] = Field(default_factory=list)
    rerank: bool = False


class SegmentDocuments(Body):
    """Documents to divide; `late` embeds each segment after all before it."""

    documents: Annotated[list[str], Field(min_length=1)]
    model: str | None = None
    max_tokens: Annotated[int, Field(ge=8, le=2**31 - 1)] = 256
    late: bool = False
    dimensions: Count | None = None
    precision: Literal["float32", "int8", "uint8", "binary", "ubinary"] = "float32"


def router(service: Service, attend: Attend) -> APIRouter:
    """Our own paths."""
    routes = APIRouter(tags=["lingxi"])

    posts(routes, "/search", Search, found, service, attend)
    posts(routes, "/segment", SegmentDocuments, segmented, service, attend)

    @routes.get("/fingerprint")
    def fingerprint() -> dict[str, Any]:
        """What a stored vector or score depends on, model by model."""
        return {"models": [_said(card) for card in service.cards()]}

    return routes


async def found(service: Service, body: Search, caller: Caller) -> dict[str, Any]:
    """The best passages of the index, best first, and the pictures, pages and sound beside them."""
    _check(body)
    wanted = SearchWanted(
        body.top_k, body.instruction, tuple(body.below), tuple(body.kinds), tuple(body.languages), body.rerank
    )
    result = await searched(service, asked_for(body.query, body.image, body.audio, body.like), wanted, caller)
    said = {"id": caller.request, "query": body.query, "hits": [_shown(hit) for hit in result.hits]}
    return said if result.media is None else {**said, "media": [_beside(hit) for hit in result.media]}


def _check(body: Search) -> None:
    given = [name for name in ("query", "image", "audio", "like") if getattr(body, name) is not None]
    if len(given) != 1:
        said = " and ".join(given) or "nothing"
        raise invalid(f"{said} to search for", "send query, image, audio or like, one of them", "query")
    if body.query is not None and not body.query.strip():
        raise invalid("the query is empty", "give the words or the question to search for", "query")
    if body.query is None and (body.rerank or body.instruction is not None):
        raise invalid("an example is not reranked or instructed", "leave both out, or search words", given[0])


def _beside(hit: MediaHit) -> dict[str, Any]:
    return {
        "path": hit.path,
        "place": hit.place,
        "kind": hit.kind,
        "page": hit.page or None,
        "score": hit.score,
        "key": hit.key,
    }


def _shown(hit: Hit) -> dict[str, Any]:
    return {
        "path": hit.path,
        "place": hit.place,
        "start": hit.start,
        "end": hit.end,
        "first_line": hit.first_line,
        "last_line": hit.last_line,
        "text": hit.text,
        "score": hit.score,
        "scores": dict(hit.scores),
        "ranks": dict(hit.ranks),
        "sentence": list(hit.sentence),
    }


async def segmented(service: Service, body: SegmentDocuments, caller: Caller) -> dict[str, Any]:
    """Segments of whole sentences, `document[start:stop]` in characters, with their vectors."""
    wanted = Wanted(dim=body.dimensions, precision=body.precision)
    documents = await service.segment(
        body.documents, wanted, caller, model=body.model, max_tokens=body.max_tokens, late=body.late
    )
    data = [
        {"index": i, "segments": [_divided(one) for one in segments]} for i, segments in enumerate(documents)
    ]
    tokens = sum(one.tokens for segments in documents for one in segments)
    return {
        "id": caller.request,
        "model": service.card(body.model, "embedder").name,
        "late": body.late,
        "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _divided(one: Segment) -> dict[str, Any]:
    return {
        "start": one.start,
        "stop": one.stop,
        "tokens": one.tokens,
        "text": one.text,
        "embedding": one.vector,
    }


def _said(card: Card) -> dict[str, Any]:
    return {
        "name": card.name,
        "kind": card.kind,
        "dims": list(card.dims),
        "max_length": card.max_length,
        "weights": card.weights,
        "adapter_of": card.adapter_of,
        "fingerprint": card.fingerprint,
    }


def refusal(error: Refusal) -> Response:
    """Our error: what happened, how to mend it, which field is at fault."""
    content = {"message": error.reason, "remedy": error.remedy, "type": error.kind, "param": error.param}
    return answer({"error": content}, 400 if error.status == 422 else error.status)
