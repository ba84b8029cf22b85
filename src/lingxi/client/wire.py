"""The bodies of requests in the dialects of OpenAI and Cohere, and arrays out of their answers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lingxi.client.sending import Ask

T = TypeVar("T")
# The frame of a prompt, at most, around each text.
_FRAME = 200


def first(answer: Any) -> str:
    """The first model that a server lists."""
    return str(answer["data"][0]["id"])


def cards(answer: Any) -> tuple[Mapping[str, Any], ...]:
    """What a lingxi server says of its models."""
    return tuple(
        {"name": one["name"], "kind": one["kind"], "fingerprint": dict(one["fingerprint"])}
        for one in answer["models"]
    )


def embed(texts: list[str], fields: Mapping[str, Any], coded: str) -> Ask:
    """A request for vectors; `coded` is the kind of number they come in."""
    body = {"input": texts, "encoding_format": "base64", **fields}

    def read(answer: Any) -> NDArray[Any]:
        """Vectors [n, dim] in the order asked."""
        found = [vector(said, coded) for said in placed(answer["data"], "embedding", len(texts))]
        return np.stack(found)

    return Ask("/v1/embeddings", body, read, "vectors")


def rerank(query: str, documents: list[str], fields: Mapping[str, Any]) -> Ask:
    """A request for the scores of documents of one query."""
    body = {"query": query, "documents": documents, "top_n": len(documents), "return_documents": False}

    def read(answer: Any) -> NDArray[np.float32]:
        """Scores [n] in the order asked."""
        return np.asarray(placed(answer["results"], "relevance_score", len(documents)), np.float32)

    return Ask("/v1/rerank", {**body, **fields}, read, "scores")


def vector(said: Any, coded: str) -> NDArray[Any]:
    """A vector out of base64, or of numbers where the server has no base64."""
    kind = np.dtype(coded).newbyteorder("<")
    if not isinstance(said, str):
        return np.asarray(said, kind)
    try:
        return np.frombuffer(base64.b64decode(said, validate=True), kind).astype(coded)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def placed(items: Sequence[Mapping[str, Any]], name: str, count: int) -> list[Any]:
    """The field of each item at the place its `index` says; raises ValueError where not all came once."""
    found = {int(item["index"]): item[name] for item in items}
    if sorted(found) != list(range(count)) or len(items) != count:
        raise ValueError(f"answers with the indices {sorted(found)[:8]} for {count} texts")
    return [found[i] for i in range(count)]


def by_query(pairs: Sequence[tuple[str, str]]) -> dict[str, list[int]]:
    """The places of the pairs of each query."""
    found: dict[str, list[int]] = {}
    for i, (query, _) in enumerate(pairs):
        found.setdefault(query, []).append(i)
    return found


def batches(items: Iterable[T], size: Callable[[T], int], most: int, tokens: int) -> Iterator[list[T]]:
    """Items in lists of at most `most` and, but for one alone, so many tokens."""
    batch: list[T] = []
    held = 0
    for item in items:
        own = size(item)
        if batch and (len(batch) == most or held + own > tokens):
            yield batch
            batch, held = [], 0
        batch.append(item)
        held += own
    if batch:
        yield batch


def size(text: str) -> int:
    """Tokens of a text with what is around it, at most."""
    return len(text.encode("utf-8", "surrogatepass")) + _FRAME
