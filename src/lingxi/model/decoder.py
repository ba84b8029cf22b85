"""The Qwen3 decoder over packed tokens: one [tokens, hidden] matrix, causal within each sequence.

Parameter names are the published ones, so a checkpoint loads without a mapping. Pre-norm
RMSNorm, grouped-query attention with per-head q- and k-norm before rotary positions, SwiGLU
(Qwen3 technical report, arXiv 2505.09388). Only the last token of each sequence is pooled, so
the last block is finished for those tokens alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lingxi.model.packed import Packed, Run, pack
from lingxi.model.sizes import Size
from lingxi.model.varlen import Varlen

# The wide activations of the feed-forward layer are made for this many tokens at a time:
# long inputs stay within the memory of a short batch, and on a CPU within its caches.
_FEED_FORWARD_TOKENS = 8192
_FEED_FORWARD_TOKENS_CPU = 512
# Queries that attend under a mask of their own (after a prefix) at a time.
_MASKED_QUERIES = 1024

Rotation = tuple[torch.Tensor, torch.Tensor]
KeysValues = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Prefix:
    """Keys and values of tokens that every sequence of a batch begins with.

    `layers[i]` is (keys, values), each [tokens, kv_heads, head_dim].
    """

    length: int
    layers: tuple[KeysValues, ...]


class Attention(nn.Module):
    """Grouped-query attention with q- and k-norm."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = size.heads, size.kv_heads, size.head_dim
        self.q_proj = nn.Linear(size.hidden, size.heads * size.head_dim, bias=False)
        self.k_proj = nn.Linear(size.hidden, size.kv_heads * size.head_dim, bias=False)
        self.v_proj = nn.Linear(size.hidden, size.kv_heads * size.head_dim, bias=False)
        self.o_proj = nn.Linear(size.heads * size.head_dim, size.hidden, bias=False)
        self.q_norm = nn.RMSNorm(size.head_dim, eps=size.norm_eps)
        self.k_norm = nn.RMSNorm(size.head_dim, eps=size.norm_eps)

    def keys_values(self, x: torch.Tensor, rotation: Rotation) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [tokens, kv_heads, head_dim] of normed inputs [tokens, hidden]."""
        keys = self._normed(self.k_norm, self.k_proj(x).view(-1, self.kv_heads, self.head_dim))
        return rotate(keys, rotation), self.v_proj(x).view(-1, self.kv_heads, self.head_dim)

    def queries(self, x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
        """Queries [tokens, heads, head_dim] of normed inputs [tokens, hidden]."""
        queries = self.q_proj(x).view(-1, self.heads, self.head_dim)
        return rotate(self._normed(self.q_norm, queries), rotation)

    def _normed(self, norm: nn.RMSNorm, x: torch.Tensor) -> torch.Tensor:
        # Under autocast the projections come in bf16; norms and angles stay in the weights' type.
        return cast(torch.Tensor, norm(x.to(norm.weight.dtype)))


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(size.hidden, size.intermediate, bias=False)
        self.up_proj = nn.Linear(size.hidden, size.intermediate, bias=False)
        self.down_proj = nn.Linear(size.intermediate, size.hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[tokens, hidden] → [tokens, hidden]."""
        limit = _FEED_FORWARD_TOKENS_CPU if x.device.type == "cpu" else _FEED_FORWARD_TOKENS
        parts = [self._part(piece) for piece in torch.split(x, limit)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _part(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x)))


class Block(nn.Module):
    """One pre-norm decoder layer."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(size.hidden, eps=size.norm_eps)
        self.self_attn = Attention(size)
        self.post_attention_layernorm = nn.RMSNorm(size.hidden, eps=size.norm_eps)
        self.mlp = FeedForward(size)

        # Training may trade time for memory: activations inside the block are computed again in backward.
        self.recompute = False
        # Attention over the whole batch in one call, where there is a kernel for it; run by run elsewhere.
        self.varlen: Varlen | None = None

    def forward(
        self, x: torch.Tensor, rotation: Rotation, packed: Packed, seen: KeysValues | None = None
    ) -> torch.Tensor:
        """States of all tokens after the block, [tokens, hidden]."""
        return cast(torch.Tensor, self._run(self._all, x, rotation, packed, seen))

    def pooled(
        self, x: torch.Tensor, rotation: Rotation, packed: Packed, seen: KeysValues | None = None
    ) -> torch.Tensor:
        """States of each sequence's last token after the block, [sequences, hidden]."""
        return cast(torch.Tensor, self._run(self._last, x, rotation, packed, seen))

    def remember(
        self, x: torch.Tensor, rotation: Rotation, packed: Packed, seen: KeysValues | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """States of all tokens after the block, and its keys and values (not those of `seen`)."""
        return cast(
            tuple[torch.Tensor, torch.Tensor, torch.Tensor],
            self._run(self._remember, x, rotation, packed, seen),
        )

    def keys_values(self, x: torch.Tensor, rotation: Rotation) -> KeysValues:
        """Keys and values alone, where nothing comes after the block."""
        return self._keys_values(self.input_layernorm(x), rotation)

    def _run(self, compute: Callable[..., Any], *args: Any) -> Any:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(compute, *args, use_reentrant=False)
        return compute(*args)

    def _all(
        self, x: torch.Tensor, rotation: Rotation, packed: Packed, seen: KeysValues | None
    ) -> torch.Tensor:
        normed = self.input_layernorm(x)
        keys, values = self.self_attn.keys_values(normed, rotation)
        queries = self.self_attn.queries(normed, rotation)
        return self._finish(x, self._attend(queries, keys, values, packed, seen))

    def _last(
        self, x: torch.Tensor, rotation: Rotation, packed: Packed, seen: KeysValues | None
    ) -> torch.Tensor:
        # Keys and values of every token are needed, but only the last tokens ask.
        normed = self.input_layernorm(x)
        keys, values = self.self_attn.keys_values(normed, rotation)
        last = packed.last
        queries = self.self_attn.queries(normed[last], (rotation[0][last], rotation[1][last]))
        return self._finish(x[last], self._attend_last(queries, keys, values, packed, seen))

    def _remember(
        self, x: torch.Tensor, rotation: Rotation, packed: Packed, seen: KeysValues | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        normed = self.input_layernorm(x)
        keys, values = self._keys_values(normed, rotation)
        queries = self.self_attn.queries(normed, rotation)
        return self._finish(x, self._attend(queries, keys, values, packed, seen)), keys, values

    def _keys_values(self, normed: torch.Tensor, rotation: Rotation) -> KeysValues:
        keys, values = self.self_attn.keys_values(normed, rotation)
        # FSDP2 hangs its hooks on what a block returns, and wants no views there.
        return keys, values.clone()

    def _attend(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        packed: Packed,
        seen: KeysValues | None,
    ) -> torch.Tensor:
        if self.varlen is None or seen is not None:
            return attend(queries, keys, values, packed.runs, seen)
        starts, longest = (packed.starts, packed.starts), (packed.longest, packed.longest)
        return self.varlen(queries, keys, values, starts, longest, causal=True)

    def _attend_last(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        packed: Packed,
        seen: KeysValues | None,
    ) -> torch.Tensor:
        if self.varlen is None or seen is not None:
            return attend_last(queries, keys, values, packed.runs, seen)
        each = torch.arange(len(packed.starts), dtype=torch.int32, device=packed.starts.device)
        starts, longest = (each, packed.starts), (1, packed.longest)
        return self.varlen(queries, keys, values, starts, longest, causal=False)

    def _finish(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Add the attention's output [tokens, heads, head_dim] and the feed-forward layer to `x`."""
        x = x + self.self_attn.o_proj(attended.flatten(1))
        return x + cast(torch.Tensor, self.mlp(self.post_attention_layernorm(x)))


class Decoder(nn.Module):
    """The network without its output head: packed ids in, one normed state a sequence out."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.embed_tokens = nn.Embedding(size.vocab, size.hidden)
        self.layers = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm = nn.RMSNorm(size.hidden, eps=size.norm_eps)

    @property
    def hidden(self) -> int:
        """Width of the states."""
        return self.size.hidden

    @property
    def device(self) -> torch.device:
        """Where the weights lie, and the ids have to."""
        return self.embed_tokens.weight.device

    def forward(self, packed: Packed, prefix: Prefix | None = None) -> torch.Tensor:
        """Final normed states of the last tokens, [sequences, hidden], in the order of the batch.

        With a `prefix`, `packed` holds what follows it, and every sequence continues it.
        """
        rotation = self.rotation(packed.positions + (prefix.length if prefix else 0))
        x = self.embed_tokens(packed.ids)
        *inner, final = self._blocks()
        for depth, block in enumerate(inner):
            x = block(x, rotation, packed, prefix.layers[depth] if prefix else None)
        pooled = final.pooled(x, rotation, packed, prefix.layers[-1] if prefix else None)
        return cast(torch.Tensor, self.norm(pooled))

    def states(self, packed: Packed) -> torch.Tensor:
        """Final normed states of all tokens, [tokens, hidden]: what a language model's head reads."""
        rotation = self.rotation(packed.positions)
        x = self.embed_tokens(packed.ids)
        for block in self._blocks():
            x = block(x, rotation, packed)
        return cast(torch.Tensor, self.norm(x))

    def prefix(self, ids: list[int], after: Prefix | None = None) -> Prefix:
        """Keys and values of a run of ids that many sequences begin with, computed once.

        With `after`, the ids follow those of that prefix, and the prefix returned holds both.
        """
        packed = pack([ids], self.device)
        rotation = self.rotation(packed.positions + (after.length if after else 0))
        x = self.embed_tokens(packed.ids)
        *inner, final = self._blocks()
        layers = []
        for depth, block in enumerate(inner):
            x, *own = block.remember(x, rotation, packed, after.layers[depth] if after else None)
            layers.append((own[0], own[1]))
        layers.append(final.keys_values(x, rotation))
        return _joined(after, Prefix(len(ids), tuple(layers)))

    def use_varlen(self, varlen: Varlen | None) -> None:
        """From now on attend over a whole batch in one call (None: run by run); for inference."""
        for block in self._blocks():
            block.varlen = varlen

    def rotation(self, positions: torch.Tensor) -> Rotation:
        """Cosines and sines [tokens, 1, head_dim / 2] of the rotary angles, in fp32 then the model's type."""
        half = torch.arange(0, self.size.head_dim, 2, device=positions.device, dtype=torch.float32)
        frequencies = 1.0 / (self.size.rope_theta ** (half / self.size.head_dim))
        angles = (positions.float()[:, None] * frequencies)[:, None]
        dtype = self.embed_tokens.weight.dtype
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def _blocks(self) -> Iterator[Block]:
        return (cast(Block, layer) for layer in self.layers)


def _joined(before: Prefix | None, after: Prefix) -> Prefix:
    if before is None:
        return after
    pairs = zip(before.layers, after.layers, strict=True)
    layers = tuple((torch.cat((a, c)), torch.cat((b, d))) for (a, b), (c, d) in pairs)
    return Prefix(before.length + after.length, layers)


def rotate(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Rotary positions, half-split form: x [tokens, heads, head_dim]."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    runs: tuple[Run, ...],
    seen: KeysValues | None,
) -> torch.Tensor:
    """Causal attention within each sequence, after `seen`; all [tokens, heads, head_dim]."""
    return _by_run(torch.split(queries, [run.count * run.length for run in runs]), keys, values, runs, seen)


def attend_last(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    runs: tuple[Run, ...],
    seen: KeysValues | None,
) -> torch.Tensor:
    """The last token of each sequence attends to its whole sequence; queries [sequences, heads, head_dim]."""
    return _by_run(torch.split(queries, [run.count for run in runs]), keys, values, runs, seen)


def _by_run(
    queries: tuple[torch.Tensor, ...],
    keys: torch.Tensor,
    values: torch.Tensor,
    runs: tuple[Run, ...],
    seen: KeysValues | None,
) -> torch.Tensor:
    # Split, not sliced: the gradient of a slice is a matrix as large as the batch, one for each run.
    sizes = [run.count * run.length for run in runs]
    pieces = [
        _attend_run(asked, _with_seen(k, run, seen and seen[0]), _with_seen(v, run, seen and seen[1]), run)
        for asked, k, v, run in zip(
            queries, torch.split(keys, sizes), torch.split(values, sizes), runs, strict=True
        )
    ]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _with_seen(own: torch.Tensor, run: Run, seen: torch.Tensor | None) -> torch.Tensor:
    """Keys or values of one run, after those seen before, as [count, kv_heads, seen + length, head_dim]."""
    own = own.reshape(run.count, run.length, *own.shape[1:]).transpose(1, 2)
    if seen is None:
        return own
    return torch.cat((seen.transpose(0, 1).expand(run.count, -1, -1, -1), own), dim=2)


def _attend_run(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, run: Run) -> torch.Tensor:
    asked = queries.reshape(run.count, -1, *queries.shape[1:]).transpose(1, 2)
    length, total = asked.shape[2], keys.shape[2]
    causal = 1 < length == total
    if 1 < length < total:
        out = _attend_after(asked, keys, values)
    else:
        out = F.scaled_dot_product_attention(asked, keys, values, is_causal=causal, enable_gqa=True)
    return out.transpose(1, 2).flatten(0, 1)


def _attend_after(asked: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Causal attention of the last tokens: SDPA's own mask is aligned to the first key, not to the last.

    In pieces, since a mask of its own is as large as queries × keys.
    """
    length, total = asked.shape[2], keys.shape[2]
    pieces = []
    for start in range(0, length, _MASKED_QUERIES):
        stop = min(start + _MASKED_QUERIES, length)
        seen = total - length + stop
        mask = torch.ones(stop - start, seen, dtype=torch.bool, device=asked.device).tril(seen - stop + start)
        pieces.append(
            F.scaled_dot_product_attention(
                asked[:, :, start:stop],
                keys[:, :, :seen],
                values[:, :, :seen],
                attn_mask=mask,
                enable_gqa=True,
            )
        )
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)
