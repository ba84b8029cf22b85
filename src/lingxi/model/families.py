"""`config.json` of every family of decoders: which variation of the one network it asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lingxi.errors import ModelError
from lingxi.model.sizes import Size, plain_size, size_from_config
from lingxi.model.styles import GEMMA3, LLAMA, QWEN2, Scaling

Config = Mapping[str, Any]


def decoder_size(config: Config, where: str) -> Size:
    """Read a Size from a `config.json` whose `model_type` is one of `DECODERS`.

    Raises ModelError where a field is missing, or says something that is not computed.
    """
    return _FAMILIES[config["model_type"]](config, where)


def _llama(config: Config, where: str) -> Size:
    _refuse_activation(config, where, "hidden_act", "silu")
    bias = bool(config.get("attention_bias", False))
    feed_forward_bias = bool(config.get("mlp_bias", False))
    style = replace(LLAMA, qkv_bias=bias, out_bias=bias, feed_forward_bias=feed_forward_bias)
    size = plain_size({"tie_word_embeddings": False, **config}, where, theta=1e4)
    return replace(size, style=style, scaling=_scaling(config, where))


def _qwen2(config: Config, where: str) -> Size:
    _refuse_activation(config, where, "hidden_act", "silu")
    size = plain_size({"tie_word_embeddings": False, **config}, where, theta=1e4)
    size = replace(size, style=QWEN2, scaling=_scaling(config, where))
    if not config.get("use_sliding_window"):
        return size
    from_layer = int(config.get("max_window_layers", 28))
    return _windowed(size, config, where, lambda layer: layer >= from_layer)


def _gemma3(config: Config, where: str) -> Size:
    _refuse_activation(config, where, "hidden_activation", "gelu_pytorch_tanh")
    for name in ("attn_logit_softcapping", "attention_bias"):
        if config.get(name):
            raise ModelError(f"{where}: {name} is {config[name]!r}", "lingxi computes Gemma 3 without it")
    ropes = config.get("rope_parameters") or {}
    local, full = ropes.get("sliding_attention") or {}, ropes.get("full_attention") or {}
    size = plain_size({"head_dim": 256, **config, "rope_parameters": full}, where)
    every = int(config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or 6)
    size = _windowed(size, config, where, lambda layer: bool((layer + 1) % every))
    both = bool(config.get("use_bidirectional_attention"))
    scaling = _scaling({"rope_parameters": full, "rope_scaling": config.get("rope_scaling")}, where)
    return replace(
        size,
        style=GEMMA3,
        causal=not both,
        # The published number counts both sides of a token where it sees both.
        window=size.window // 2 + 1 if both and size.window else size.window,
        local_theta=float(local.get("rope_theta") or config.get("rope_local_base_freq") or 1e4),
        query_scale=float(config.get("query_pre_attn_scalar", 256)) ** -0.5,
        scaling=scaling,
    )


def _qwen3_vl(config: Config, where: str) -> Size:
    """The text network of a VL model: Qwen3's, whose angles turn by three axes where there are pictures."""
    text = config.get("text_config")
    if not isinstance(text, Mapping):
        raise ModelError(f"{where}: 'text_config' is missing", _AGAIN)
    _refuse_activation(text, where, "hidden_act", "silu")
    if text.get("attention_bias"):
        raise ModelError(f"{where}: attention_bias is on", "lingxi computes Qwen3-VL without it")
    rope = {**(text.get("rope_scaling") or {}), **(text.get("rope_parameters") or {})}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    sections = tuple(int(n) for n in rope.get("mrope_section", (24, 20, 20)))
    size = plain_size({**text, "tie_word_embeddings": _tied(config, text)}, where, theta=5e5)
    known = kind in ("default", "mrope") and rope.get("mrope_interleaved", True)
    if not known or len(sections) != 3 or 2 * sum(sections) != size.head_dim:
        raise ModelError(f"{where}: rotary positions are not those of Qwen3-VL ({rope})", _AGAIN)
    return replace(size, sections=(sections[0], sections[1], sections[2]))


def _tied(config: Config, text: Config) -> bool:
    return bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))


def _windowed(size: Size, config: Config, where: str, rule: Callable[[int], bool]) -> Size:
    """The layers that see a window: as `layer_types` says, by the family's rule where it says nothing."""
    types = config.get("layer_types")
    layers = [t == "sliding_attention" for t in types] if types else [rule(i) for i in range(size.layers)]
    if len(layers) != size.layers:
        raise ModelError(f"{where}: layer_types names {len(layers)} layers of {size.layers}", _AGAIN)
    window = config.get("sliding_window") or 4096
    return replace(size, window=int(window), windowed=tuple(layers))


def _scaling(config: Config, where: str) -> Scaling | None:
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = found.get("rope_type") or found.get("type") or "default"
    if kind == "default":
        return None
    try:
        if kind == "linear":
            return Scaling("linear", float(found["factor"]))
        if kind == "llama3":
            low, high = float(found["low_freq_factor"]), float(found["high_freq_factor"])
            original = int(found["original_max_position_embeddings"])
            return Scaling("llama3", float(found["factor"]), low, high, original)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{where}: rotary scaling {kind!r} lacks {error}", _AGAIN) from None
    raise ModelError(f"{where}: rotary scaling {kind!r} is not computed", "lingxi computes linear and llama3")


def _refuse_activation(config: Config, where: str, field: str, computed: str) -> None:
    found = config.get(field, computed)
    if found != computed:
        raise ModelError(f"{where}: {field} is {found!r}", f"lingxi computes {computed!r} in this family")


_AGAIN = "copy the model's config.json again"
_FAMILIES: Mapping[str, Callable[[Config, str], Size]] = {
    "qwen3": size_from_config,
    "qwen2": _qwen2,
    "llama": _llama,
    "gemma3_text": _gemma3,
    "qwen3_vl": _qwen3_vl,
}
DECODERS: tuple[str, ...] = tuple(_FAMILIES)
"""The values of `model_type` that are read as a decoder."""
