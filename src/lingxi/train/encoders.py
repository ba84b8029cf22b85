"""Sequences of ids to pooled states with gradients: sorted, packed, what they share computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, cast

import torch

from lingxi.errors import InputError
from lingxi.model.decoder import Block, Decoder
from lingxi.model.encoder import Encoder
from lingxi.model.packed import Packed, pack


class Encode(Protocol):
    """Sequences in, states [sequences, hidden] out, in the order given and not normalised."""

    def __call__(self, sequences: list[list[int]], shared: int = 0) -> torch.Tensor:
        """`shared` is how many leading ids all sequences have in common and may be computed once."""


def encoder_of(decoder: Decoder, amp: torch.dtype | None = None) -> Encode:
    """Encode by a decoder; states are fp32.

    `amp` computes the matrix products in that type (autocast), with norms and the residual stream
    in the weights' own.
    """

    def encode(sequences: list[list[int]], shared: int = 0) -> torch.Tensor:
        device = decoder.embed_tokens.weight.device
        with _amp(device, amp):
            prefix = decoder.prefix(sequences[0][:shared]) if shared else None
            rest = [s[shared:] for s in sequences]
            return _in_order(rest, lambda packed: decoder(packed, prefix), device).float()

    return encode


def packed_encoder(
    forward: Callable[[Packed], torch.Tensor],
    device: torch.device | str = "cpu",
    amp: torch.dtype | None = None,
) -> Encode:
    """Encode by any function of a packed batch, which reads every sequence whole; states are fp32."""

    def encode(sequences: list[list[int]], shared: int = 0) -> torch.Tensor:
        with _amp(torch.device(device), amp):
            return _in_order(sequences, forward, device).float()

    return encode


def encode_by(network: Decoder | Encoder, amp: torch.dtype | None = None) -> Encode:
    """Encode by a network of either kind; an encoder, whose tokens see what follows, shares no prefix."""
    if isinstance(network, Encoder):
        return packed_encoder(network, network.device, amp)
    return encoder_of(network, amp)


def recompute(network: Decoder | Encoder) -> None:
    """From now on keep only what stands between blocks, and compute the rest again in backward.

    Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): about a third more time, and the
    memory of one block instead of all. Raises InputError for an encoder.
    """
    if isinstance(network, Encoder):
        raise InputError(
            "recompute is written for Qwen3 networks, and this is a BERT-type encoder",
            "leave it out, and lower chunk_tokens where memory is short",
        )
    for block in network.layers:
        cast(Block, block).recompute = True


def _amp(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    if dtype is None:
        return nullcontext()
    # Without the cache: copies of all weights would outlive the block that they are made for.
    return torch.autocast(device.type, dtype, cache_enabled=False)


def _in_order(
    sequences: Sequence[list[int]], forward: Callable[[Packed], torch.Tensor], device: torch.device | str
) -> torch.Tensor:
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]), reverse=True)
    states = forward(pack([sequences[i] for i in order], device))
    inverse = torch.empty(len(order), dtype=torch.long)
    inverse[order] = torch.arange(len(order))
    return states[inverse.to(states.device)]
