"""Heads for pictures and sound, trained towards the vectors a frozen text model gives their captions.

The text side never moves, so that indexes of texts stay good. A step draws items, some captions of each in
any language, and asks for two things: among the items of the batch a caption finds its own and an item its
captions (InfoNCE, van den Oord et al. 2018, as in CLIP, arXiv 2103.00020), and an item lies near the mean of
its captions. Items whose captions say nearly the same are not held against one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from lingxi.config import Settings

Floats = NDArray[np.float32]
# Features of the items of a batch, drawn in one of their views: places [batch] to arguments of the network.
Draw = Callable[[NDArray[np.int64], np.random.Generator], tuple[Tensor, ...]]


class MediaSettings(Settings):
    """How heads are trained; `alike` is the cosine of mean captions from which items are not negatives."""

    steps: int = 2000
    batch: int = 512
    captions: int = 4
    rate: float = 1e-3
    decay: float = 0.05
    temperature: float = 0.05
    towards_mean: float = 1.0
    noise: float = 0.02
    alike: float = 0.9
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Captioned:
    """Items and their captions: `captions[i]` are rows of `texts` [n, dim], unit vectors of a text model."""

    texts: Floats
    captions: Sequence[NDArray[np.int64]]
    weights: Floats

    def means(self) -> Floats:
        """The mean caption vector [items, dim] of each item, of unit length."""
        rows = np.stack([self.texts[places].astype(np.float32).mean(0) for places in self.captions])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def fit_head(
    network: nn.Module,
    draw: Draw,
    items: Captioned,
    settings: MediaSettings,
    told: Callable[[int, float], None] = lambda step, loss: None,
) -> nn.Module:
    """Train `network` on features that `draw` gives; returns the mean of its weights over the last third.

    `told` hears the step and the loss. Averaging as in Izmailov et al. 2018 (arXiv 1803.05407).
    """
    generator = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    means = torch.from_numpy(items.means())
    chance = items.weights / items.weights.sum()
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=settings.decay)
    averaged = torch.optim.swa_utils.AveragedModel(network)
    network.train()
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * _schedule(step, settings.steps)
        batch = generator.choice(len(chance), settings.batch, p=chance)
        texts = _drawn_captions(items, batch, settings, generator)
        loss = media_loss(network(*draw(batch, generator)), texts, means[batch], settings)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        if step >= settings.steps * 2 // 3 and step % 5 == 0:
            averaged.update_parameters(network)
        told(step, float(loss.detach()))
    network.load_state_dict(averaged.module.state_dict())
    return network.eval()


def media_loss(found: Tensor, texts: Tensor, means: Tensor, settings: MediaSettings) -> Tensor:
    """The loss of items [batch, dim] with captions [captions, batch, dim] and their means [batch, dim]."""
    alike = (means @ means.T > settings.alike).fill_diagonal_(fill_value=False)
    own = torch.arange(len(found))
    total = found.new_zeros(())
    for caption in texts:
        scores = (found @ caption.T / settings.temperature).masked_fill(alike, -1e4)
        total = total + F.cross_entropy(scores.T, own) + F.cross_entropy(scores, own)
    near = (1 - (found * means).sum(1)).mean()
    return total / (2 * len(texts)) + settings.towards_mean * near


def _drawn_captions(
    items: Captioned, batch: NDArray[np.int64], settings: MediaSettings, generator: np.random.Generator
) -> Tensor:
    """Vectors [captions, batch, dim] of captions drawn for each item, a little moved."""
    chosen = np.stack([generator.choice(items.captions[place], settings.captions) for place in batch], 1)
    rows = torch.from_numpy(items.texts[chosen].astype(np.float32))
    return F.normalize(rows + settings.noise * torch.randn_like(rows), dim=-1)


def _schedule(step: int, steps: int) -> float:
    """Up over the first twentieth, then down along a cosine to a twentieth."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.05 + 0.475 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
