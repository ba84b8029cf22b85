"""The published network shapes, and lingxi-pico's.

A `Size` is what `config.json` says of a decoder, and nothing about its weights: Qwen3's alone here,
the other families' in `families.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lingxi.errors import ModelError
from lingxi.model.styles import QWEN3, Scaling, Style


@dataclass(frozen=True, slots=True)
class Size:
    """Shape of one decoder (names as in the published `config.json`); the last fields are Qwen3's by default.

    `windowed` says of each layer whether it sees `window` tokens only (then its rotary base is
    `local_theta`); `query_scale` multiplies attention scores, None is head_dim^-0.5; `sections` are the
    frequencies that turn by time, height and width where tokens stand in pictures (interleaved M-RoPE).
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    max_positions: int = 32768
    rope_theta: float = 1e6
    norm_eps: float = 1e-6
    tied_head: bool = True
    style: Style = QWEN3
    causal: bool = True
    scaling: Scaling | None = None
    window: int | None = None
    windowed: tuple[bool, ...] = ()
    local_theta: float | None = None
    query_scale: float | None = None
    sections: tuple[int, int, int] | None = None

    def parameters(self) -> int:
        """Number of parameters with a tied (or absent) output head."""
        style, projected = self.style, (self.heads + 2 * self.kv_heads) * self.head_dim
        attention = self.hidden * (projected + self.heads * self.head_dim)
        attention += style.qk_norm * 2 * self.head_dim
        biases = style.qkv_bias * projected + style.out_bias * self.hidden
        biases += style.feed_forward_bias * (2 * self.intermediate + self.hidden)
        norms = (4 if style.post_norms else 2) * self.hidden
        block = attention + biases + 3 * self.hidden * self.intermediate + norms
        return self.vocab * self.hidden + self.layers * block + self.hidden


_QWEN_0_6B = Size(1024, 28, 16, 8, 128, 3072, 151669)
_QWEN_4B = Size(2560, 36, 32, 8, 128, 9728, 151665, max_positions=40960)
_QWEN_8B = Size(4096, 36, 32, 8, 128, 12288, 151665, max_positions=40960)

SIZES: Mapping[str, Size] = {
    "pico": Size(384, 3, 6, 6, 64, 1024, 49152, max_positions=8192, rope_theta=1e5),
    "embedding-0.6B": _QWEN_0_6B,
    "embedding-4B": _QWEN_4B,
    "embedding-8B": _QWEN_8B,
    "reranker-0.6B": replace(_QWEN_0_6B, max_positions=40960),
    "reranker-4B": replace(_QWEN_4B, vocab=151669),
    "reranker-8B": replace(_QWEN_8B, vocab=151669, tied_head=False),
}


def size_named(name: str) -> Size:
    """Look a size up by name; raises ModelError for a name that is not in `SIZES`."""
    if name not in SIZES:
        raise ModelError(f"unknown size {name!r}", f"choose one of: {', '.join(SIZES)}")
    return SIZES[name]


def size_from_config(config: Mapping[str, Any], where: str) -> Size:
    """Read a Size from the fields of a published Qwen3 `config.json`; raises ModelError where one is missing.

    Both places of the rotary base are read: `rope_theta` (transformers 4) and
    `rope_parameters.rope_theta` (transformers 5).
    """
    if config.get("model_type") != "qwen3":
        found = config.get("model_type", "nothing")
        raise ModelError(f"{where}: model_type is {found!r}", "lingxi computes Qwen3 networks ('qwen3')")
    if config.get("use_sliding_window"):
        raise ModelError(f"{where}: use_sliding_window is on", "lingxi computes full attention only")
    rope = config.get("rope_parameters") or {}
    scaling = config.get("rope_scaling") or {}
    kind = rope.get("rope_type") or scaling.get("rope_type") or scaling.get("type") or "default"
    if kind != "default":
        raise ModelError(
            f"{where}: rotary scaling {kind!r} is not computed", "use a model without rope_scaling"
        )
    return plain_size(config, where)


def plain_size(config: Mapping[str, Any], where: str, theta: float = 1e6) -> Size:
    """The fields that every family states; `theta` is the rotary base of a config that states none."""
    rope = config.get("rope_parameters") or {}
    try:
        heads = int(config["num_attention_heads"])
        hidden = int(config["hidden_size"])
        return Size(
            hidden=hidden,
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads", heads)),
            head_dim=int(config.get("head_dim") or hidden // heads),
            intermediate=int(config["intermediate_size"]),
            vocab=int(config["vocab_size"]),
            max_positions=int(config.get("max_position_embeddings", 32768)),
            rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or theta),
            norm_eps=float(config.get("rms_norm_eps", 1e-6)),
            tied_head=bool(config.get("tie_word_embeddings", True)),
        )
    except KeyError as missing:
        raise ModelError(
            f"{where}: {missing.args[0]!r} is missing", "copy the model's config.json again"
        ) from None
    except (TypeError, ValueError) as error:
        raise ModelError(f"{where}: config.json: {error}", "copy the model's config.json again") from None


def config_from_size(size: Size, *, end_id: int, dtype: str) -> dict[str, Any]:
    """Write a Size as `config.json`, with the fields vLLM and TEI look for beside the published ones."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": end_id,
        "eos_token_id": end_id,
        "pad_token_id": end_id,
        "head_dim": size.head_dim,
        "hidden_act": "silu",
        "hidden_size": size.hidden,
        "initializer_range": 0.02,
        "intermediate_size": size.intermediate,
        "max_position_embeddings": size.max_positions,
        "num_attention_heads": size.heads,
        "num_hidden_layers": size.layers,
        "num_key_value_heads": size.kv_heads,
        "rms_norm_eps": size.norm_eps,
        "rope_scaling": None,
        "rope_theta": size.rope_theta,
        "sliding_window": None,
        "max_window_layers": size.layers,
        "use_sliding_window": False,
        "tie_word_embeddings": size.tied_head,
        "torch_dtype": dtype,
        "use_cache": True,
        "vocab_size": size.vocab,
        "is_matryoshka": True,
        "matryoshka_dimensions": matryoshka_dims(size.hidden),
    }


def matryoshka_dims(hidden: int) -> list[int]:
    """Widths offered for truncation: 32, 64, … doubling, and the full width."""
    dims = []
    width = 32
    while width < hidden:
        dims.append(width)
        width *= 2
    return [*dims, hidden]
