"""The padded reference: the same ids in a plain batch with padding and masks, as most runtimes compute them.

By transformers where it is installed, else by a forward pass written out here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch.nn import functional as F

from lingxi.check.subject import Ids, Plain, Subject
from lingxi.model.decoder import Attention, Block, Decoder
from lingxi.model.encoder import Encoder
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.network import Headed, network_name
from lingxi.model.packed import pack

Side = Literal["left", "right"]
Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Ids and mask [batch, width] to final normed states [batch, width, hidden]."""


def padded_forward(subject: Subject) -> tuple[str, Forward] | None:
    """A padded network around the plain network's weights, and who computes; None where nobody can."""
    inner = subject.plain.inner if isinstance(subject.plain, Headed) else subject.plain
    if find_spec("transformers") is not None:
        return "transformers", _transformers(subject.directory, inner)
    if isinstance(inner, Decoder) and subject.family == "qwen3":
        return "own padded pass", lambda ids, mask: plain_forward(inner, ids, mask)
    return None


def sides(plain: Plain) -> tuple[Side, ...]:
    """On which sides a network may be padded: an encoder counts its positions from the left."""
    return ("right",) if isinstance(plain.size, EncoderSize) else ("left", "right")


def pooled(subject: Subject, forward: Forward, sequences: Sequence[Ids], side: Side) -> torch.Tensor:
    """The vector or state of each sequence [sequences, width], pooled as the network says."""
    ids, mask = pad(sequences, side)
    with torch.inference_mode():
        return pooled_padded(subject, forward(ids, mask), mask, sequences)


def pooled_padded(
    subject: Subject, states: torch.Tensor, mask: torch.Tensor, sequences: Sequence[Ids]
) -> torch.Tensor:
    """Pool padded states [sequences, width, hidden] of sequences, and apply the heads."""
    return subject.pooled(states[mask.bool()], pack(sequences), subject.plain.pooling)


def pad(sequences: Sequence[Ids], side: Side) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (0 where padded) and mask, both [sequences, longest]."""
    width = max(map(len, sequences))
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for place, sequence in enumerate(sequences):
        at = slice(width - len(sequence), None) if side == "left" else slice(len(sequence))
        ids[place, at] = torch.tensor(sequence)
        mask[place, at] = 1
    return ids, mask


def _transformers(directory: Path, inner: Decoder | Encoder) -> Forward:
    from transformers import MODEL_MAPPING, AutoConfig

    state = inner.state_dict()
    # An encoder's pooler is no part of a sentence's vector; a decoder's cache serves the next token.
    encoder = isinstance(inner, Encoder)
    built: dict[str, bool] = {"add_pooling_layer": False} if encoder else {}
    asked: dict[str, bool] = {} if encoder else {"use_cache": False}
    with bars_off():
        config = AutoConfig.from_pretrained(directory)
        config = getattr(config, "text_config", config)  # of a VL model: what reads its texts
        known: Any = MODEL_MAPPING
        kind: Any = known[type(config)]
        with torch.device("meta"):
            names = list(kind(config, **built).state_dict())
        named = {name: state[network_name(name)] for name in names}
        network: Any = kind.from_pretrained(
            None, config=config, state_dict=named, dtype=torch.float32, **built
        )
    network.eval()

    def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What transformers computes."""
        return cast(torch.Tensor, network(input_ids=ids, attention_mask=mask, **asked)[0])

    return forward


@contextmanager
def bars_off() -> Iterator[None]:
    """No progress bars of transformers, which draws them into pipes too."""
    from transformers import utils

    logging: Any = utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def plain_forward(decoder: Decoder, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The decoder's equations, padded: ids and mask [batch, width] to states [batch, width, hidden]."""
    width = ids.shape[1]
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    # A padded place sees itself alone: a row of the softmax must not be empty.
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    seen = (causal & mask[:, None].bool()) | torch.eye(width, dtype=torch.bool)
    x = decoder.embed_tokens(ids)
    for layer in decoder.layers:
        block = cast(Block, layer)
        x = x + _attended(block.self_attn, block.input_layernorm(x), _angles(decoder, positions), seen)
        normed = block.post_attention_layernorm(x)
        x = x + block.mlp.down_proj(F.silu(block.mlp.gate_proj(normed)) * block.mlp.up_proj(normed))
    return cast(torch.Tensor, decoder.norm(x))


def _angles(decoder: Decoder, positions: torch.Tensor) -> torch.Tensor:
    """Rotary angles [batch, 1, width, head_dim], each half the same."""
    size = decoder.size
    frequencies = size.rope_theta ** (-torch.arange(0, size.head_dim, 2).float() / size.head_dim)
    half = positions[:, None, :, None].float() * frequencies
    return torch.cat((half, half), dim=-1)


def _attended(a: Attention, x: torch.Tensor, angles: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    def heads(projected: torch.Tensor) -> torch.Tensor:
        return projected.view(*projected.shape[:-1], -1, a.head_dim).transpose(1, 2)

    def turned(y: torch.Tensor) -> torch.Tensor:
        first, second = y.chunk(2, dim=-1)
        return y * angles.cos() + torch.cat((-second, first), dim=-1) * angles.sin()

    q, k = turned(a.q_norm(heads(a.q_proj(x)))), turned(a.k_norm(heads(a.k_proj(x))))
    k, v = (y.repeat_interleave(a.heads // a.kv_heads, dim=1) for y in (k, heads(a.v_proj(x))))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None])
    return cast(torch.Tensor, a.o_proj(out.transpose(1, 2).flatten(2)))
