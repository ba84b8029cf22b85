"""Golden files and the parity check: a runtime that differs is found out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from lingxi import Embedder, parity
from lingxi.errors import ModelError
from lingxi.model.golden import embedding_texts, read_golden, read_golden_vectors, rerank_texts
from toys import assert_mendable, gap, toy_size, write_toy

CHECKS = ["together", "alone", "another order", "equal lengths", "beside a long text"]


@pytest.fixture
def golden_embedder(tmp_path: Path) -> Path:
    size = toy_size(max_positions=8192)
    out = write_toy(tmp_path / "embedder", size=size, max_seq_length=8192)
    parity.make_golden(out)
    return out


@pytest.fixture
def golden_reranker(tmp_path: Path) -> Path:
    size = toy_size(max_positions=8192)
    out = write_toy(tmp_path / "reranker", "reranker", size=size, max_seq_length=8192, seed=1)
    parity.make_golden(out)
    return out


@pytest.mark.parametrize("name", ["golden_embedder", "golden_reranker"])
def test_a_model_equals_its_golden_file(name: str, request: pytest.FixtureRequest) -> None:
    directory = request.getfixturevalue(name)
    report = parity.check(directory)
    assert report.ok and report.kind == name.removeprefix("golden_")
    assert [row.check for row in report.rows] == CHECKS
    assert max(row.difference for row in report.rows) < 1e-5


def test_what_is_stored(golden_embedder: Path) -> None:
    golden = read_golden(golden_embedder)
    assert golden is not None and golden.texts == embedding_texts()
    assert golden.values.shape == (len(golden.texts), 64)
    assert gap(np.linalg.norm(golden.values, axis=1), np.ones(len(golden.texts))) < 1e-6
    assert sorted(p.name for p in golden_embedder.glob("*.safetensors")) == ["model.safetensors"]


def test_rerank_scores_are_stored(golden_reranker: Path) -> None:
    golden = read_golden(golden_reranker)
    assert golden is not None and golden.texts == rerank_texts()
    assert golden.values.shape == (len(golden.texts),)
    assert read_golden_vectors(golden_reranker) is None


def test_changed_weights_are_found_out(golden_embedder: Path) -> None:
    weights = load_file(golden_embedder / "model.safetensors")
    weights["norm.weight"][3] += 0.01
    save_file(weights, golden_embedder / "model.safetensors")
    report = parity.check(golden_embedder)
    assert not report.ok
    assert not any(row.ok for row in report.rows)


def test_not_a_number_is_never_equal() -> None:
    assert not parity.Row("alone", float("nan"), 1.0).ok


def test_int8_scales_come_from_the_golden_file(golden_embedder: Path) -> None:
    stored = read_golden_vectors(golden_embedder)
    assert stored is not None
    texts = [t.text for t in embedding_texts() if t.task is None]
    codes = Embedder(golden_embedder).encode(texts, precision="int8")
    assert np.abs(codes.astype(int)).max() <= 120


def test_a_model_without_a_golden_file_is_told_how_to_make_one(embedder_directory: Path) -> None:
    assert read_golden(embedder_directory) is None
    with pytest.raises(ModelError) as caught:
        parity.check(embedder_directory)
    assert_mendable(caught.value, "make_golden")


def test_damage_is_named(golden_embedder: Path) -> None:
    path = golden_embedder / "golden" / "golden.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    arrays = load_arrays(golden_embedder / "golden" / "vectors.safetensors")
    broken = [
        "{",
        json.dumps({**described, "texts": [{"words": 1}]}),
        json.dumps({**described, "version": 99}),
        json.dumps({**described, "texts": described["texts"][:2]}),
        "[]",
        "{}",
    ]
    for content in broken:
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ModelError) as caught:
            read_golden(golden_embedder)
        assert_mendable(caught.value, "golden")
    path.write_text(json.dumps(described), encoding="utf-8")
    for bad in ({"other": arrays["values"]}, {}):
        save_arrays(bad, golden_embedder / "golden" / "vectors.safetensors")
        with pytest.raises(ModelError) as caught:
            read_golden(golden_embedder)
        assert_mendable(caught.value, "golden")
