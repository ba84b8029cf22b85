"""Token vectors of four bits: they come back exactly where they can, and every way of reading them agrees."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lingxi import Embedder, Reranker
from lingxi.check import check_model, make_golden
from lingxi.cli import run
from lingxi.engine.native.library import library
from lingxi.engine.native.packing import Fresh, Table4
from lingxi.engine.native.stored import packed_file
from lingxi.engine.opening import native_network, token_vectors
from lingxi.engine.quantizing import quantize_directory, rewrite_directory
from lingxi.errors import InputError, ModelError
from lingxi.model.encoder import Encoder
from lingxi.model.files import hash_weights, read_config
from lingxi.model.int4 import MIDDLE, TOP, Packed4, codes_of, nearest, nearest_packed, packed4
from lingxi.model.network import read_network
from lingxi.model.packed import pack
from lingxi.train.packaged import write_packed_e5
from test_packaged import HIDDEN, PIECES, tensors
from test_packaged import packed_file as e5_file
from toys import assert_mendable, gap, random_ids, toy_size, write_toy

# The toy reads 160 tokens, some golden texts have more.
pytestmark = pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning")
needs_kernels = pytest.mark.skipif(library() is None, reason="built without a C++ compiler")
TABLE = "embeddings.word_embeddings.weight"
SEQUENCES = random_ids((1, 5, 5, 19), len(PIECES))


@pytest.fixture(scope="module")
def e5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT whose matrices were four bits before: multilingual-e5-small as its package holds it."""
    folder = tmp_path_factory.mktemp("table4")
    (folder / "e5").mkdir()
    write_packed_e5(e5_file(folder / "e5.bin", tensors(np.random.default_rng(3))), folder / "e5")
    make_golden(folder / "e5")
    return folder / "e5"


@pytest.fixture(scope="module")
def stored(e5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its int8 copy with token vectors in four bits, by the command."""
    out = tmp_path_factory.mktemp("table4") / "copy"
    assert run(["models", "quantize", str(e5), str(out), "--table", "int4"]) == 0
    return out


# --- rounding ------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9999), st.integers(-8, 7), st.integers(-8, 7), st.sampled_from([1e-6, 1e-3, 1, 900]))
def test_what_lies_on_the_steps_of_a_scale_comes_back_as_it_is(
    seed: int, a: int, b: int, size: float
) -> None:
    """Whatever codes are used: none of them need be at an end."""
    rng = np.random.default_rng(seed)
    codes = torch.from_numpy(rng.integers(min(a, b), max(a, b) + 1, (6, 64)) + MIDDLE)
    scales = torch.from_numpy((rng.normal(size=(6, 2)) * size).astype(np.float16))
    before = packed4(codes, scales).values()
    assert torch.equal(nearest(before).values, before)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.sampled_from([16, 32]))
def test_no_scale_that_is_simply_the_largest_weights_loses_less(seed: int, group: int) -> None:
    matrix = torch.from_numpy(np.random.default_rng(seed).normal(size=(5, 64)).astype(np.float32))
    grouped = matrix.view(5, -1, group)
    found = (nearest(matrix, group).values - matrix).view_as(grouped).square().sum(-1)
    for code in (-MIDDLE, TOP - MIDDLE):
        at = grouped.abs().argmax(-1, keepdim=True)
        scale = (grouped.gather(-1, at) / code).half().float()
        plain = (codes_of(grouped, scale) - MIDDLE) * scale - grouped
        assert (found <= plain.square().sum(-1) + 1e-9).all()


def test_halves_of_a_grid_still_find_its_steps() -> None:
    """A student is stored as float16, which rounds what four bits times an fp16 scale gives."""
    rng = np.random.default_rng(5)
    codes = torch.from_numpy(rng.integers(0, 16, (500, 64)))
    scales = torch.from_numpy(rng.uniform(0.01, 0.1, (500, 2)).astype(np.float16))
    before = packed4(codes, scales)
    found, wanted = nearest_packed(before.values().half()).values(), before.values()
    same = (found == wanted).view(500, 2, 32).all(-1)
    assert same.float().mean() > 0.98
    assert (found - wanted).abs().max() < 2**-10 * wanted.abs().max()


# --- a directory ---------------------------------------------------------------------------------


def test_a_table_that_was_four_bits_is_stored_as_it_was(e5: Path, stored: Path) -> None:
    table = load_file(e5 / "model.safetensors")[TABLE]
    state = load_file(stored / "model.safetensors")
    scale = TABLE.removesuffix(".weight") + ".scale"
    assert state[TABLE].dtype == torch.uint8 and state[TABLE].shape == (len(PIECES), HIDDEN // 2)
    assert torch.equal(Packed4(state[TABLE], state[scale]).values(), table)
    assert state["encoder.layer.0.output.dense.weight"].dtype == torch.int8
    network = read_network(stored, torch.float32)
    assert isinstance(network, Encoder) and torch.equal(token_vectors(network), table)
    said = read_config(stored)["lingxi_weights"]
    assert said == {"dtype": "int8", "scale": "row", "compute": "int8", "table": "int4", "group": 32}


@needs_kernels
def test_the_engine_keeps_the_table_packed_and_computes_what_torch_does(e5: Path, stored: Path) -> None:
    network = native_network(stored, "float32")
    assert isinstance(network.table, Table4) and network.table.rows.dtype == torch.uint8
    table = load_file(e5 / "model.safetensors")[TABLE]
    assert torch.equal(token_vectors(network), table)
    ids = torch.tensor([3, 0, 3, len(PIECES) - 1])
    assert torch.equal(network.table.read(ids), table[ids])
    assert network.table.read(ids[:0]).shape == (0, HIDDEN)
    for wrong in (-1, len(PIECES)):
        with pytest.raises(IndexError):
            network.table.read(torch.tensor([0, wrong]))
    assert gap(network(pack(SEQUENCES)), read_network(stored, torch.float32)(pack(SEQUENCES))) < 1e-5
    assert Embedder(stored).weights == "int8"
    texts = ["cab bed", "北京", "query: a"]
    assert (Embedder(stored).encode(texts) * Embedder(e5, engine="torch").encode(texts)).sum(1).min() > 0.99


@needs_kernels
def test_a_packed_file_holds_the_table_in_four_bits_too(e5: Path, stored: Path, tmp_path: Path) -> None:
    packed = quantize_directory(e5, tmp_path / "packed", packed=True, table="int4")
    mapped = native_network(packed, "int8")
    assert isinstance(mapped.table, Table4)
    assert torch.equal(token_vectors(mapped), token_vectors(native_network(stored, "int8")))
    plain = quantize_directory(e5, tmp_path / "plain", packed=True)
    saved = packed_file(plain, "int8").stat().st_size - packed_file(packed, "int8").stat().st_size
    assert saved > 0
    assert not isinstance(native_network(plain, "int8").table, Table4)


@pytest.mark.slow
def test_the_check_passes_and_copies_have_hashes_of_their_own(e5: Path, stored: Path) -> None:
    assert check_model(stored, device="cpu").ok
    assert hash_weights(stored) != hash_weights(e5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_it_is_written_for_others_and_read_back(stored: Path, tmp_path: Path, dtype: str) -> None:
    assert run(["models", "export", str(stored), str(tmp_path / "out"), "--dtype", dtype]) == 0
    state = load_file(tmp_path / "out" / "model.safetensors")
    wanted = token_vectors(read_network(stored, torch.float32))
    assert set(read_config(tmp_path / "out").get("lingxi_weights", {})) <= {"dtype", "scale"}
    if dtype != "int8":
        assert not any(name.endswith(".scale") for name in state)
        assert torch.equal(state[TABLE], wanted.to(state[TABLE].dtype))
        # What comes of float16 finds its steps again.
        again = quantize_directory(tmp_path / "out", tmp_path / "again", packed=False, table="int4")
        assert gap(token_vectors(read_network(again, torch.float32)), wanted) < 1e-3
    texts = ["cab bed", "北京"]
    vectors = [Embedder(d, device="cpu").encode(texts) for d in (tmp_path / "out", stored)]
    assert (vectors[0] * vectors[1]).sum(1).min() > 0.99


def test_decoders_have_such_a_table_as_well(tmp_path: Path) -> None:
    size = toy_size(hidden=64, head_dim=16)
    opened = (
        ("embedder", lambda path: Embedder(path)._network),
        ("reranker", lambda path: Reranker(path).judge.networks[0]),
    )
    for kind, network in opened:
        whole = write_toy(tmp_path / kind, kind, size=size)  # type: ignore[arg-type]
        copy = quantize_directory(whole, tmp_path / f"{kind}4", packed=False, table="int4")
        row = read_network(copy, torch.float32).embed_tokens.weight
        assert 0 < gap(row, read_network(whole, torch.float32).embed_tokens.weight) < 0.1
        assert gap(token_vectors(network(copy)), row) == 0
    pairs = [("capital of China", "Beijing"), ("gravity", "a force")]
    scores = [Reranker(tmp_path / name).predict(pairs) for name in ("reranker", "reranker4")]
    assert 0 < gap(*scores) < 0.2


# --- what is refused -----------------------------------------------------------------------------


def test_what_cannot_be_stored_is_said_before_anything_is_written(e5: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        quantize_directory(e5, tmp_path / "no", packed=False, table="int3")
    assert_mendable(caught.value, "int3", "int4")
    narrow = write_toy(tmp_path / "narrow", size=toy_size(hidden=48))
    with pytest.raises(InputError) as caught:
        quantize_directory(narrow, tmp_path / "no", packed=False, table="int4")
    assert_mendable(caught.value, "48")
    with pytest.raises(InputError) as caught:
        rewrite_directory(e5, tmp_path / "no", "float3")
    assert_mendable(caught.value, "float3")
    assert not (tmp_path / "no").exists()


@needs_kernels
@pytest.mark.parametrize("changed", ["codes", "scales", "no scales"])
def test_a_table_of_another_shape_is_said(stored: Path, tmp_path: Path, changed: str) -> None:
    state = load_file(stored / "model.safetensors")
    scale = TABLE.removesuffix(".weight") + ".scale"
    if changed == "codes":
        state[TABLE] = state[TABLE][:-1].clone()
    elif changed == "scales":
        state[scale] = state[scale][:-1].clone()
    else:
        del state[scale]
    out = shutil.copytree(stored, tmp_path / "damaged")
    save_file(state, out / "model.safetensors")
    for read in (lambda: native_network(out, "int8"), lambda: read_network(out, torch.float32)):
        with pytest.raises(ModelError) as caught:
            read()
        assert_mendable(caught.value, "word_embeddings")


def test_tables_that_are_not_four_bits_are_packed_as_before() -> None:
    table = torch.randn(4, 64)
    assert torch.equal(Fresh({"a.weight": table}, "float32").table("a").read(torch.arange(4)), table)
