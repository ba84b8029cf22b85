"""BERT-type encoders over packed tokens: every token of a sequence sees the whole of it.

Post-norm LayerNorm, learned positions, exact GELU (BERT, arXiv 1810.04805; RoBERTa and XLM-R number
positions from their padding id on; MPNet, arXiv 2004.09297, adds a bias for each distance).
Parameter names are the published ones of BERT, so a checkpoint loads without a mapping.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from lingxi.model.attention import Sight, attend, attend_one
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.packed import Packed
from lingxi.model.pooling import Pooling, places, pool
from lingxi.model.table import table
from lingxi.model.varlen import Varlen

_BOTH_SIDES = Sight(causal=False)
# MPNet's distances: as many buckets, the last of each side for this distance and any larger one.
_FARTHEST = 128


class Embeddings(nn.Module):
    """Words, positions and the first token type, added and normed."""

    def __init__(self, size: EncoderSize) -> None:
        super().__init__()
        self.offset = size.offset
        self.word_embeddings = table(size.vocab, size.hidden)
        self.position_embeddings = table(size.max_positions + size.offset, size.hidden)
        self.token_type_embeddings = table(size.types, size.hidden) if size.types else None
        self.LayerNorm = nn.LayerNorm(size.hidden, eps=size.norm_eps)

    def forward(self, packed: Packed) -> torch.Tensor:
        """States of the packed tokens before the first block, [tokens, hidden]."""
        x = self.word_embeddings(packed.ids)
        if self.token_type_embeddings is not None:
            x = x + self.token_type_embeddings.weight[0]
        x = x + self.position_embeddings(packed.positions + self.offset)
        return cast(torch.Tensor, self.LayerNorm(x))


class SelfAttention(nn.Module):
    """The three projections, all with a bias."""

    def __init__(self, size: EncoderSize) -> None:
        super().__init__()
        self.heads = size.heads
        self.query = nn.Linear(size.hidden, size.hidden)
        self.key = nn.Linear(size.hidden, size.hidden)
        self.value = nn.Linear(size.hidden, size.hidden)
        # Attention over the whole batch in one call, where there is a kernel for it; run by run elsewhere.
        self.varlen: Varlen | None = None

    def forward(
        self, asking: torch.Tensor, x: torch.Tensor, packed: Packed, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """What `asking` (all tokens, or one of each sequence) reads of `x` [tokens, hidden]."""
        queries, keys, values = (
            layer(states).view(len(states), self.heads, -1)
            for layer, states in ((self.query, asking), (self.key, x), (self.value, x))
        )
        if bias is not None:
            return _attend_biased(queries, keys, values, packed, bias).flatten(1)
        one = len(asking) < len(x)
        if self.varlen is not None:
            return self.varlen(queries, keys, values, *packed.bounds(one=one), causal=False).flatten(1)
        ask = attend_one if one else attend
        return ask(queries, keys, values, packed.runs, sight=_BOTH_SIDES).flatten(1)


class Output(nn.Module):
    """A projection, added to what came before and normed: the end of both halves of a block."""

    def __init__(self, inner: int, size: EncoderSize) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, size.hidden)
        self.LayerNorm = nn.LayerNorm(size.hidden, eps=size.norm_eps)

    def forward(self, found: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """[rows, inner] and [rows, hidden] → [rows, hidden]."""
        return cast(torch.Tensor, self.LayerNorm(self.dense(found) + before))


class Block(nn.Module):
    """One post-norm encoder layer."""

    def __init__(self, size: EncoderSize) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(size), "output": Output(size.hidden, size)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(size.hidden, size.intermediate)})
        self.output = Output(size.intermediate, size)
        self.approximate = size.approximate

    def forward(
        self, asking: torch.Tensor, x: torch.Tensor, packed: Packed, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """States after the block of the rows in `asking`, which are all of `x` or one of each sequence."""
        asking = self.attention["output"](self.attention["self"](asking, x, packed, bias), asking)
        wide = F.gelu(self.intermediate["dense"](asking), approximate=self.approximate)
        return cast(torch.Tensor, self.output(wide, asking))


class Layers(nn.Module):
    """The blocks, and the bias of each distance that all of them share (MPNet)."""

    def __init__(self, size: EncoderSize) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.buckets = size.buckets
        self.relative_attention_bias = table(size.buckets, size.heads) if size.buckets else None

    def bias(self, length: int) -> torch.Tensor | None:
        """What is added to the scores of a sequence, [heads, length, length]; None without such a bias."""
        if self.relative_attention_bias is None:
            return None
        place = torch.arange(length, device=self.relative_attention_bias.weight.device)
        buckets = _buckets(place[None] - place[:, None], self.buckets)
        return cast(torch.Tensor, self.relative_attention_bias(buckets)).permute(2, 0, 1).contiguous()


class Encoder(nn.Module):
    """Packed ids in, one pooled state a sequence out; no padding, whatever the lengths are."""

    continues = False
    """Every token sees what follows: keys and values of a common prefix serve nobody else."""

    def __init__(self, size: EncoderSize, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.size = size
        self.pooling = pooling
        self.embeddings = Embeddings(size)
        self.encoder = Layers(size)

    @property
    def hidden(self) -> int:
        """Width of the states."""
        return self.size.hidden

    @property
    def embed_tokens(self) -> nn.Embedding:
        """The vectors of the vocabulary's tokens, under the decoders' name."""
        return self.embeddings.word_embeddings

    @property
    def layers(self) -> nn.ModuleList:
        """The blocks, first to last, under the decoders' name."""
        return self.encoder.layer

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embed_tokens.weight.device

    def use_varlen(self, varlen: Varlen | None) -> None:
        """From now on attend over a whole batch in one call (None, and with distances' bias: run by run)."""
        for module in self.encoder.modules():
            if isinstance(module, SelfAttention):
                module.varlen = None if self.size.buckets else varlen

    def forward(self, packed: Packed, prefix: None = None) -> torch.Tensor:
        """Pooled states, [sequences, hidden], in the order of the batch."""
        if self.pooling == "mean" or self.size.buckets:
            return pool(self.states(packed), packed, self.pooling)
        # One token of each sequence is pooled: the last block is finished for those alone.
        *inner, final = self.encoder.layer
        x = self._through(inner, packed, None)
        return cast(torch.Tensor, final(x[places(packed, self.pooling)], x, packed, None))

    def states(self, packed: Packed) -> torch.Tensor:
        """Final states of all tokens, [tokens, hidden]."""
        longest = max(run.length for run in packed.runs)
        return self._through(list(self.encoder.layer), packed, self.encoder.bias(longest))

    def _through(self, blocks: list[nn.Module], packed: Packed, bias: torch.Tensor | None) -> torch.Tensor:
        x = cast(torch.Tensor, self.embeddings(packed))
        for block in blocks:
            x = block(x, x, packed, bias)
        return x


def _attend_biased(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, packed: Packed, bias: torch.Tensor
) -> torch.Tensor:
    """Attention within each sequence with `bias` [heads, longest, longest] on the scores."""
    pieces = []
    for run in packed.runs:
        q, k, v = (
            x[run.tokens].view(run.count, run.length, *x.shape[1:]).transpose(1, 2)
            for x in (queries, keys, values)
        )
        mask = bias[:, : run.length, : run.length].to(q.dtype)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[None])
        pieces.append(found.transpose(1, 2).flatten(0, 1))
    return torch.cat(pieces)


def _buckets(distance: torch.Tensor, count: int) -> torch.Tensor:
    """Bucket of each distance key − query: half of `count` a side, exact when near, by logarithm beyond."""
    half = count // 2
    near = half // 2
    size = distance.abs()
    steps = torch.log(size.clamp_min(1).float() / near) / math.log(_FARTHEST / near) * (half - near)
    far = (near + steps.long()).clamp_max(half - 1)
    return torch.where(size < near, size, far) + (distance > 0) * half
