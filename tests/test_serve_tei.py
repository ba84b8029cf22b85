"""TEI's shapes: golden bodies, and Hugging Face's client against a running server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
from fastapi.testclient import TestClient

from dialect_fixtures import client, embedder, url
from dialect_server import app_of, asked, cases, models, same
from lingxi import Embedder

__all__ = ["client", "embedder", "url"]

TEXTS = ["The capital of China is Beijing.", "重力 attracts", "", "one two three " * 40, "Was ist das?"]


def test_golden_bodies(client: TestClient) -> None:
    for case in cases("tei"):
        status, answer = asked(client, case)
        assert status == case["status"], f"{case['path']} {case.get('body')}: {answer}"
        same(answer, case["answer"], case["path"])


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hugging Face's client asks nobody while it is told to be offline, as all tests are; closed after it."""
    from huggingface_hub import close_session

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield
    close_session()


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("path", ["", "/embed"])
def test_hugging_face_client_embeds(path: str, url: str, embedder: Embedder) -> None:
    from huggingface_hub import InferenceClient

    client = InferenceClient(url + path)
    assert np.abs(client.feature_extraction(TEXTS) - embedder.encode(TEXTS)).max() <= 1e-6
    got = client.feature_extraction(TEXTS, normalize=True, prompt_name="query", truncate=True, dimensions=64)
    assert np.abs(got - embedder.encode_query(TEXTS, truncate_dim=64)).max() <= 1e-6
    one = client.feature_extraction(TEXTS[0], truncate=False, truncation_direction="left")
    assert one.shape == (1, 384) and np.abs(one[0] - embedder.encode(TEXTS[0])).max() <= 1e-6


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("path", ["", "/similarity"])
def test_hugging_face_client_compares(path: str, url: str, embedder: Embedder) -> None:
    from huggingface_hub import InferenceClient

    got = InferenceClient(url + path).sentence_similarity(TEXTS[0], other_sentences=TEXTS[1:])
    vectors = embedder.encode(TEXTS)
    assert np.abs(np.float32(got) - vectors[1:] @ vectors[0]).max() <= 1e-6


def test_rerank_orders_as_in_process(client: TestClient) -> None:
    got = client.post("/rerank", json={"query": "capital of China", "texts": TEXTS}).json()
    wanted = models()[1].rank("capital of China", TEXTS)
    assert [one["index"] for one in got] == [hit["corpus_id"] for hit in wanted]
    assert np.allclose([one["score"] for one in got], [hit["score"] for hit in wanted], atol=1e-6)
    raw = client.post("/rerank", json={"query": "capital of China", "texts": TEXTS, "raw_scores": True})
    assert np.allclose(
        [1 / (1 + np.exp(-r["score"])) for r in raw.json()], [h["score"] for h in wanted], atol=1e-6
    )


def test_unnormalised_vectors_have_the_same_direction(client: TestClient, embedder: Embedder) -> None:
    got = client.post("/embed", json={"inputs": TEXTS, "normalize": False}).json()
    raw, unit = np.float32(got), embedder.encode(TEXTS)
    norms = np.linalg.norm(raw, axis=1)
    assert np.abs(norms - 1).max() > 0.1
    assert np.abs(raw / norms[:, None] - unit).max() <= 1e-6


def test_the_last_token_of_embed_all_is_the_vector(client: TestClient, embedder: Embedder) -> None:
    got = client.post("/embed_all", json={"inputs": TEXTS[:2], "prompt_name": "query"}).json()
    counts = [len(ids) for ids in embedder.token_ids(TEXTS[:2], prompt_name="query")]
    assert [len(states) for states in got] == counts
    last = np.float32([states[-1] for states in got])
    last /= np.linalg.norm(last, axis=1, keepdims=True)
    assert np.abs(last - embedder.encode_query(TEXTS[:2])).max() <= 1e-5


def test_a_long_text_is_cut_where_said(embedder_directory: Path) -> None:
    short, long = Embedder(embedder_directory, max_seq_length=32), "gravity attracts " * 40
    with pytest.warns(UserWarning, match="cut"):
        wanted = short.encode(long + "bodies")
    with TestClient(app_of(embedder=short)) as client:

        def vector(text: str, **how: Any) -> Any:
            return np.float32(client.post("/embed", json={"inputs": text, **how}).json()[0])

        assert np.abs(vector(long + "bodies") - wanted).max() <= 1e-6
        ends = [vector(long + end, truncation_direction="left") for end in ("bodies", "moons")]
        assert np.abs(ends[0] - ends[1]).max() > 1e-3  # the end is what is kept
        refused = client.post("/embed", json={"inputs": long, "truncate": False})
    assert refused.status_code == 422 and "tokens" in refused.json()["error"]


def test_tokens_are_read_back(client: TestClient) -> None:
    text = "重力 attracts, naïve 🙂 <|im_end|>"
    tokens = client.post("/tokenize", json={"inputs": text}).json()[0]
    assert tokens[-1]["special"] and tokens[-1]["start"] is None
    assert all(t["text"] == text[t["start"] : t["stop"]] for t in tokens[:-1])
    ids = [t["id"] for t in tokens]
    assert client.post("/decode", json={"ids": ids}).json() == [text]
    assert client.post("/decode", json={"ids": [ids], "skip_special_tokens": False}).json() == [
        text + tokens[-1]["text"]
    ]


def test_health(client: TestClient) -> None:
    assert [client.get(path).status_code for path in ("/health", "/ping", "/")] == [200, 200, 200]
