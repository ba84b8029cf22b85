"""Cohere's, Jina's, Voyage's and vLLM's shapes: golden bodies, and the real clients of a running server."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import requests

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
from fastapi.testclient import TestClient

from dialect_fixtures import client, embedder, url
from dialect_server import app_of, asked, cases, models, same
from lingxi import Embedder, Reranker
from lingxi.serve.dialects.words import others_words
from lingxi.serve.refusal import Refusal

__all__ = ["client", "embedder", "url"]

TEXTS = ["The capital of China is Beijing.", "重力 attracts", "", "one two three " * 40, "Was ist das?"]
QUERY = "capital of China"
TYPES = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
EMBEDDER, RERANKER = "lingxi-pico", "lingxi-pico-reranker"


@pytest.fixture(scope="module")
def order() -> list[dict[str, Any]]:
    return models()[1].rank(QUERY, TEXTS)


@contextmanager
def connected() -> Iterator[tuple[Any, httpx.Client]]:
    """Cohere's library and connections that are closed, which its clients leave open."""
    cohere = pytest.importorskip("cohere", reason="the real client: pip install cohere")
    with httpx.Client() as connections:
        yield cohere, connections


@pytest.fixture(scope="module")
def v1(url: str) -> Iterator[Any]:
    with connected() as (cohere, connections):
        yield cohere.Client("key", base_url=url, httpx_client=connections)


@pytest.fixture(scope="module")
def v2(url: str) -> Iterator[Any]:
    with connected() as (cohere, connections):
        yield cohere.ClientV2("key", base_url=url, httpx_client=connections)


@pytest.fixture(scope="module")
def voyage(url: str) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own imports
        voyageai = pytest.importorskip("voyageai", reason="the real client: pip install voyageai")
    with requests.Session() as connections:
        voyageai.requestssession = connections
        yield voyageai.Client("key", base_url=f"{url}/v1", max_retries=1)


def test_golden_bodies(client: TestClient) -> None:
    for case in cases("cohere"):
        status, answer = asked(client, case)
        assert status == case["status"], f"{case['path']} {case['body']}: {answer}"
        same(answer, case["answer"], case["path"])


def test_cohere_v2_client_gets_every_type(v2: Any, embedder: Embedder) -> None:
    for kind, encode in (
        ("search_query", embedder.encode_query),
        ("search_document", embedder.encode_document),
    ):
        got = v2.embed(model=EMBEDDER, input_type=kind, texts=TEXTS, embedding_types=TYPES).embeddings
        floats = encode(TEXTS)
        assert np.abs(np.float32(got.float_) - floats).max() <= 1e-6
        raw = [np.frombuffer(base64.b64decode(one), "<f4") for one in got.base64]
        assert np.array_equal(np.stack(raw), np.float32(got.float_))
        for precision in ("int8", "uint8", "binary", "ubinary"):
            assert np.array_equal(getattr(got, precision), encode(TEXTS, precision=precision)), precision


def test_cohere_v2_client_narrows_and_batches(v2: Any, embedder: Embedder) -> None:
    texts = [f"text number {i}" for i in range(100)]  # more than the client sends at once
    got = v2.embed(model=EMBEDDER, input_type="search_document", texts=texts, output_dimension=64)
    assert np.abs(np.float32(got.embeddings.float_) - embedder.encode(texts, truncate_dim=64)).max() <= 1e-6


# The client merges its batches by a method that pydantic has renamed.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cohere_v1_client(v1: Any, embedder: Embedder, order: list[dict[str, Any]]) -> None:
    bare = v1.embed(model=EMBEDDER, input_type="search_query", texts=TEXTS)
    assert np.abs(np.float32(bare.embeddings) - embedder.encode_query(TEXTS)).max() <= 1e-6
    typed = v1.embed(model=EMBEDDER, texts=TEXTS, embedding_types=["int8"])
    assert np.array_equal(typed.embeddings.int8, embedder.encode(TEXTS, precision="int8"))
    found = v1.rerank(model=RERANKER, query=QUERY, documents=TEXTS, return_documents=True)
    assert [one.index for one in found.results] == [hit["corpus_id"] for hit in order]
    assert [one.document.text for one in found.results] == [hit["text"] for hit in order]
    scores = [one.relevance_score for one in found.results]
    assert np.allclose(scores, [hit["score"] for hit in order], atol=1e-6)


def test_cohere_v2_client_reranks(v2: Any, order: list[dict[str, Any]]) -> None:
    found = v2.rerank(model=RERANKER, query=QUERY, documents=TEXTS, top_n=3).results
    assert [one.index for one in found] == [hit["corpus_id"] for hit in order[:3]]
    assert np.allclose([one.relevance_score for one in found], [hit["score"] for hit in order[:3]], atol=1e-6)


def test_cohere_client_reads_refusals(v2: Any) -> None:
    with pytest.raises(Exception, match=r"rerank-v3\.5"):
        v2.rerank(model="rerank-v3.5", query=QUERY, documents=TEXTS)
    with pytest.raises(Exception, match="clustering"):
        v2.embed(model=EMBEDDER, input_type="clustering", texts=TEXTS)


def test_voyage_client_reranks(voyage: Any, order: list[dict[str, Any]]) -> None:
    for top in (None, 2):
        found = voyage.rerank(QUERY, TEXTS, model=RERANKER, top_k=top)
        assert [one.index for one in found.results] == [hit["corpus_id"] for hit in order[:top]]
        assert np.allclose(
            [one.relevance_score for one in found.results], [h["score"] for h in order[:top]], atol=1e-6
        )
    assert found.total_tokens > 0
    with pytest.raises(Exception, match=r"rerank-2\.5"):
        voyage.rerank(QUERY, TEXTS, model="rerank-2.5")


def test_longer_than_the_model_reads_is_cut_or_refused(reranker_directory: Path) -> None:
    reranker = Reranker(reranker_directory, max_length=200)
    whole = {"query": "gravity", "documents": ["gravity attracts " * 100]}
    with TestClient(app_of(reranker=reranker)) as client:
        tokens = client.post("/v1/rerank", json=whole).json()["usage"]["total_tokens"]
        cut = client.post("/v1/rerank", json={**whole, "max_tokens_per_doc": 8}).json()
        refused = client.post("/v1/rerank", json={**whole, "truncation": False})
    assert tokens == 200 and cut["usage"]["total_tokens"] < 200
    assert refused.status_code == 400 and "200 tokens" in refused.json()["message"]


def test_instructions_reach_the_reranker(client: TestClient) -> None:
    task = "Find a text in the same language"
    answer = client.post("/v1/rerank", json={"query": QUERY, "documents": TEXTS, "instruction": task})
    wanted = models()[1].rank(QUERY, TEXTS, instruction=task)
    assert [one["index"] for one in answer.json()["results"]] == [hit["corpus_id"] for hit in wanted]


def test_voyage_client_embeds(voyage: Any, embedder: Embedder) -> None:
    for kind, encode in (
        (None, embedder.encode),
        ("query", embedder.encode_query),
        ("document", embedder.encode_document),
    ):
        got = voyage.embed(TEXTS[:2], model=EMBEDDER, input_type=kind, output_dimension=64).embeddings
        assert np.abs(np.float32(got) - encode(TEXTS[:2], truncate_dim=64)).max() <= 1e-6
    for precision in ("int8", "uint8", "binary", "ubinary"):
        got = voyage.embed(TEXTS[:2], model=EMBEDDER, output_dtype=precision, truncation=False)
        assert np.array_equal(got.embeddings, embedder.encode(TEXTS[:2], precision=precision)), precision


def test_others_words_of_embeddings() -> None:
    jina = {"input": ["a"], "task": "retrieval.query", "embedding_type": "base64", "truncate": True}
    ours = {"input_type": "query", "encoding_format": "base64", "truncate_prompt_tokens": -1}
    assert others_words({**jina, "normalized": True, "late_chunking": False}) == {"input": ["a"], **ours}
    voyage = {"input_type": "document", "output_dtype": "float", "output_dimension": 64, "truncation": False}
    plain = {"input_type": "document", "embed_dtype": "float32", "dimensions": 64}
    assert others_words(voyage) == plain
    assert others_words({"dimensions": 32, "output_dimension": 64})["output_dimension"] == 64
    for wrong in ({"task": "text-matching"}, {"late_chunking": True}, {"normalized": False}):
        with pytest.raises(Refusal, match=next(iter(wrong))):
            others_words(wrong)


def test_a_task_that_was_not_taught_is_refused(client: TestClient) -> None:
    answer = client.post("/v1/embeddings", json={"input": "a", "task": "text-matching"})
    assert answer.status_code == 400 and "text-matching" in answer.json()["error"]["message"]
