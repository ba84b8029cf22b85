"""The heads of lingxi-nano-vl: from a trunk's features to unit vectors in the space of a text model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lingxi.model.picture import FEATURES, Trunk
from lingxi.model.sound import WIDTH, SoundTrunk

TEXT_WIDTH = 384


class Head(nn.Module):
    """A perceptron beside a straight matrix, both after one layer norm; its output is of unit length."""

    def __init__(self, inputs: int, hidden: int, outputs: int = TEXT_WIDTH, dropped: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inputs)
        self.straight = nn.Linear(inputs, outputs)
        self.up = nn.Linear(inputs, hidden)
        self.down = nn.Linear(hidden, outputs)
        self.dropped = nn.Dropout(dropped)

    def forward(self, features: Tensor) -> Tensor:
        """Features [batch, inputs] to unit vectors [batch, outputs]."""
        x = self.dropped(self.norm(features))
        out = self.straight(x) + self.down(self.dropped(F.gelu(self.up(x))))
        return F.normalize(out, dim=-1)


class Attention(nn.Module):
    """States of any number to one row: `looks` weighted means of them, side by side."""

    def __init__(self, width: int, looks: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scores = nn.Linear(width, looks)

    def forward(self, states: Tensor, real: Tensor) -> Tensor:
        """States [batch, n, width], `real` [batch, n] says which count, to [batch, looks · width]."""
        x = self.norm(states)
        scores = self.scores(x).masked_fill(~real[..., None], -torch.inf)
        return torch.einsum("bnl,bnw->blw", scores.softmax(1), x).flatten(1)


class PictureNetwork(nn.Module):
    """Pixels to unit vectors among a text model's."""

    def __init__(self, hidden: int = 1536) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.head = Head(FEATURES, hidden)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels [batch, 3, 160, 160] in -1…1 to unit vectors [batch, 384]."""
        out: Tensor = self.head(self.trunk(pixels))
        return out


class SoundNetwork(nn.Module):
    """Log-mel spectrograms to unit vectors among a text model's."""

    def __init__(self, looks: int = 8, hidden: int = 768) -> None:
        super().__init__()
        self.trunk = SoundTrunk()
        self.attention = Attention(WIDTH, looks)
        self.head = Head(looks * WIDTH, hidden)

    def forward(self, spectrograms: Tensor, frames: Tensor) -> Tensor:
        """Spectrograms [batch, 80, t] and the frames each holds to unit vectors [batch, 384]."""
        states, real = self.trunk(spectrograms, frames)
        out: Tensor = self.head(self.attention(*paired(states, real)))
        return out


def paired(states: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Means of two neighbours each: 25 states a second instead of 50; an odd last one falls away."""
    count = states.shape[1] // 2 * 2
    left, right = real[:, 0:count:2], real[:, 1:count:2]
    # The very first pair always counts: a clip has a state at least.
    both = left & right
    both[:, 0] = True
    return (states[:, 0:count:2] + states[:, 1:count:2]) / 2, both
