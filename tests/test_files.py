"""Model directories: every published form reads the same, every damaged one is refused in words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lingxi import Embedder, Reranker
from lingxi.engine.quantizing import quantize_directory
from lingxi.engine.run import pooled_states
from lingxi.errors import InputError, ModelError
from lingxi.model.files import locate, read_answer_rows, read_config, read_decoder, write_weights
from lingxi.model.int8 import quantized
from lingxi.model.layout import read_max_length, read_prompts
from toys import assert_mendable, gap, random_ids, random_state, toy_size, write_toy

IDS = random_ids([3, 17, 17, 40], 512)
FP32 = torch.float32


def states(directory: Path) -> torch.Tensor:
    return pooled_states(read_decoder(directory, FP32), IDS)


@pytest.fixture
def copy(embedder_directory: Path, tmp_path: Path) -> Path:
    return shutil.copytree(embedder_directory, tmp_path / "copy")


# --- forms that read the same --------------------------------------------------------------------


def test_sharded_and_single_files_agree(embedder_directory: Path, tmp_path: Path) -> None:
    sharded = write_toy(tmp_path / "sharded", max_shard_bytes=60_000)
    assert len(list(sharded.glob("model-*-of-*.safetensors"))) > 2
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(t.numel() * 4 for t in random_state(toy_size()).values())
    assert gap(states(sharded), states(embedder_directory)) == 0


def test_keys_with_and_without_the_prefix_agree(copy: Path) -> None:
    expected = states(copy)
    weights = load_file(copy / "model.safetensors")
    save_file({f"model.{k}": v for k, v in weights.items()}, copy / "model.safetensors")
    assert gap(states(copy), expected) == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_files_hold_the_rounded_weights(dtype: str, tmp_path: Path) -> None:
    half = write_toy(tmp_path / dtype, dtype=dtype)
    kind = getattr(torch, dtype)
    assert read_config(half)["torch_dtype"] == dtype
    read = read_decoder(half, FP32).state_dict()
    for name, tensor in random_state(toy_size()).items():
        assert torch.equal(read[name], tensor.to(kind).float())


def test_a_decoder_computes_in_the_type_asked_for(embedder_directory: Path) -> None:
    full = states(embedder_directory)
    for dtype in (torch.bfloat16, torch.float16):
        half = read_decoder(embedder_directory, dtype)
        assert half.embed_tokens.weight.dtype == dtype
        found = pooled_states(half, IDS)
        assert found.dtype == FP32
        assert torch.nn.functional.cosine_similarity(found, full).min() > 0.99


def test_int8_files_read_back_code_times_scale(tmp_path: Path) -> None:
    state = random_state(toy_size())
    read = read_decoder(write_toy(tmp_path / "int8", dtype="int8"), FP32).state_dict()
    stored = dict(quantized(state))
    for name, tensor in state.items():
        if tensor.dim() == 1:
            assert torch.equal(read[name], tensor)
            continue
        scale = stored[name.removesuffix(".weight") + ".scale"].float()[:, None]
        assert torch.equal(read[name], stored[name].float() * scale)
        assert ((read[name] - tensor).abs() <= scale * 0.51).all()


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("tied", [True, False])
def test_answer_rows(tied: bool, dtype: str, tmp_path: Path) -> None:
    size = toy_size(tied_head=tied)
    out = write_toy(tmp_path / "reranker", "reranker", size=size, dtype=dtype)
    state = random_state(size)
    head = state["embed_tokens.weight"] if tied else state["lm_head.weight"]
    row = read_answer_rows(out, size, 9, 4)
    assert gap(row, head[9] - head[4]) < (1e-7 if dtype == "float32" else 0.02)
    # A file that stores a head although the config ties it: the tie holds.
    if tied and dtype == "float32":
        weights = load_file(out / "model.safetensors")
        save_file({**weights, "lm_head.weight": torch.zeros(512, 64)}, out / "model.safetensors")
        assert gap(read_answer_rows(out, size, 9, 4), row) == 0


def test_an_untied_head_that_is_not_there_is_missed(reranker_directory: Path, tmp_path: Path) -> None:
    """The largest embedder unties a head it does not store: it must not pass for a reranker."""
    out = shutil.copytree(reranker_directory, tmp_path / "headless")
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    with pytest.raises(ModelError) as caught:
        Reranker(out)
    assert_mendable(caught.value, str(out), "lm_head.weight")


def test_a_classifier_of_many_classes_is_no_reranker(reranker_directory: Path, tmp_path: Path) -> None:
    out = shutil.copytree(reranker_directory, tmp_path / "classes")
    weights = load_file(out / "model.safetensors")
    save_file({**weights, "score.weight": torch.zeros(3, 64)}, out / "model.safetensors")
    with pytest.raises(ModelError) as caught:
        Reranker(out)
    assert_mendable(caught.value, "3 rows")


def test_a_sequence_classification_twin_scores_the_same(reranker_directory: Path, tmp_path: Path) -> None:
    twin = shutil.copytree(reranker_directory, tmp_path / "twin")
    original = Reranker(reranker_directory)
    weights = load_file(twin / "model.safetensors")
    save_file({**weights, "score.weight": original.judge.row[None].contiguous()}, twin / "model.safetensors")
    pairs = [("capital of China", "Beijing"), ("gravity", "a force"), ("", "")]
    assert gap(Reranker(twin).predict(pairs), original.predict(pairs)) < 1e-6
    copy = quantize_directory(twin, tmp_path / "int8", packed=False)
    assert (
        gap(Reranker(copy, engine="torch").judge.row, original.judge.row)
        < 0.01 * original.judge.row.abs().max()
    )


def test_prompts_and_length_are_read_where_they_stand(copy: Path) -> None:
    assert read_prompts(copy)["query"].endswith("\nQuery:")
    assert read_max_length(copy) == 256
    (copy / "config_sentence_transformers.json").write_text('{"prompts": {"query": "q: ", "code": "c: "}}')
    (copy / "sentence_bert_config.json").unlink()
    assert read_prompts(copy) == {"query": "q: ", "document": "", "code": "c: "}
    assert read_max_length(copy) is None
    assert Embedder(copy).max_seq_length == 512
    (copy / "config_sentence_transformers.json").write_text("{")
    with pytest.raises(ModelError) as caught:
        read_prompts(copy)
    assert_mendable(caught.value, "config_sentence_transformers.json")


def test_unknown_dtypes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write_weights(tmp_path, {}, "int3")
    assert_mendable(caught.value, "int3", "bfloat16")


# --- damage --------------------------------------------------------------------------------------


def _truncate(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _foreign_bytes(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(b"PK\x03\x04 this is a zip file, by all appearances")


def _empty(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(b"")


def _foreign_names(directory: Path) -> None:
    save_file({"bert.encoder.weight": torch.zeros(4, 4)}, directory / "model.safetensors")


def _foreign_shapes(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    weights["embed_tokens.weight"] = torch.zeros(100, 64)
    save_file(weights, directory / "model.safetensors")


def _missing_tensor(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    del weights["layers.1.mlp.up_proj.weight"]
    save_file(weights, directory / "model.safetensors")


def _no_weights(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


def _missing_shard(directory: Path) -> None:
    index = {"metadata": {}, "weight_map": {"norm.weight": "model-00001-of-00002.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def _broken_index(directory: Path) -> None:
    (directory / "model.safetensors.index.json").write_text("[1, 2")


def _no_scale(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    weights["embed_tokens.weight"] = weights["embed_tokens.weight"].to(torch.int8)
    save_file(weights, directory / "model.safetensors")


def _no_config(directory: Path) -> None:
    (directory / "config.json").unlink()


def _broken_config(directory: Path) -> None:
    (directory / "config.json").write_text('{"model_type": "qwen3"')


def _list_config(directory: Path) -> None:
    (directory / "config.json").write_text("[]")


def _no_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_truncate, "truncated"),
        (_foreign_bytes, "not safetensors"),
        (_empty, "not safetensors"),
        (_foreign_names, "missing"),
        (_foreign_shapes, "[100, 64]"),
        (_missing_tensor, "layers.1.mlp.up_proj.weight"),
        (_no_weights, "no *.safetensors"),
        (_missing_shard, "model-00001-of-00002.safetensors"),
        (_broken_index, "index.json"),
        (_no_scale, "embed_tokens.scale"),
        (_no_config, "config.json"),
        (_broken_config, "config.json"),
        (_list_config, "config.json"),
        (_no_tokenizer, "tokenizer.json"),
    ],
)
def test_damage_is_named(damage: Callable[[Path], None], words: str, copy: Path) -> None:
    damage(copy)
    with pytest.raises(ModelError) as caught:
        Embedder(copy)
    assert_mendable(caught.value, words, str(copy))


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    out = write_toy(tmp_path / "wide")
    narrow = write_toy(tmp_path / "narrow", size=toy_size(vocab=520))
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "vocab_size": 400}))
    weights = load_file(out / "model.safetensors")
    weights["embed_tokens.weight"] = weights["embed_tokens.weight"][:400].contiguous()
    save_file(weights, out / "model.safetensors")
    with pytest.raises(ModelError) as caught:
        Embedder(out)
    assert_mendable(caught.value, "does not fit", "400 rows")
    # More rows than ids is how the base models are published.
    assert Embedder(narrow).encode("x").shape == (64,)


def test_a_model_of_the_other_kind_is_refused(embedder_directory: Path, reranker_directory: Path) -> None:
    with pytest.raises(ModelError) as caught:
        Reranker(embedder_directory)
    assert_mendable(caught.value, "embedder", str(embedder_directory))
    with pytest.raises(ModelError) as caught:
        Embedder(reranker_directory)
    assert_mendable(caught.value, "reranker", str(reranker_directory))


# --- finding a model -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["no-such-model", "", "a/b/c/d", "/nowhere/at/all"])
def test_unknown_models_are_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        locate(name)
    assert_mendable(caught.value, "directory", "hub id")


def test_a_file_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError) as caught:
        locate(tmp_path / "model.safetensors")
    assert_mendable(caught.value, "not a directory")


def test_a_hub_id_that_cannot_be_had_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        locate("nobody/no-such-model", local_files_only=True)
    assert_mendable(caught.value, "nobody/no-such-model", "hub")


def test_a_directory_is_found_by_its_path(embedder_directory: Path) -> None:
    assert locate(embedder_directory) == embedder_directory
    assert locate(str(embedder_directory)) == embedder_directory


def test_weights_are_readable_by_whom_the_folder_is(tmp_path):
    tmp_path.chmod(0o755)
    write_weights(tmp_path, {"a.weight": torch.zeros(2, 2)}, "float32")
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644
