"""Golden files and the parity check: a runtime that differs is found out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from lingxi import Embedder, Reranker, prompts
from lingxi.check import EXACT, Row, check_model, make_golden
from lingxi.check.padded import Side, padded_forward, plain_forward, pooled
from lingxi.check.subject import open_subject
from lingxi.engine import run
from lingxi.errors import ModelError
from lingxi.model import packed
from lingxi.model.files import read_decoder
from lingxi.model.golden import embedding_texts, read_golden, read_golden_vectors, rerank_texts
from lingxi.vectors import PRECISIONS
from toys import assert_mendable, gap, random_ids, toy_size, unit, write_toy

SHAPES = [
    "together",
    "longest first",
    "shortest first",
    "another order",
    "alone",
    "equal lengths",
    "beside a long text",
    "8 threads at once",
    "shared instruction",
]
LONGEST = 600


@pytest.fixture
def golden_embedder(tmp_path: Path) -> Path:
    size = toy_size(max_positions=8192)
    out = write_toy(tmp_path / "embedder", size=size, max_seq_length=8192)
    make_golden(out)
    return out


@pytest.fixture
def golden_reranker(tmp_path: Path) -> Path:
    size = toy_size(max_positions=8192)
    out = write_toy(tmp_path / "reranker", "reranker", size=size, max_seq_length=8192, seed=1)
    make_golden(out)
    return out


@pytest.mark.parametrize("name", ["golden_embedder", "golden_reranker"])
def test_a_model_equals_its_golden_file(name: str, request: pytest.FixtureRequest) -> None:
    directory = request.getfixturevalue(name)
    report = check_model(directory, longest=LONGEST)
    assert report.ok and report.kind == name.removeprefix("golden_")
    checks = [row.check for row in report.rows]
    assert checks[: len(SHAPES)] == SHAPES
    for part in ("instruction by", "padded left", "padded right", "long, ", "long in a batch", "cut at"):
        assert any(check.startswith(part) for check in checks)
    uncoded = [row for row in report.rows if not row.check.startswith(("int8", "uint8"))]
    assert max(row.difference for row in uncoded) < 1e-5


def test_every_precision_is_checked_at_every_width(golden_embedder: Path) -> None:
    checks = {row.check for row in check_model(golden_embedder, longest=LONGEST).rows}
    for precision in PRECISIONS:
        assert {f"{precision}, 32 wide", f"{precision}, 64 wide"} <= checks


@pytest.mark.parametrize("sides", ["left", "right"])
def test_the_padded_reference_without_transformers(golden_embedder: Path, sides: Side) -> None:
    decoder = read_decoder(golden_embedder, torch.float32)
    subject = open_subject(golden_embedder)
    name, theirs = padded_forward(subject) or ("nobody", None)
    assert name == "transformers" and theirs is not None
    ids = random_ids([1, 7, 7, 40], 512)
    own = pooled(subject, lambda ids, mask: plain_forward(decoder, ids, mask), ids, sides)
    assert gap(unit(own), unit(pooled(subject, theirs, ids, sides))) < 1e-5


def test_an_engine_that_pads_wrong_is_found_out(
    golden_embedder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch whose sequences all get the positions of the longest: alone is right, together is not."""
    right = packed.pack

    def shifted(sequences: Sequence[Sequence[int]], device: str = "cpu") -> packed.Packed:
        laid = right(sequences, device)
        return replace(laid, last=(laid.last - 1).clamp_min(0)) if len(sequences) > 1 else laid

    monkeypatch.setattr(run, "pack", shifted)
    report = check_model(golden_embedder, longest=LONGEST)
    verdicts = {row.check: row.ok for row in report.rows}
    assert verdicts["alone"] and verdicts["padded left"] and not verdicts["together"]


def test_a_cut_that_loses_the_end_is_found_out(
    golden_reranker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(
        self: Reranker, pairs: Sequence[tuple[str, str]], task: str, *_: object
    ) -> tuple[list[list[int]], list[bool]]:
        bodies = self.tokenizer.texts([prompts.rerank_body(query, d, task) for query, d in pairs])
        whole = [[*self.judge.prefix, *body, *self.judge.suffix] for body in bodies]
        return [ids[: self.max_length] for ids in whole], [False] * len(whole)

    monkeypatch.setattr(Reranker, "_sequences", cut)
    report = check_model(golden_reranker, longest=LONGEST)
    assert not next(row for row in report.rows if row.check.startswith("cut at")).ok


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
    report = check_model(golden_embedder, longest=LONGEST)
    assert not report.ok
    assert not any(row.ok for row in report.rows if row.compared.startswith("golden file"))


def test_not_a_number_is_never_equal() -> None:
    for place in range(3):
        numbers = [float("nan") if at == place else 0.0 for at in range(3)]
        assert not Row("alone", "golden file", *numbers, EXACT).ok


def test_int8_scales_come_from_the_golden_file(golden_embedder: Path) -> None:
    stored = read_golden_vectors(golden_embedder)
    assert stored is not None
    texts = [t.text for t in embedding_texts() if t.task is None]
    codes = Embedder(golden_embedder).encode(texts, precision="int8")
    assert np.abs(codes.astype(int)).max() <= 120


def test_a_model_without_a_golden_file_is_told_how_to_make_one(embedder_directory: Path) -> None:
    assert read_golden(embedder_directory) is None
    with pytest.raises(ModelError) as caught:
        check_model(embedder_directory)
    assert_mendable(caught.value, "make_golden", "--write")


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
