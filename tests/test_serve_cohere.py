"""Cohere's, Jina's, Voyage's and vLLM's shapes: golden bodies, and their real clients against a running server."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
from fastapi.testclient import TestClient

from dialect_server import app_of, asked, cases, nano_service, same, serving
from lingxi import Embedder, Reranker
from lingxi.serve.contract import Wanted
from lingxi.serve.dialects.cohere import jina_task
from lingxi.serve.refusal import Refusal

TEXTS = ["The capital of China is Beijing.", "重力 attracts", "", "one two three " * 40, "Was ist das?"]
QUERY = "capital of China"
TYPES = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
EMBEDDER, RERANKER = "lingxi-nano", "lingxi-nano-reranker"


@pytest.fixture(scope="module")
def app() -> Any:
    return app_of(nano_service())


@pytest.fixture(scope="module")
def url(app: Any) -> Iterator[str]:
    with serving(app) as address:
        yield address


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture(scope="module")
def order() -> list[dict[str, Any]]:
    return Reranker().rank(QUERY, TEXTS)


def test_golden_bodies(app: Any) -> None:
    client = TestClient(app)
    for case in cases("cohere"):
        status, answer = asked(client, case)
        assert status == case["status"], f"{case['path']} {case['body']}: {answer}"
        same(answer, case["answer"], case["path"])


def test_cohere_v2_client_gets_every_type(url: str, embedder: Embedder) -> None:
    cohere = pytest.importorskip("cohere", reason="the real client: pip install cohere")
    client = cohere.ClientV2("key", base_url=url)
    for kind, encode in (
        ("search_query", embedder.encode_query),
        ("search_document", embedder.encode_document),
    ):
        got = client.embed(model=EMBEDDER, input_type=kind, texts=TEXTS, embedding_types=TYPES).embeddings
        floats = encode(TEXTS)
        assert np.abs(np.float32(got.float_) - floats).max() <= 1e-6
        raw = [np.frombuffer(base64.b64decode(one), "<f4") for one in got.base64]
        assert np.array_equal(np.stack(raw), np.float32(got.float_))
        for precision in ("int8", "uint8", "binary", "ubinary"):
            assert np.array_equal(getattr(got, precision), encode(TEXTS, precision=precision)), precision


def test_cohere_v2_client_narrows_and_batches(url: str, embedder: Embedder) -> None:
    cohere = pytest.importorskip("cohere", reason="the real client: pip install cohere")
    texts = [f"text number {i}" for i in range(100)]  # more than the client sends at once
    got = cohere.ClientV2("key", base_url=url).embed(
        model=EMBEDDER, input_type="search_document", texts=texts, output_dimension=64
    )
    assert np.abs(np.float32(got.embeddings.float_) - embedder.encode(texts, truncate_dim=64)).max() <= 1e-6


def test_cohere_v1_client(url: str, embedder: Embedder, order: list[dict[str, Any]]) -> None:
    cohere = pytest.importorskip("cohere", reason="the real client: pip install cohere")
    client = cohere.Client("key", base_url=url)
    bare = client.embed(model=EMBEDDER, input_type="search_query", texts=TEXTS)
    assert np.abs(np.float32(bare.embeddings) - embedder.encode_query(TEXTS)).max() <= 1e-6
    typed = client.embed(model=EMBEDDER, texts=TEXTS, embedding_types=["int8"])
    assert np.array_equal(typed.embeddings.int8, embedder.encode(TEXTS, precision="int8"))
    found = client.rerank(model=RERANKER, query=QUERY, documents=TEXTS, return_documents=True)
    assert [one.index for one in found.results] == [hit["corpus_id"] for hit in order]
    assert [one.document.text for one in found.results] == [hit["text"] for hit in order]
    scores = [one.relevance_score for one in found.results]
    assert np.allclose(scores, [hit["score"] for hit in order], atol=1e-6)


def test_cohere_v2_client_reranks(url: str, order: list[dict[str, Any]]) -> None:
    cohere = pytest.importorskip("cohere", reason="the real client: pip install cohere")
    client = cohere.ClientV2("key", base_url=url)
    found = client.rerank(model=RERANKER, query=QUERY, documents=TEXTS, top_n=3).results
    assert [one.index for one in found] == [hit["corpus_id"] for hit in order[:3]]
    assert np.allclose([one.relevance_score for one in found], [hit["score"] for hit in order[:3]], atol=1e-6)


def test_cohere_client_reads_refusals(url: str) -> None:
    cohere = pytest.importorskip("cohere", reason="the real client: pip install cohere")
    client = cohere.ClientV2("key", base_url=url)
    with pytest.raises(cohere.NotFoundError, match="rerank-v3.5"):
        client.rerank(model="rerank-v3.5", query=QUERY, documents=TEXTS)
    with pytest.raises(cohere.BadRequestError, match="clustering"):
        client.embed(model=EMBEDDER, input_type="clustering", texts=TEXTS)


def test_voyage_client_reranks(url: str, order: list[dict[str, Any]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own imports
        voyageai = pytest.importorskip("voyageai", reason="the real client: pip install voyageai")
    client = voyageai.Client("key", base_url=f"{url}/v1", max_retries=1)
    for top in (None, 2):
        found = client.rerank(QUERY, TEXTS, model=RERANKER, top_k=top)
        assert [one.index for one in found.results] == [hit["corpus_id"] for hit in order[:top]]
        assert np.allclose(
            [one.relevance_score for one in found.results], [h["score"] for h in order[:top]], atol=1e-6
        )
    assert found.total_tokens > 0
    with pytest.raises(voyageai.error.APIError, match="rerank-2.5"):
        client.rerank(QUERY, TEXTS, model="rerank-2.5")


def test_longer_than_the_model_reads_is_cut_or_refused(app: Any) -> None:
    client = TestClient(app)
    long = "gravity attracts " * 6000
    body = {"query": QUERY, "documents": [long], "max_tokens_per_doc": 8}
    short = client.post("/v1/rerank", json=body).json()
    whole = {**body, "documents": [long[: len("gravity attracts " * 4)].strip()]}
    assert short["usage"]["total_tokens"] <= 110
    assert client.post("/v1/rerank", json=whole).status_code == 200
    answer = client.post("/v1/rerank", json={**body, "truncation": False})
    assert answer.status_code == 400 and "tokens" in answer.json()["message"]


def test_instructions_reach_the_reranker(app: Any) -> None:
    task = "Find a text in the same language"
    answer = TestClient(app).post(
        "/v1/rerank", json={"query": QUERY, "documents": TEXTS, "instruction": task}
    )
    wanted = Reranker().rank(QUERY, TEXTS, instruction=task)
    assert [one["index"] for one in answer.json()["results"]] == [hit["corpus_id"] for hit in wanted]


def test_jina_tasks() -> None:
    names = ("query", "document", "code")
    assert jina_task(Wanted(), names, "retrieval.query").prompt_name == "query"
    assert jina_task(Wanted(dim=32), names, "retrieval.passage") == Wanted(dim=32, prompt_name="document")
    assert jina_task(Wanted(), names, "code").prompt_name == "code"
    assert jina_task(Wanted(), names, None) == Wanted()
    with pytest.raises(Refusal, match="text-matching"):
        jina_task(Wanted(), names, "text-matching")
