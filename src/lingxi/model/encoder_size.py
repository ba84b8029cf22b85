"""What `config.json` says of a BERT-type encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lingxi.errors import ModelError

Approximate = Literal["none", "tanh"]
_GELU: Mapping[str, Approximate] = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


@dataclass(frozen=True, slots=True)
class EncoderSize:
    """Shape of one encoder (names as in the published `config.json` where it has them).

    `max_positions` tokens fit; their position rows begin at `offset`. `types` counts token types
    and `buckets` MPNet's distance buckets, 0 where there are none.
    """

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocab: int
    max_positions: int
    offset: int = 0
    types: int = 2
    buckets: int = 0
    norm_eps: float = 1e-12
    approximate: Approximate = "none"

    def parameters(self) -> int:
        """Number of parameters, without the pooler that sentence vectors do not use."""
        rows = self.vocab + self.max_positions + self.offset + self.types
        block = 4 * self.hidden * (self.hidden + 1) + 2 * self.hidden * self.intermediate
        block += self.intermediate + 5 * self.hidden
        return (rows + 2) * self.hidden + self.layers * block + self.buckets * self.heads


def _bert(config: Mapping[str, Any]) -> dict[str, int]:
    return {"types": int(config.get("type_vocab_size", 2))}


def _roberta(config: Mapping[str, Any]) -> dict[str, int]:
    offset = int(config.get("pad_token_id", 1)) + 1
    return {"types": int(config.get("type_vocab_size", 1)), "offset": offset}


def _mpnet(config: Mapping[str, Any]) -> dict[str, int]:
    # The published code pads by id 1, whatever config.json says.
    return {"types": 0, "offset": 2, "buckets": int(config.get("relative_attention_num_buckets", 32))}


_FAMILIES: Mapping[str, Callable[[Mapping[str, Any]], dict[str, int]]] = {
    "bert": _bert,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
    "camembert": _roberta,
    "mpnet": _mpnet,
}
ENCODERS: tuple[str, ...] = tuple(_FAMILIES)
"""The values of `model_type` that are read as an encoder."""


def encoder_size(config: Mapping[str, Any], where: str) -> EncoderSize:
    """Read an EncoderSize from a `config.json` whose `model_type` is one of `ENCODERS`.

    Raises ModelError where a field is missing, or says something that is not computed.
    """
    _refuse_variants(config, where)
    try:
        own = _FAMILIES[config["model_type"]](config)
        return EncoderSize(
            hidden=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            intermediate=int(config["intermediate_size"]),
            vocab=int(config["vocab_size"]),
            max_positions=int(config["max_position_embeddings"]) - own.get("offset", 0),
            norm_eps=float(config.get("layer_norm_eps", 1e-12)),
            approximate=_GELU[config.get("hidden_act", "gelu")],
            **own,
        )
    except KeyError as missing:
        raise ModelError(
            f"{where}: {missing.args[0]!r} is missing", "copy the model's config.json again"
        ) from None
    except (TypeError, ValueError) as error:
        raise ModelError(f"{where}: config.json: {error}", "copy the model's config.json again") from None


def _refuse_variants(config: Mapping[str, Any], where: str) -> None:
    position = config.get("position_embedding_type", "absolute")
    if position != "absolute":
        raise ModelError(f"{where}: position_embedding_type is {position!r}", "lingxi computes 'absolute'")
    if config.get("is_decoder"):
        raise ModelError(f"{where}: is_decoder is on", "lingxi computes BERT networks as encoders")
    act = config.get("hidden_act", "gelu")
    if act not in _GELU:
        raise ModelError(f"{where}: hidden_act is {act!r}", f"lingxi computes one of: {', '.join(_GELU)}")
