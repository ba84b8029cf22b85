"""TEI's shapes: golden bodies, and Hugging Face's client against a running server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
from fastapi.testclient import TestClient

from dialect_server import app_of, asked, cases, nano_service, same, serving
from lingxi import Embedder, Reranker

TEXTS = ["The capital of China is Beijing.", "重力 attracts", "", "one two three " * 40, "Was ist das?"]


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


def test_golden_bodies(app: Any) -> None:
    client = TestClient(app)
    for case in cases("tei"):
        status, answer = asked(client, case)
        assert status == case["status"], f"{case['path']} {case.get('body')}: {answer}"
        same(answer, case["answer"], case["path"])


@pytest.mark.parametrize("path", ["", "/embed"])
def test_hugging_face_client_embeds(path: str, url: str, embedder: Embedder) -> None:
    from huggingface_hub import InferenceClient

    client = InferenceClient(url + path)
    assert np.abs(client.feature_extraction(TEXTS) - embedder.encode(TEXTS)).max() <= 1e-6
    got = client.feature_extraction(TEXTS, normalize=True, prompt_name="query", truncate=True, dimensions=64)
    assert np.abs(got - embedder.encode_query(TEXTS, truncate_dim=64)).max() <= 1e-6
    one = client.feature_extraction(TEXTS[0], truncate=False, truncation_direction="left")
    assert one.shape == (1, 384) and np.abs(one[0] - embedder.encode(TEXTS[0])).max() <= 1e-6


@pytest.mark.parametrize("path", ["", "/similarity"])
def test_hugging_face_client_compares(path: str, url: str, embedder: Embedder) -> None:
    from huggingface_hub import InferenceClient

    got = InferenceClient(url + path).sentence_similarity(TEXTS[0], other_sentences=TEXTS[1:])
    vectors = embedder.encode(TEXTS)
    assert np.abs(np.float32(got) - vectors[1:] @ vectors[0]).max() <= 1e-6


def test_rerank_orders_as_in_process(app: Any) -> None:
    got = TestClient(app).post("/rerank", json={"query": "capital of China", "texts": TEXTS}).json()
    wanted = Reranker().rank("capital of China", TEXTS)
    assert [one["index"] for one in got] == [hit["corpus_id"] for hit in wanted]
    assert np.allclose([one["score"] for one in got], [hit["score"] for hit in wanted], atol=1e-6)
    raw = TestClient(app).post(
        "/rerank", json={"query": "capital of China", "texts": TEXTS, "raw_scores": True}
    )
    assert np.allclose(
        [1 / (1 + np.exp(-r["score"])) for r in raw.json()], [h["score"] for h in wanted], atol=1e-6
    )


def test_unnormalised_vectors_have_the_same_direction(app: Any, embedder: Embedder) -> None:
    got = TestClient(app).post("/embed", json={"inputs": TEXTS, "normalize": False}).json()
    raw, unit = np.float32(got), embedder.encode(TEXTS)
    norms = np.linalg.norm(raw, axis=1)
    assert np.abs(norms - 1).max() > 0.1
    assert np.abs(raw / norms[:, None] - unit).max() <= 1e-6


def test_the_last_token_of_embed_all_is_the_vector(app: Any, embedder: Embedder) -> None:
    got = TestClient(app).post("/embed_all", json={"inputs": TEXTS[:2], "prompt_name": "query"}).json()
    counts = [len(ids) for ids in embedder.token_ids(TEXTS[:2], prompt_name="query")]
    assert [len(states) for states in got] == counts
    last = np.float32([states[-1] for states in got])
    last /= np.linalg.norm(last, axis=1, keepdims=True)
    assert np.abs(last - embedder.encode_query(TEXTS[:2])).max() <= 1e-5


def test_a_long_text_is_cut_where_said(app: Any, embedder: Embedder) -> None:
    client = TestClient(app)
    long = " ".join(str(i) for i in range(4000))

    def vector(**how: Any) -> Any:
        return np.float32(client.post("/embed", json={"inputs": long, **how}).json()[0])

    with pytest.warns(UserWarning, match="cut"):
        assert np.abs(vector() - embedder.encode(long)).max() <= 1e-6
    assert np.abs(vector(truncation_direction="left") - vector(truncation_direction="Right")).max() > 1e-3
    refused = client.post("/embed", json={"inputs": long, "truncate": False})
    assert refused.status_code == 422 and "tokens" in refused.json()["error"]


def test_tokens_are_read_back(app: Any) -> None:
    client = TestClient(app)
    text = "重力 attracts, naïve 🙂 <|im_end|>"
    tokens = client.post("/tokenize", json={"inputs": text}).json()[0]
    assert tokens[-1]["special"] and tokens[-1]["start"] is None
    assert all(t["text"] == text[t["start"] : t["stop"]] for t in tokens[:-1])
    ids = [t["id"] for t in tokens]
    assert client.post("/decode", json={"ids": ids}).json() == [text]
    assert client.post("/decode", json={"ids": [ids], "skip_special_tokens": False}).json() == [
        text + tokens[-1]["text"]
    ]


def test_health(app: Any) -> None:
    client = TestClient(app)
    assert [client.get(path).status_code for path in ("/health", "/ping", "/")] == [200, 200, 200]
