"""TEI (text-embeddings-inference): its paths, its defaults, its errors; `tei_bodies` says what they take.

`/rerank` is routed by `rerank`, which tells TEI's requests from others'. It knows one model: the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.responses import Response

import lingxi
from lingxi.serve.attend import Attend
from lingxi.serve.contract import Caller, Card, Wanted
from lingxi.serve.dialects.bodies import posts, ranked
from lingxi.serve.dialects.tei_bodies import (
    Decode,
    Pair,
    Parameters,
    Root,
    Similarity,
    TeiEmbed,
    TeiEmbedAll,
    TeiRerank,
    Tokenize,
)
from lingxi.serve.exchange import answer
from lingxi.serve.refusal import Refusal, invalid
from lingxi.serve.service import Service

_POOLING = {"lasttoken": "last_token"}


class EmptyError(Refusal):
    """Nothing was sent, for which TEI has a status of its own."""

    def __init__(self, field: str) -> None:
        super().__init__(400, "invalid_input", f"{field} is empty", "send at least one", param=field)


_UNREADY: dict[int | str, dict[str, Any]] = {503: {"description": "Not ready"}}


def router(service: Service, attend: Attend) -> APIRouter:
    """TEI's paths."""
    routes = APIRouter(tags=["TEI"])

    def post(path: str, body: Any, make: Any) -> None:
        posts(routes, path, body, make, service, attend)

    post("/embed", TeiEmbed, embedded)
    post("/embed_all", TeiEmbedAll, all_tokens)
    post("/embed_sparse", TeiEmbedAll, sparse)
    post("/similarity", Similarity, similar)
    post("/predict", Pair, predicted)
    post("/tokenize", Tokenize, tokenized)
    post("/decode", Decode, decoded)
    post("/", Root, at_root)

    @routes.get("/info")
    def info() -> dict[str, Any]:
        """What is served, in TEI's words."""
        return described(service)

    @routes.get("/health", response_class=Response, responses=_UNREADY)
    @routes.get("/ping", response_class=Response, responses=_UNREADY)
    @routes.get("/", response_class=Response, responses=_UNREADY)
    def health() -> Response:
        """200 while requests are taken, 503 otherwise."""
        if service.state().ready:
            return Response()
        raise Refusal(503, "unready", "unhealthy", "ask again when the models are loaded")

    return routes


async def embedded(service: Service, body: TeiEmbed, caller: Caller) -> list[Any]:
    """A vector for each input."""
    wanted = Wanted(
        prompt_name=body.prompt_name, dim=body.dimensions, normalize=body.normalize, truncate=body.mode
    )
    return list((await service.embed(_some(body.many, "inputs"), wanted, caller)).vectors)


async def all_tokens(service: Service, body: TeiEmbedAll, caller: Caller) -> list[Any]:
    """The state of every token of each input, before pooling."""
    wanted = Wanted(prompt_name=body.prompt_name, truncate=body.mode)
    return await service.token_states(_some(body.many, "inputs"), caller, wanted=wanted)


async def sparse(service: Service, body: TeiEmbedAll, caller: Caller) -> None:
    """Refused: no model here makes sparse vectors."""
    raise Refusal(
        424, "backend", "no sparse model is served here", "use /embed, or search by words in an index"
    )


async def reranked(service: Service, body: TeiRerank, caller: Caller) -> list[dict[str, Any]]:
    """The texts by falling score."""
    pairs = [(body.query, text) for text in _some(body.texts, "texts")]
    found = await service.score(pairs, caller, truncate=body.mode)
    values = found.logits if body.raw_scores else found.scores
    return [
        {"index": i, "score": values[i]} | ({"text": body.texts[i]} if body.return_text else {})
        for i in ranked(values, None)
    ]


async def similar(service: Service, body: Similarity, caller: Caller) -> Any:
    """The cosine of the source sentence with each sentence."""
    how = body.parameters or Parameters()
    texts = [body.inputs.source_sentence, *_some(body.inputs.sentences, "sentences")]
    wanted = Wanted(prompt_name=how.prompt_name, truncate=how.mode)
    found = (await service.embed(texts, wanted, caller)).vectors
    return np.asarray(found[1:] @ found[0], np.float32)


async def predicted(service: Service, body: Pair, caller: Caller) -> list[Any]:
    """The reranker's one label for a pair, or for each of several."""
    flat = (
        body.inputs if isinstance(body.inputs, str) else [one for one in body.inputs if isinstance(one, str)]
    )
    single = bool(flat) or isinstance(body.inputs, str)
    given = [[flat] if isinstance(flat, str) else flat] if single else _some(body.inputs, "inputs")
    if any(len(pair) != 2 for pair in given):
        raise invalid("a reranker judges pairs", "send [query, text], or a list of such pairs", "inputs")
    found = await service.score([(a, b) for a, b in given], caller, truncate=body.mode)
    values = found.logits if body.raw_scores else found.scores
    labels = [[{"score": value, "label": "LABEL_0"}] for value in values]
    return labels[0] if single else labels


async def tokenized(service: Service, body: Tokenize, caller: Caller) -> list[list[dict[str, Any]]]:
    """The tokens of each text with their places in it."""
    if body.prompt_name is not None:
        raise invalid("prompts are not tokenized here", "put the prompt before the text", "prompt_name")
    texts = [body.inputs] if isinstance(body.inputs, str) else _some(body.inputs, "inputs")
    found = service.tokenize(texts, specials=body.add_special_tokens)
    return [
        [{"id": t.id, "text": t.text, "special": t.special, "start": t.start, "stop": t.stop} for t in tokens]
        for tokens in found
    ]


async def decoded(service: Service, body: Decode, caller: Caller) -> list[str]:
    """The text of each run of token ids."""
    ids = [one for one in body.ids if isinstance(one, int)]
    runs = [ids] if ids else [one for one in _some(body.ids, "ids") if not isinstance(one, int)]
    return service.decode(runs, skip_specials=body.skip_special_tokens)


async def at_root(service: Service, body: Root, caller: Caller) -> Any:
    """What a client that knows the address alone sends there: texts, sentences to compare, or a reranking."""
    asked = body.root
    if isinstance(asked, Similarity):
        return await similar(service, asked, caller)
    if isinstance(asked, TeiRerank):
        return await reranked(service, asked, caller)
    return await embedded(service, asked, caller)


def described(service: Service) -> dict[str, Any]:
    """TEI's `/info` of the first model."""
    card, settings = service.cards()[0], service.settings
    return {
        "model_id": card.name,
        "model_sha": None,
        "model_dtype": card.weights,
        "served_model_name": card.name,
        "model_type": _model_type(card),
        "max_concurrent_requests": None,
        "max_input_length": card.max_length,
        "max_batch_tokens": settings.max_batch_tokens,
        "max_batch_requests": None,
        "max_client_batch_size": settings.max_items,
        "auto_truncate": True,
        "tokenization_workers": settings.workers,
        "version": lingxi.__version__,
        "sha": None,
        "docker_label": None,
    }


def _model_type(card: Card) -> dict[str, Any]:
    if card.kind == "embedder":
        return {"embedding": {"pooling": _POOLING.get(card.pooling or "", card.pooling)}}
    return {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}


def _some(items: Sequence[Any], field: str) -> list[Any]:
    if not items:
        raise EmptyError(field)
    return list(items)


def error_type(error: Refusal) -> str:
    """TEI's name for the sort of a failure."""
    if isinstance(error, EmptyError):
        return "Empty"
    names = {"overloaded": "Overloaded", "late": "Overloaded", "unready": "Unhealthy", "backend": "Backend"}
    return names.get(error.kind, "Validation")


def refusal(error: Refusal) -> Response:
    """TEI's error: 400 for nothing sent, 422 for what cannot be read, 424 for what cannot be computed."""
    unread = error.kind == "invalid_input" and error.status == 400 and not isinstance(error, EmptyError)
    uncomputed = error.kind == "backend" and error.status == 500
    status = 422 if unread else 424 if uncomputed else error.status
    return answer({"error": str(error), "error_type": error_type(error)}, status)
