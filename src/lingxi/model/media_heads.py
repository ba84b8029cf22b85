"""The heads of lingxi-nano-vl: from a trunk's features to unit vectors in the space of a text model."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lingxi.model.picture import FEATURES, Trunk
from lingxi.model.sound import WIDTH, SoundTrunk

TEXT_WIDTH = 384


def sound_features(parts: int) -> int:
    """How many numbers the head reads of a recording."""
    return 2 * parts * WIDTH


class PictureNetwork(nn.Module):
    """Pixels to unit vectors among a text model's: the trunk, roots of its features, one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.head = nn.Linear(FEATURES, TEXT_WIDTH)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels [batch, 3, 160, 160] in -1…1 to unit vectors [batch, 384]."""
        return F.normalize(self.head(self.features(pixels)), dim=-1)

    def features(self, pixels: Tensor) -> Tensor:
        """What the head reads of pixels: [batch, 1704], roots that keep their sign."""
        found: Tensor = self.trunk(pixels)
        return found.sign() * found.abs().sqrt()


class SoundNetwork(nn.Module):
    """Log-mel spectrograms to unit vectors among a text model's: the trunk, parts of a clip, one matrix."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.trunk = SoundTrunk()
        self.parts = parts
        self.head = nn.Linear(sound_features(parts), TEXT_WIDTH)

    def forward(self, spectrograms: Tensor, frames: Tensor) -> Tensor:
        """Spectrograms [batch, 80, t] and the frames each holds to unit vectors [batch, 384]."""
        return F.normalize(self.head(self.features(spectrograms, frames)), dim=-1)

    def features(self, spectrograms: Tensor, frames: Tensor) -> Tensor:
        """What the head reads of spectrograms, parts of both depths: [batch, 2 · parts · 512]."""
        *depths, real = self.trunk.depths(spectrograms, frames)
        rows = [
            torch.cat([parted(states[clip][kept], self.parts) for states in depths])
            for clip, kept in enumerate(real)
        ]
        return torch.stack(rows)


def parted(states: Tensor, parts: int) -> Tensor:
    """A clip's states [n, width] as [parts · width]: the mean of each of so many equal parts of its time.

    States are brought to mean 0 and deviation 1 first, two neighbours are one. A part of less than a state
    is the state it lies in.
    """
    count = len(states) // 2 * 2
    pairs = states[:count].view(-1, 2, states.shape[1]).mean(1) if count else states
    x = F.layer_norm(pairs, pairs.shape[1:])
    ends = [place * len(x) / parts for place in range(parts + 1)]
    means = []
    for left, right in pairwise(ends):
        start = int(left)
        # Rounded first: 7 parts of 7 states end at 6.999…
        stop = max(-int(-round(right, 6) // 1), start + 1)
        means.append(x[start:stop].mean(0))
    return torch.cat(means)
