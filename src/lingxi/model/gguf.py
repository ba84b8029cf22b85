"""llama.cpp's GGUF files as networks: tensors dequantised, Llama's row order undone, the tokenizer rebuilt.

Read: the architectures llama, qwen2, qwen3 and gemma3, in every tensor type that the library `gguf`
dequantises (extra `gguf`). The values are those of the file: a 4-bit model stays the model that four
bits left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lingxi.errors import MissingExtraError, ModelError
from lingxi.model.decoder import Decoder
from lingxi.model.families import decoder_size
from lingxi.model.framing import framed_tokens
from lingxi.model.gguf_tokens import describe_tokenizer
from lingxi.model.pooling import Pooling
from lingxi.model.tokens import Tokens

_FAMILIES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3": "gemma3_text"}
_FIELDS = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
    "rope_theta": "rope.freq_base",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "sliding_window": "attention.sliding_window",
}


@dataclass(frozen=True, slots=True)
class GgufModel:
    """A GGUF file read: its decoder, its tokenizer, and its metadata by key."""

    decoder: Decoder
    tokens: Tokens
    metadata: Mapping[str, Any]


def read_gguf(
    path: Path,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    *,
    pooling: Pooling = "lasttoken",
) -> GgufModel:
    """Read a GGUF file as a decoder in `dtype` with its tokenizer, ready for inference.

    Raises ModelError for an architecture, rotary scaling or tokenizer that is not computed, or a
    damaged file; MissingExtraError without the library `gguf`.
    """
    reader = _open(path)
    metadata = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    config = _config(path, metadata, tensors)
    size = decoder_size(config, str(path))
    with torch.device("meta"):
        decoder = Decoder(size, pooling)
    shapes = {name: tuple(tensor.shape) for name, tensor in decoder.state_dict().items()}
    state = _state(path, shapes, tensors, metadata, size.layers)
    decoder.load_state_dict({name: t.to(device, dtype) for name, t in state.items()}, assign=True)
    description, end = describe_tokenizer(metadata, str(path))
    tokens = framed_tokens(description, size.vocab, str(path), end)
    return GgufModel(decoder.eval().requires_grad_(False), tokens, metadata)


def _open(path: Path) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError:
        raise MissingExtraError("gguf", "gguf", f"reading {path}") from None
    try:
        return GGUFReader(path)
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise ModelError(f"{path}: not a GGUF file ({error})", "copy the file again") from None


def _config(path: Path, metadata: Mapping[str, Any], tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The `config.json` that the metadata amounts to."""
    architecture = metadata.get("general.architecture")
    if architecture not in _FAMILIES:
        raise ModelError(
            f"{path}: the architecture is {architecture!r}", f"lingxi reads one of: {', '.join(_FAMILIES)}"
        )
    if "rope_freqs.weight" in tensors:
        raise ModelError(
            f"{path}: rotary factors of its own (Llama 3.1)", "use the safetensors of this model"
        )
    given = {name: metadata.get(f"{architecture}.{key}") for name, key in _FIELDS.items()}
    config: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    config |= {
        "model_type": _FAMILIES[architecture],
        "vocab_size": int(tensors["token_embd.weight"].shape[1]) if "token_embd.weight" in tensors else None,
        "tie_word_embeddings": "output.weight" not in tensors,
        "attention_bias": "blk.0.attn_q.bias" in tensors and architecture == "llama",
    }
    scaling = metadata.get(f"{architecture}.rope.scaling.type", "none")
    if scaling != "none":
        factor = metadata.get(f"{architecture}.rope.scaling.factor", 1.0)
        config["rope_scaling"] = {"rope_type": scaling, "factor": factor}
    return config | (_gemma3(config) if architecture == "gemma3" else {})


def _gemma3(config: Mapping[str, Any]) -> dict[str, Any]:
    """What llama.cpp keeps in its code and not in the file: the scale of the scores, by head but for 27B."""
    width = int(config.get("head_dim", 256))
    if config.get("num_hidden_layers") == 62:
        width = int(config["hidden_size"]) // int(config["num_attention_heads"])
    return {"query_pre_attn_scalar": width, "rope_parameters": None}


def _state(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Mapping[str, Any],
    metadata: Mapping[str, Any],
    layers: int,
) -> dict[str, torch.Tensor]:
    from gguf import MODEL_ARCH, get_tensor_name_map

    architecture = metadata["general.architecture"]
    named = get_tensor_name_map(MODEL_ARCH[architecture.upper()], layers)
    state = {}
    for name, shape in shapes.items():
        key = named.get_name(f"model.{name}", try_suffixes=(".weight", ".bias"))
        if key is None or key not in tensors:
            raise ModelError(f"{path}: tensor {key or name!r} is missing", "copy the file again")
        tensor = _dequantized(tensors[key])
        if tuple(tensor.shape) != shape:
            raise ModelError(
                f"{path}: {key!r} has shape {list(tensor.shape)}, expected {list(shape)}",
                "copy the file again",
            )
        state[name] = _published(tensor, name, architecture, metadata)
    return state


def _dequantized(tensor: Any) -> torch.Tensor:
    from gguf.quants import dequantize

    # Copied: the reader's arrays lie in the file.
    return torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32))


def _published(
    tensor: torch.Tensor, name: str, architecture: str, metadata: Mapping[str, Any]
) -> torch.Tensor:
    """A tensor before llama.cpp's converter: Llama's q and k rows in halves, Gemma's norms less 1."""
    if architecture == "gemma3" and name.endswith("norm.weight"):
        return tensor - 1
    if architecture != "llama" or (".q_proj." not in name and ".k_proj." not in name):
        return tensor
    heads = metadata["llama.attention.head_count"]
    if ".k_proj." in name:
        heads = metadata.get("llama.attention.head_count_kv", heads)
    return tensor.reshape(heads, -1, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)
