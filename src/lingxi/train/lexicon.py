"""Token vectors alone: a bag of normed token vectors and one projection, trained before the network.

A hundred times cheaper a text than the network, so it sees every pair several times; the network
then starts as this very function (`as_decoder`) and learns order and context. Close kin: static
embedding models such as model2vec and sentence-transformers' StaticEmbedding.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from lingxi.model.decoder import Block, Decoder
from lingxi.model.packed import Packed
from lingxi.model.sizes import Size

_START = 0.03


class Lexicon(nn.Module):
    """Mean of RMS-normed token vectors, projected: the first block's attention when it is uniform."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.embed_tokens = nn.Embedding(size.vocab, size.hidden)
        self.projection = nn.Linear(size.hidden, size.hidden, bias=False)
        # Vectors are normed before use, so a small start lets the first few visits of a rare token
        # outweigh the noise it began with.
        nn.init.normal_(self.embed_tokens.weight, std=_START)
        nn.init.eye_(self.projection.weight)

    def forward(self, packed: Packed) -> torch.Tensor:
        """[sequences, hidden], not normalised."""
        normed = F.rms_norm(self.embed_tokens(packed.ids), (self.size.hidden,))
        lengths = packed.last.diff(prepend=packed.last.new_tensor([-1]))
        owner = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
        summed = normed.new_zeros(len(lengths), self.size.hidden).index_add(0, owner, normed)
        pooled: torch.Tensor = self.projection(summed / lengths[:, None])
        return pooled


@torch.no_grad()
def as_decoder(lexicon: Lexicon, end: int) -> Decoder:
    """A decoder that computes what the lexicon does: the end token averages what stands before it.

    The first block attends almost evenly and carries the projection; every other residual branch
    starts at zero, and opens as training finds use for it. Needs as many key–value heads as fill
    the width.
    """
    size = lexicon.size
    decoder = Decoder(size)
    normed = F.rms_norm(lexicon.embed_tokens.weight, (size.hidden,))
    decoder.embed_tokens.weight.copy_(normed)
    decoder.embed_tokens.weight[end] *= 0.05
    for depth, layer in enumerate(decoder.layers):
        assert isinstance(layer, Block)
        _open_evenly(layer)
        if depth == 0:
            layer.self_attn.o_proj.weight.copy_(lexicon.projection.weight)
    return decoder


def _open_evenly(block: Block) -> None:
    attention = block.self_attn
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        nn.init.eye_(projection.weight)
    # Small query norms make the attention nearly uniform; equal tokens still draw each other a little.
    attention.q_norm.weight.fill_(0.1)
    nn.init.zeros_(attention.o_proj.weight)
    nn.init.zeros_(block.mlp.down_proj.weight)
