"""What servers speak: OpenAI's `/v1/embeddings`, TEI's `/embed` and `/rerank`, Cohere's `/v1/rerank`.

A dialect makes the body of a request and reads vectors or scores, in the order asked, out of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lingxi.check.report import Values

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to ask: `vectors` (model, texts) or `scores` (model, query, documents) make a body.

    `instructed` are the fields that ask the server to put an instruction before a query; `own` says whether
    doing so is the dialect's custom; None where it has no words for one.
    """

    name: str
    path: str
    read: Callable[[Any, int], Values]
    vectors: Callable[[str, Sequence[str]], Body] | None = None
    scores: Callable[[str, str, Sequence[str]], Body] | None = None
    instructed: Callable[[str], Body] | None = lambda task: {"instruction": task}
    own: bool = False


def _openai(model: str, texts: Sequence[str]) -> Body:
    return {"model": model, "input": list(texts), "encoding_format": "float"}


def _tei(model: str, texts: Sequence[str]) -> Body:
    return {"inputs": list(texts), "normalize": True, "truncate": True}


def _tei_scores(model: str, query: str, documents: Sequence[str]) -> Body:
    return {"query": query, "texts": list(documents), "raw_scores": False, "truncate": True}


def _cohere_scores(model: str, query: str, documents: Sequence[str]) -> Body:
    body = {"model": model, "query": query, "documents": list(documents)}
    return {**body, "top_n": len(documents), "return_documents": False}


def _embeddings(answer: Any, count: int) -> Values:
    """`data[].embedding`, placed by `index`."""
    return _matrix(_placed(answer["data"], "embedding", count), count)


def _matrix(found: Any, count: int) -> Values:
    """[count, width] of lists of numbers; raises ValueError for another shape."""
    values = np.asarray(found, np.float32)
    if values.ndim != 2 or len(values) != count or values.shape[1] == 0:
        raise ValueError(f"vectors of shape {list(values.shape)} for {count} texts")
    return values


def _relevance(answer: Any, count: int) -> Values:
    return np.asarray(_placed(answer["results"], "relevance_score", count), np.float32)


def _ranks(answer: Any, count: int) -> Values:
    return np.asarray(_placed(answer, "score", count), np.float32)


def _placed(items: Sequence[Mapping[str, Any]], field: str, count: int) -> list[Any]:
    """The field of each item at the place its `index` says; raises ValueError where not all came once."""
    found = {int(item["index"]): item[field] for item in items}
    if sorted(found) != list(range(count)) or len(items) != count:
        raise ValueError(f"answers with the indices {sorted(found)[:8]} for {count} texts")
    return [found[i] for i in range(count)]


EMBEDDERS = (
    Dialect("openai", "/v1/embeddings", _embeddings, vectors=_openai),
    Dialect(
        "tei", "/embed", _matrix, vectors=_tei, instructed=lambda task: {"prompt_name": "query"}, own=True
    ),
)
RERANKERS = (
    Dialect("cohere", "/v1/rerank", _relevance, scores=_cohere_scores, own=True),
    Dialect("tei", "/rerank", _ranks, scores=_tei_scores, instructed=None, own=True),
    Dialect("cohere", "/rerank", _relevance, scores=_cohere_scores, own=True),
)
PATHS = ("/v1/embeddings", "/embeddings", "/embed", "/v1/rerank", "/v2/rerank", "/rerank", "/v1")
