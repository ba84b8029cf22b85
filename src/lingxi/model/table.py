"""A row of numbers for each id: token vectors, positions, buckets."""

from __future__ import annotations

import torch
from torch import nn


def table(rows: int, width: int) -> nn.Embedding:
    """An embedding table [rows, width]; on torch's meta device, where it has no numbers, none are drawn.

    To draw them there torch would load its compiler first, which takes longer than to read a small model.
    """
    if torch.get_default_device().type == "meta":
        return nn.Embedding(rows, width, _weight=torch.empty(rows, width))
    return nn.Embedding(rows, width)
