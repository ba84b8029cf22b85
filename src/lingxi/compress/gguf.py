"""A model directory as one GGUF file for llama.cpp: architecture qwen3, pooled at the last token.

The reader of the same format is `model/gguf.py`. The groups of an int4 directory are Q4_0's blocks: 32
columns, one fp16 scale, codes 0 to 15 less 8; so `q4_0` keeps its codes exactly, in llama.cpp's order
within a block.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lingxi.compress.onnx_export import require_int4
from lingxi.compress.onnx_graph import Array
from lingxi.compress.onnx_network import check_style
from lingxi.errors import InputError, MissingExtraError, require_new
from lingxi.model.files import Computed, open_codes, open_weights, read_config
from lingxi.model.int4 import Packed4
from lingxi.model.layout import read_kind, read_max_length
from lingxi.model.sizes import Size, size_from_config
from lingxi.model.tokens import read_description, read_tokens

DTYPES = ("float32", "float16", "q8_0", "q4_0")
_BLOCK = 32
# What llama.cpp calls the way Qwen's text is split before its pairs of bytes are merged.
_SPLIT = "qwen2"
_LAST = 3  # LLAMA_POOLING_TYPE_LAST
_NORMAL, _CONTROL = 1, 3


def write_gguf(source: Path, out: Path, dtype: str = "float16") -> Path:
    """Write a Qwen3 directory as the new GGUF file `out`, matrices in `dtype`, norms in fp32; returns `out`.

    `q4_0` wants an int4 directory in groups of 32. A reranker is written as a causal model with its head,
    for runtimes that read the logits of yes and no. Raises InputError where `out` exists or the dtype does
    not fit, ModelError for another family, MissingExtraError without the package gguf.
    """
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}", f"choose one of: {', '.join(DTYPES)}")
    require_new(out, "file")
    if dtype == "q4_0":
        require_int4(source)
    library = _library()
    size = size_from_config(read_config(source), str(source))
    check_style(size, str(source))
    draft = out.with_name(out.name + ".draft")
    writer = library.GGUFWriter(draft, "qwen3")
    _describe(writer, source, size)
    _add_tokens(writer, source, size)
    with open_weights(source) as tensors, open_codes(source) as codes:
        _add_tensors(library, writer, tensors, codes, size, dtype)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    writer.close()
    return draft.replace(out)


def _library() -> Any:
    try:
        import gguf
    except ImportError:
        raise MissingExtraError("gguf", "gguf", "writing a GGUF file") from None
    return gguf


def _describe(writer: Any, source: Path, size: Size) -> None:
    writer.add_name(source.resolve().name)
    writer.add_block_count(size.layers)
    writer.add_context_length(min(read_max_length(source) or size.max_positions, size.max_positions))
    writer.add_embedding_length(size.hidden)
    writer.add_feed_forward_length(size.intermediate)
    writer.add_head_count(size.heads)
    writer.add_head_count_kv(size.kv_heads)
    writer.add_key_length(size.head_dim)
    writer.add_value_length(size.head_dim)
    writer.add_rope_freq_base(size.rope_theta)
    writer.add_layer_norm_rms_eps(size.norm_eps)
    if (read_kind(source) or "embedder") == "embedder":
        writer.add_uint32("qwen3.pooling_type", _LAST)


def _add_tokens(writer: Any, source: Path, size: Size) -> None:
    """The byte-level vocabulary and its merges; the end token is put after an embedder's text."""
    description = read_description(source / "tokenizer.json")
    end = read_tokens(source / "tokenizer.json", size.vocab).end
    names = {number: word for word, number in description["model"]["vocab"].items()}
    special = {t["id"]: t["content"] for t in description["added_tokens"] if t["id"] < size.vocab}
    names |= special
    # Rows that no text becomes, where the table is longer than the vocabulary.
    listed = [names.get(i, f"[PAD{i}]") for i in range(size.vocab)]
    kinds = [_CONTROL if i in special or i not in names else _NORMAL for i in range(size.vocab)]
    merges = [m if isinstance(m, str) else " ".join(m) for m in description["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_SPLIT)
    writer.add_token_list(listed)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token((read_kind(source) or "embedder") == "embedder")


def _add_tensors(library: Any, writer: Any, tensors: Computed, codes: Any, size: Size, dtype: str) -> None:
    named = library.get_tensor_name_map(library.MODEL_ARCH.QWEN3, size.layers)
    for name in tensors:
        known = name if name.startswith("lm_head") else f"model.{name}"
        key = named.get_name(known, try_suffixes=(".weight",))
        packed = codes(name) if dtype == "q4_0" else None
        if packed is not None:
            _check_blocks(name, packed)
            writer.add_tensor(key, blocks(packed), raw_dtype=library.GGMLQuantizationType.Q4_0)
            continue
        value = np.asarray(tensors[name].numpy(), np.float32)
        if value.ndim == 1 or dtype == "float32":
            writer.add_tensor(key, value)
        elif dtype == "q8_0":
            kind = library.GGMLQuantizationType.Q8_0
            writer.add_tensor(key, library.quants.quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(key, value.astype(np.float16))


def _check_blocks(name: str, packed: Packed4) -> None:
    if packed.group != _BLOCK:
        raise InputError(
            f"{name}: groups of {packed.group}", f"write the int4 directory with --group {_BLOCK}"
        )


def blocks(packed: Packed4) -> Array:
    """Q4_0's bytes [rows, 18 · groups]: a scale, then a block's first half in the low halves of 16 bytes."""
    rows, groups = packed.scales.shape
    pairs = torch.stack((packed.codes & 15, packed.codes >> 4), dim=-1).view(rows, groups, _BLOCK)
    low, high = pairs[:, :, : _BLOCK // 2], pairs[:, :, _BLOCK // 2 :]
    halves = (low | (high << 4)).numpy().astype(np.uint8)
    scales = packed.scales.numpy().astype("<f2").view(np.uint8).reshape(rows, groups, 2)
    return np.concatenate((scales, halves), axis=-1).reshape(rows, groups * 18)
