"""Our own paths: golden bodies, a search in an index of files, segments and fingerprints as in process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
from fastapi.testclient import TestClient

from dialect_fixtures import client
from dialect_server import app_of, asked, cases, models, same

__all__ = ["client"]

DOCUMENT = (
    "Gravity attracts bodies. It holds the moon. 重力让苹果落下。" * 6
    + "\n\nBeijing is the capital of China. It has many lakes. " * 6
)


def test_golden_bodies(client: TestClient) -> None:
    for case in cases("own"):
        status, answer = asked(client, case)
        assert status == case["status"], f"{case['path']} {case.get('body')}: {answer}"
        same(answer, case["answer"], case["path"])


def test_fingerprint_is_the_models_own(client: TestClient) -> None:
    told = client.get("/fingerprint").json()["models"]
    assert [one["fingerprint"] for one in told] == [one.fingerprint() for one in models()]


def test_search_finds_what_the_index_finds(tmp_path: Path) -> None:
    pytest.importorskip("lancedb", reason="an index needs lancedb: pip install 'lingxi[search]'")
    from lingxi import Index

    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("Gravity attracts bodies.\n\nIt holds the moon.\n")
    (tmp_path / "notes" / "b.txt").write_text("Beijing is the capital of China.\n")
    embedder, reranker = models()
    index = Index.open(tmp_path / "notes.index", embedder, reranker)
    index.add([tmp_path / "notes"])
    with TestClient(app_of(index)) as client:
        _compare(client, index, tmp_path)


def _compare(client: TestClient, index: Any, folder: Path) -> None:
    for rerank in (False, True):
        body = {"query": "capital of China", "top_k": 2, "rerank": rerank}
        hits = client.post("/search", json=body).json()["hits"]
        wanted = index.search("capital of China", top_k=2, rerank=rerank)
        # Whoever asks a server learns nothing of where the files lie.
        assert [(str(folder / h["path"]), h["text"], str(folder / h["place"])) for h in hits] == [
            (h.path, h.text, h.place) for h in wanted
        ]
        assert np.allclose([h["score"] for h in hits], [h.score for h in wanted], atol=1e-6)
        assert [tuple(h["sentence"]) for h in hits] == [h.sentence for h in wanted]
    below = ["notes/a.txt"]
    only = client.post("/search", json={"query": "capital of China", "below": below}).json()["hits"]
    assert only and all(hit["path"].endswith("a.txt") for hit in only)


@pytest.mark.parametrize("late", [False, True])
def test_segments_have_the_vectors_of_their_texts(client: TestClient, late: bool) -> None:
    body = {"documents": [DOCUMENT, "short"], "max_tokens": 64, "late": late, "dimensions": 128}
    answer = client.post("/segment", json=body).json()
    first, second = (one["segments"] for one in answer["data"])
    assert len(first) > 2 and [one["text"] for one in second] == ["short"]
    assert all(DOCUMENT[s["start"] : s["stop"]] == s["text"] and s["tokens"] <= 64 for s in first)
    embedder = models()[0]
    texts = [s["text"] for s in first]
    wanted = (
        embedder.encode_segments([texts], truncate_dim=128)[0]
        if late
        else embedder.encode_document(texts, truncate_dim=128)
    )
    assert np.abs(np.float32([s["embedding"] for s in first]) - wanted).max() <= 1e-5
    coded = client.post("/segment", json={**body, "precision": "int8"}).json()
    codes = [s["embedding"] for s in coded["data"][0]["segments"]]
    assert all(isinstance(n, int) for n in codes[0]) and len(codes[0]) == 128
