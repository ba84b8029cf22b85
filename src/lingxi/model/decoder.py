"""The Qwen3 decoder over packed tokens: one [tokens, hidden] matrix, causal within each sequence.

Parameter names are the published ones, so a checkpoint loads without a mapping. Pre-norm
RMSNorm, grouped-query attention with per-head q- and k-norm before rotary positions, SwiGLU
(Qwen3 technical report, arXiv 2505.09388). Only the last token of each sequence is pooled, so
the last block is finished for those tokens alone. Qwen2, Llama and Gemma 3 (arXiv 2503.19786) are
the variations that `Size` and its `Style` name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lingxi.model.attention import CAUSAL, KeysValues, Sight, attend, attend_one
from lingxi.model.packed import Packed, Visual, pack
from lingxi.model.pooling import Pooling, pool
from lingxi.model.sizes import Size
from lingxi.model.table import table
from lingxi.model.varlen import Varlen

# The wide activations of the feed-forward layer are made for this many tokens at a time:
# long inputs stay within the memory of a short batch, and on a CPU within its caches.
_FEED_FORWARD_TOKENS = 8192
_FEED_FORWARD_TOKENS_CPU = 512

Rotation = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Prefix:
    """Keys and values of tokens that every sequence of a batch begins with.

    `layers[i]` is (keys, values), each [tokens, kv_heads, head_dim].
    """

    length: int
    layers: tuple[KeysValues, ...]


class CentredNorm(nn.RMSNorm):
    """RMSNorm whose weight is stored as its difference from 1, computed in fp32 (Gemma)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return F.rms_norm(x.float(), x.shape[-1:], 1 + self.weight.float(), self.eps).type_as(x)


def _norm(size: Size, width: int) -> nn.RMSNorm:
    return (CentredNorm if size.style.centred_norms else nn.RMSNorm)(width, eps=size.norm_eps)


class Attention(nn.Module):
    """Grouped-query attention, with q- and k-norm where the family has them."""

    q_norm: nn.RMSNorm
    k_norm: nn.RMSNorm

    def __init__(self, size: Size, windowed: bool = False) -> None:
        super().__init__()
        style = size.style
        self.sight = Sight(size.causal, size.window if windowed else None, size.query_scale)
        self.heads, self.kv_heads, self.head_dim = size.heads, size.kv_heads, size.head_dim
        self.q_proj = nn.Linear(size.hidden, size.heads * size.head_dim, bias=style.qkv_bias)
        self.k_proj = nn.Linear(size.hidden, size.kv_heads * size.head_dim, bias=style.qkv_bias)
        self.v_proj = nn.Linear(size.hidden, size.kv_heads * size.head_dim, bias=style.qkv_bias)
        self.o_proj = nn.Linear(size.heads * size.head_dim, size.hidden, bias=style.out_bias)
        self.normed = style.qk_norm
        if self.normed:
            self.q_norm = _norm(size, size.head_dim)
            self.k_norm = _norm(size, size.head_dim)

    def keys_values(self, x: torch.Tensor, rotation: Rotation) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [tokens, kv_heads, head_dim] of normed inputs [tokens, hidden]."""
        keys = self.k_proj(x).view(-1, self.kv_heads, self.head_dim)
        if self.normed:
            keys = self._normed(self.k_norm, keys)
        return rotate(keys, rotation), self.v_proj(x).view(-1, self.kv_heads, self.head_dim)

    def queries(self, x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
        """Queries [tokens, heads, head_dim] of normed inputs [tokens, hidden]."""
        queries = self.q_proj(x).view(-1, self.heads, self.head_dim)
        if self.normed:
            queries = self._normed(self.q_norm, queries)
        return rotate(queries, rotation)

    def _normed(self, norm: nn.RMSNorm, x: torch.Tensor) -> torch.Tensor:
        # Under autocast the projections come in bf16; norms and angles stay in the weights' type.
        return cast(torch.Tensor, norm(x.to(norm.weight.dtype)))


class FeedForward(nn.Module):
    """SwiGLU, or its GELU twin."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        bias = size.style.feed_forward_bias
        self.gate_proj = nn.Linear(size.hidden, size.intermediate, bias=bias)
        self.up_proj = nn.Linear(size.hidden, size.intermediate, bias=bias)
        self.down_proj = nn.Linear(size.intermediate, size.hidden, bias=bias)
        self.gelu = size.style.activation == "gelu_tanh"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[tokens, hidden] → [tokens, hidden]."""
        limit = _FEED_FORWARD_TOKENS_CPU if x.device.type == "cpu" else _FEED_FORWARD_TOKENS
        parts = [self._part(piece) for piece in torch.split(x, limit)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _part(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.gate_proj(x)
        gate = F.gelu(gate, approximate="tanh") if self.gelu else F.silu(gate)
        return cast(torch.Tensor, self.down_proj(gate * self.up_proj(x)))


class Block(nn.Module):
    """One pre-norm decoder layer; in Gemma each half ends with a norm as well."""

    def __init__(self, size: Size, windowed: bool = False) -> None:
        super().__init__()
        self.input_layernorm = _norm(size, size.hidden)
        self.self_attn = Attention(size, windowed)
        self.post_attention_layernorm = _norm(size, size.hidden)
        self.mlp = FeedForward(size)
        self.post_norms = size.style.post_norms
        if self.post_norms:
            self.pre_feedforward_layernorm = _norm(size, size.hidden)
            self.post_feedforward_layernorm = _norm(size, size.hidden)

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
            return attend(queries, keys, values, packed.runs, seen, self.self_attn.sight)
        return self.varlen(*_alike(queries, keys, values), *packed.bounds(one=False), causal=True)

    def _attend_last(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        packed: Packed,
        seen: KeysValues | None,
    ) -> torch.Tensor:
        if self.varlen is None or seen is not None:
            return attend_one(queries, keys, values, packed.runs, seen, self.self_attn.sight)
        return self.varlen(*_alike(queries, keys, values), *packed.bounds(one=True), causal=False)

    def _finish(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Add the attention's output [tokens, heads, head_dim] and the feed-forward layer to `x`."""
        found = self.self_attn.o_proj(attended.flatten(1))
        if self.post_norms:
            x = x + self.post_attention_layernorm(found)
            wide = self.mlp(self.pre_feedforward_layernorm(x))
            return x + cast(torch.Tensor, self.post_feedforward_layernorm(wide))
        x = x + found
        return x + cast(torch.Tensor, self.mlp(self.post_attention_layernorm(x)))


def _alike(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All in the values' number type: under autocast those are halves, and what was normed is not."""
    return queries.to(values.dtype), keys.to(values.dtype), values


class Decoder(nn.Module):
    """The network without its output head: packed ids in, one normed state a sequence out."""

    def __init__(self, size: Size, pooling: Pooling = "lasttoken") -> None:
        super().__init__()
        self.size = size
        self.pooling = pooling
        self.embed_tokens = table(size.vocab, size.hidden)
        self.layers = nn.ModuleList(Block(size, windowed) for windowed in self._windowed)
        self.norm = _norm(size, size.hidden)

    @property
    def hidden(self) -> int:
        """Width of the states."""
        return self.size.hidden

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embed_tokens.weight.device

    @property
    def continues(self) -> bool:
        """Whether a `prefix` may be continued: what follows changes neither it nor the pool."""
        return self.size.causal and self.pooling == "lasttoken"

    def forward(self, packed: Packed, prefix: Prefix | None = None) -> torch.Tensor:
        """Pooled final normed states, [sequences, hidden], in the order of the batch: of the last tokens.

        With a `prefix`, `packed` holds what follows it, and every sequence continues it.
        """
        if self.pooling != "lasttoken":
            return pool(self.states(packed), packed, self.pooling)
        rotations = self._rotations_of(packed, prefix.length if prefix else 0)
        x = self._seen(packed)
        *inner, final = self._blocks()
        for depth, block in enumerate(inner):
            x = block(x, rotations[depth], packed, prefix.layers[depth] if prefix else None)
            x = deepened(x, packed.visual, depth)
        pooled = final.pooled(x, rotations[-1], packed, prefix.layers[-1] if prefix else None)
        return cast(torch.Tensor, self.norm(pooled))

    def states(self, packed: Packed) -> torch.Tensor:
        """Final normed states of all tokens, [tokens, hidden]: what a language model's head reads."""
        x = self._seen(packed)
        blocks = zip(self._blocks(), self._rotations_of(packed, 0), strict=True)
        for depth, (block, rotation) in enumerate(blocks):
            x = deepened(block(x, rotation, packed), packed.visual, depth)
        return cast(torch.Tensor, self.norm(x))

    def prefix(self, ids: list[int], after: Prefix | None = None, visual: Visual | None = None) -> Prefix:
        """Keys and values of a run of ids that many sequences begin with, computed once.

        With `after`, the ids follow those of that prefix, and the prefix returned holds both. `visual` is
        what pictures among them say.
        """
        packed = replace(pack([ids], self.device), visual=visual)
        rotations = self._rotations_of(packed, after.length if after else 0)
        x = self._seen(packed)
        *inner, final = self._blocks()
        layers = []
        for depth, block in enumerate(inner):
            x, *own = block.remember(x, rotations[depth], packed, after.layers[depth] if after else None)
            x = deepened(x, packed.visual, depth)
            layers.append((own[0], own[1]))
        layers.append(final.keys_values(x, rotations[-1]))
        return joined(after, Prefix(len(ids), tuple(layers)))

    def use_varlen(self, varlen: Varlen | None) -> None:
        """From now on attend over a whole batch in one call (None: run by run)."""
        for block in self._blocks():
            block.varlen = varlen if block.self_attn.sight == CAUSAL else None

    def rotation(self, positions: torch.Tensor, *, local: bool = False) -> Rotation:
        """Cosines and sines [tokens, 1, head_dim / 2] of the rotary angles, in fp32 then the model's type.

        `local` are those of Gemma's windowed layers, which have a base of their own and are not scaled.
        """
        angles = (positions.float()[:, None] * frequencies(self.size, local, positions.device))[:, None]
        dtype = self.embed_tokens.weight.dtype
        return angles.cos().to(dtype), angles.sin().to(dtype)

    @property
    def _windowed(self) -> tuple[bool, ...]:
        return self.size.windowed or (False,) * self.size.layers

    def _rotations(self, positions: torch.Tensor) -> list[Rotation]:
        """The rotation of each layer; layers of one kind share it."""
        kinds = {local: self.rotation(positions, local=local) for local in set(self._windowed)}
        return [kinds[local] for local in self._windowed]

    def _rotations_of(self, packed: Packed, start: int) -> list[Rotation]:
        """The rotation of each layer for a batch that begins at position `start`, or has pictures."""
        if packed.visual is None:
            return self._rotations(packed.positions + start)
        angles = axis_angles(self.size, packed.visual.axes)[:, None]
        dtype = self.embed_tokens.weight.dtype
        return [(angles.cos().to(dtype), angles.sin().to(dtype))] * self.size.layers

    def _seen(self, packed: Packed) -> torch.Tensor:
        """Vectors of tokens, those of pictures in their seats."""
        x = self._embedded(packed.ids)
        if packed.visual is None:
            return x
        return x.index_copy(0, packed.visual.places, packed.visual.vectors.to(x.dtype))

    def _embedded(self, ids: torch.Tensor) -> torch.Tensor:
        x = cast(torch.Tensor, self.embed_tokens(ids))
        if not self.size.style.scaled_embedding:
            return x
        return x * torch.tensor(self.size.hidden**0.5, dtype=x.dtype, device=x.device)

    def _blocks(self) -> Iterator[Block]:
        return (cast(Block, layer) for layer in self.layers)


def frequencies(size: Size, local: bool, device: torch.device | str = "cpu") -> torch.Tensor:
    """Rotary frequencies [head_dim / 2], fp32; `local`: of windowed layers, with a base of their own."""
    own = size.local_theta if local else None
    half = torch.arange(0, size.head_dim, 2, device=device, dtype=torch.float32)
    found = 1.0 / ((own or size.rope_theta) ** (half / size.head_dim))
    return size.scaling.scaled(found) if size.scaling and not own else found


def axis_angles(size: Size, axes: torch.Tensor) -> torch.Tensor:
    """Rotary angles [tokens, head_dim / 2], fp32, of places in time, height and width [3, tokens].

    Frequencies take turns: every third from the second on is the height's, from the third on the
    width's, as far as its section goes; the rest is time's (interleaved M-RoPE, Qwen3-VL).
    """
    assert size.sections is not None
    number = torch.arange(size.head_dim // 2, device=axes.device)
    axis = torch.zeros_like(number)
    for which in (1, 2):
        axis[(number % 3 == which) & (number < 3 * size.sections[which])] = which
    return axes.float()[axis].T * frequencies(size, False, axes.device)


def deepened(x: torch.Tensor, visual: Visual | None, depth: int) -> torch.Tensor:
    """States after layer `depth` with what the tower adds there to the tokens of pictures."""
    if visual is None or depth >= len(visual.deep):
        return x
    return x.index_add(0, visual.places, visual.deep[depth].to(x.dtype))


def joined(before: Prefix | None, after: Prefix) -> Prefix:
    """One prefix of two that follow each other."""
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
