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

from lingxi.check.subject import Ids
from lingxi.model.decoder import Attention, Block, Decoder

Side = Literal["left", "right"]
Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Ids and mask [batch, width] to final normed states [batch, width, hidden]."""


def padded_forward(directory: Path, decoder: Decoder) -> tuple[str, Forward]:
    """A padded network around the decoder's weights, and the name of who computes."""
    if find_spec("transformers") is None:
        return "own padded pass", lambda ids, mask: plain_forward(decoder, ids, mask)
    return "transformers", _transformers(directory, decoder)


def pooled(forward: Forward, sequences: Sequence[Ids], side: Side) -> torch.Tensor:
    """The state at the last token of each sequence [sequences, hidden], padded on that side."""
    ids, mask = pad(sequences, side)
    with torch.inference_mode():
        states = forward(ids, mask)
    last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
    return states[torch.arange(len(ids)), last]


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


def _transformers(directory: Path, decoder: Decoder) -> Forward:
    from transformers import MODEL_MAPPING, AutoConfig

    state = dict(decoder.state_dict())
    with bars_off():
        config = AutoConfig.from_pretrained(directory)
        known: Any = MODEL_MAPPING
        network: Any = known[type(config)].from_pretrained(
            None, config=config, state_dict=state, dtype=torch.float32
        )
    network.eval()

    def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What transformers computes."""
        return cast(torch.Tensor, network(input_ids=ids, attention_mask=mask, use_cache=False)[0])

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
