"""Which weights an update changes: matrices whole or by low-rank parts, and token vectors that it meets.

Token vectors are most of a small model. Those that the new data do not hold stay exactly as they were.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional as F

from lingxi.model.decoder import Decoder
from lingxi.train.adapt import probe_ids
from lingxi.train.checkpoint_start import Start
from lingxi.train.lora import attach, merged, plain_copy
from lingxi.update.settings import UpdateSettings


class TokenRows(nn.Module):
    """A frozen table of token vectors `weight` [vocab, hidden], and changes `rows` of some of them."""

    def __init__(self, weight: torch.Tensor, ids: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)
        self.rows = nn.Parameter(torch.zeros(len(ids), weight.shape[1]))
        # Tokens that do not learn read the last row, which is nothing.
        places = torch.full((len(weight),), len(ids), dtype=torch.long)
        places[ids] = torch.arange(len(ids))
        self.register_buffer("ids", ids, persistent=False)
        self.register_buffer("places", places, persistent=False)
        self.ids: torch.Tensor
        self.places: torch.Tensor

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """[…] → […, hidden]."""
        changes = torch.cat((self.rows, self.rows.new_zeros(1, self.rows.shape[1])))
        return F.embedding(ids, self.weight) + F.embedding(self.places[ids], changes)

    def table(self) -> torch.Tensor:
        """The whole table with its changes, a copy."""
        out = self.weight.detach().clone()
        out[self.ids] += self.rows.detach()
        return out


def freed(start: Start, settings: UpdateSettings, seen: Iterable[int]) -> Decoder:
    """The start's decoder with what learns set free, in place; `seen` are ids of tokens in the new data."""
    decoder = start.decoder
    decoder.requires_grad_(settings.weights == "all")
    if settings.weights == "lora":
        attach(decoder, settings.lora, settings.seed)
    table = decoder.embed_tokens.weight
    table.requires_grad_(False)
    if settings.tokens == "seen":
        ids = torch.tensor(sorted(set(seen)), dtype=torch.long)
        decoder.embed_tokens = TokenRows(table, ids)  # type: ignore[assignment]
    return decoder


def finished(start: Start, settings: UpdateSettings) -> Decoder:
    """A plain frozen decoder of what was learnt: token rows and low-rank parts are added in."""
    decoder = start.decoder
    if isinstance(decoder.embed_tokens, TokenRows):
        table = nn.Embedding.from_pretrained(decoder.embed_tokens.table())
        decoder.embed_tokens = table
    if settings.weights == "lora":
        return merged(decoder, probe_ids(start.tokens))
    state = {name: tensor.detach().clone() for name, tensor in decoder.state_dict().items()}
    return plain_copy(decoder, state)
