"""Reranking as Cohere, Jina, Voyage, vLLM and infinity ask for it; here is the path they share with TEI.

`/rerank` is TEI's too, which sends `texts` where the others send `documents`. Voyage is told by `top_k` or
`truncation`, and answered in its shape. Documents come back where `return_documents` says so, as Cohere v1,
Voyage and infinity have it; vLLM, which always sends them, and Jina cannot be told from those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from lingxi.inputs import Mixed
from lingxi.serve.attend import Attend
from lingxi.serve.contract import Caller, Card, Scored
from lingxi.serve.dialects import tei
from lingxi.serve.dialects.bodies import Body, Count, posts, ranked
from lingxi.serve.dialects.parts import Item, Part, item_of
from lingxi.serve.dialects.tei_bodies import TeiRerank
from lingxi.serve.exchange import answer
from lingxi.serve.refusal import Refusal, invalid
from lingxi.serve.service import Service


class DocumentObject(BaseModel):
    """A document as an object: its `text` is judged, and, by a model that reads pictures, its `image` or
    `content`; what else it holds is given back with it.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    text: str | None = None
    image: str | list[str] | None = None
    content: Annotated[list[Part], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _holds(self) -> Self:
        """A document of nothing is none."""
        if self.text is None and self.image is None and self.content is None:
            raise PydanticCustomError("document", "a document should hold text, image or content")
        return self


def each_part(given: Any) -> Any:
    """vLLM's `{"content": [parts]}` in the place of a list: each part is one of it."""
    if isinstance(given, dict) and set(given) == {"content"} and isinstance(given["content"], list):
        return [{"content": [part]} for part in given["content"]]
    return given


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


Documents = list[str | DocumentObject] | DocumentObject


class Rerank(Scoring):
    """A query and the documents to order by how well they answer it."""

    query: str | DocumentObject
    documents: Annotated[
        list[str | DocumentObject],
        Field(min_length=1),
        BeforeValidator(each_part, json_schema_input_type=Documents),
    ]
    top_n: Count | None = None
    top_k: Count | None = None
    return_documents: bool | None = None
    rank_fields: list[str] | None = None

    @property
    def texts(self) -> list[str]:
        """The documents' texts."""
        return [d if isinstance(d, str) else d.text or "" for d in self.documents]


def _asked_by(body: Any) -> str:
    tei_like = isinstance(body, dict) and "texts" in body and "documents" not in body
    return "texts" if tei_like else "documents"


class AnyRerank(RootModel[Any]):
    """`documents` (vLLM, infinity, Jina) or `texts` (TEI)."""

    root: Annotated[
        Annotated[Rerank, Tag("documents")] | Annotated[TeiRerank, Tag("texts")], Discriminator(_asked_by)
    ]


def router(service: Service, attend: Attend) -> APIRouter:
    """The path that TEI shares with others."""
    routes = APIRouter(tags=["rerank"])
    posts(routes, "/rerank", AnyRerank, either, service, attend)
    return routes


async def either(service: Service, body: AnyRerank, caller: Caller) -> Any:
    """Order `documents` (vLLM, infinity, Jina) or `texts` (TEI) by how well they answer a query."""
    if isinstance(body.root, Rerank):
        return await reranked(service, body.root, caller, "1")
    return await tei.reranked(service, body.root, caller)


async def reranked(service: Service, body: Rerank, caller: Caller, version: str) -> dict[str, Any]:
    """The documents by falling score, in the shape of who asked."""
    if body.rank_fields not in (None, ["text"]):
        raise invalid("documents are judged by their text alone", "put all into text", "rank_fields")
    if body.top_n is not None and body.top_k is not None:
        raise invalid("top_n and top_k are the same", "send one of them", "top_k")
    card = service.card(body.model, "reranker")
    query = side_of(body.query, card, "query")
    pairs = [(query, side_of(document, card, "documents")) for document in body.documents]
    found = await scores_of(service, body, pairs, caller)
    name = card.name
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


def side_of(given: str | DocumentObject, card: Card, param: str) -> str | Mixed:
    """One side of a pair; a model of texts judges an object by its text, where it has one."""
    if isinstance(given, str):
        return given
    if "image" not in card.modalities and given.text is not None:
        return given.text
    return item_of(Item.model_construct(text=given.text, image=given.image, content=given.content), param)


def _results(body: Rerank, found: Scored, top: int | None, *, plain: bool = False) -> list[dict[str, Any]]:
    values = found.logits if body.raw else found.scores
    return [
        {"index": i, "relevance_score": values[i]}
        | ({"document": _document(body, i, plain)} if body.return_documents else {})
        for i in ranked(values, top)
    ]


def _document(body: Rerank, place: int, plain: bool) -> str | dict[str, Any]:
    document = body.documents[place]
    if plain:
        return body.texts[place]
    return {"text": document} if isinstance(document, str) else document.model_dump(exclude_unset=True)


async def scores_of(
    service: Service, body: Scoring, pairs: Sequence[tuple[str | Mixed, str | Mixed]], caller: Caller
) -> Scored:
    """What the service makes of pairs, as a body wants them read."""
    return await service.score(
        pairs,
        caller,
        model=body.model,
        instruction=body.instruction,
        max_tokens_per_document=body.max_tokens_per_doc,
        truncate="none" if body.truncation is False else "end",
    )


def refusal(error: Refusal) -> Response:
    """`/rerank`'s error, in which the clients of all its dialects find their words."""
    text = str(error)
    content = {"message": text, "detail": text, "error": text, "error_type": tei.error_type(error)}
    return answer(content, error.status)
