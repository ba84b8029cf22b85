"""Token vectors alone: a weighted mean of normed token vectors, projected; trained before the network.

A hundred times cheaper a text than the network, so it sees every pair several times; the network
then starts as this very function (`start.py`) and learns order and context. Close kin: static
embedding models such as model2vec and sentence-transformers' StaticEmbedding; the weights begin as smooth
inverse frequencies (Arora et al. 2017, "A simple but tough-to-beat baseline for sentence embeddings").
"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from lingxi.model.packed import Packed
from lingxi.model.sizes import Size

# Components of a token's vector that say what the token is in a prompt and how much it counts, and nothing of
# its meaning.
RESERVED = 8
# Weights of tokens lie between exp(−REACH) and exp(REACH): what a head can tell apart besides marks.
REACH = 4.0
_START = 0.03
# A token that is every thousandth weighs half of a rare one (Arora et al. have 1e-3 to 1e-4).
_COMMON = 1e-3


class Lexicon(nn.Module):
    """Weighted mean of RMS-normed token vectors, projected; tokens of the templates are silent and left out.

    A token weighs exp(REACH · u / √(1 + u²)) for its number u in `loudness`.
    """

    silent: torch.Tensor

    def __init__(self, size: Size, silent: Collection[int], counts: NDArray[np.int64] | None = None) -> None:
        super().__init__()
        self.size = size
        self.embed_tokens = nn.Embedding(size.vocab, size.hidden - RESERVED)
        self.embed_loudness = nn.Parameter(torch.zeros(size.vocab) if counts is None else _started(counts))
        self.projection = nn.Linear(size.hidden - RESERVED, size.hidden, bias=False)
        self.register_buffer("silent", torch.zeros(size.vocab, dtype=torch.bool), persistent=False)
        self.silent[list(silent)] = True
        # Vectors are normed before use, so a small start lets the first few visits of a rare token
        # outweigh the noise it began with.
        nn.init.normal_(self.embed_tokens.weight, std=_START)
        nn.init.eye_(self.projection.weight)

    def forward(self, packed: Packed) -> torch.Tensor:
        """[sequences, hidden], not normalised."""
        # Each token is normed once, however often the batch has it.
        ids, places = torch.unique(packed.ids, return_inverse=True)
        weights = self.weights(ids)
        starts = torch.cat((packed.last.new_zeros(1), packed.last[:-1] + 1))
        summed = F.embedding_bag(places, self.heard(ids) * weights[:, None], starts, mode="sum")
        total = F.embedding_bag(places, weights[:, None], starts, mode="sum")
        return cast(torch.Tensor, self.projection(summed / total))

    def heard(self, ids: torch.Tensor) -> torch.Tensor:
        """What each token adds to the mean, [tokens, hidden − RESERVED]: nothing where it is silent."""
        normed = F.rms_norm(self.embed_tokens(ids), (self.embed_tokens.embedding_dim,))
        return normed.masked_fill(self.silent[ids][:, None], 0.0)

    def weights(self, ids: torch.Tensor) -> torch.Tensor:
        """How much each token counts in the mean, [tokens], above zero."""
        return torch.exp(REACH * self.sines(ids))

    def sines(self, ids: torch.Tensor) -> torch.Tensor:
        """Logarithms of the weights over REACH, [tokens], between −1 and 1."""
        loudness = self.embed_loudness[ids]
        return loudness / torch.sqrt(1 + loudness**2)


def _started(counts: NDArray[np.int64]) -> torch.Tensor:
    """Loudness [vocab] whose weights are smooth inverse frequencies a / (a + p), by counts of tokens."""
    weights = np.log(_COMMON / (_COMMON + counts / max(1, counts.sum()))) + 1.0
    sines = np.clip(weights / REACH, -0.9, 0.9)
    return torch.from_numpy((sines / np.sqrt(1 - sines**2)).astype(np.float32))
