"""Token vectors alone: a mean of normed token vectors and one projection, trained before the network.

A hundred times cheaper a text than the network, so it sees every pair several times; the network
then starts as this very function (`start.py`) and learns order and context. Close kin: static
embedding models such as model2vec and sentence-transformers' StaticEmbedding.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from lingxi.model.packed import Packed
from lingxi.model.sizes import Size

# Components of a token's vector that say what the token is in a prompt, and nothing of its meaning.
RESERVED = 6
_START = 0.03


class Lexicon(nn.Module):
    """Mean of RMS-normed token vectors, projected; tokens of the templates are silent and left out."""

    silent: torch.Tensor

    def __init__(self, size: Size, silent: Collection[int]) -> None:
        super().__init__()
        self.size = size
        self.embed_tokens = nn.Embedding(size.vocab, size.hidden - RESERVED)
        self.projection = nn.Linear(size.hidden - RESERVED, size.hidden, bias=False)
        self.register_buffer("silent", torch.zeros(size.vocab, dtype=torch.bool), persistent=False)
        self.silent[list(silent)] = True
        # Vectors are normed before use, so a small start lets the first few visits of a rare token
        # outweigh the noise it began with.
        nn.init.normal_(self.embed_tokens.weight, std=_START)
        nn.init.eye_(self.projection.weight)

    def forward(self, packed: Packed) -> torch.Tensor:
        """[sequences, hidden], not normalised."""
        heard = self.heard(packed.ids)
        lengths = packed.last.diff(prepend=packed.last.new_tensor([-1]))
        owner = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
        summed = heard.new_zeros(len(lengths), heard.shape[1]).index_add(0, owner, heard)
        return cast(torch.Tensor, self.projection(summed / lengths[:, None]))

    def heard(self, ids: torch.Tensor) -> torch.Tensor:
        """What each token adds to the mean, [tokens, hidden − RESERVED]: nothing where it is silent."""
        normed = F.rms_norm(self.embed_tokens(ids), (self.embed_tokens.embedding_dim,))
        return normed.masked_fill(self.silent[ids][:, None], 0.0)
