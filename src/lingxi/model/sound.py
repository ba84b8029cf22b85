"""The sound network of lingxi-nano-vl: a log-mel spectrogram and Whisper's encoder at its base size.

Spectrogram and encoder are those of Radford et al., "Robust Speech Recognition via Large-Scale Weak
Supervision" (arXiv:2212.04356): 16,000 samples a second, windows of 25 ms every 10 ms, 80 mel bands; two
convolutions, sinusoidal positions, pre-norm layers. A clip is as long as it is: nothing is padded to 30 s.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

RATE, WINDOW, HOP, BANDS = 16_000, 400, 160, 80
WIDTH, HEADS, LAYERS = 512, 8, 6
# 30 seconds at 50 states a second: the positions the encoder has.
MOST_STATES = 1500


def log_mel(samples: Tensor) -> Tensor:
    """Log-mel spectrogram [80, ⌈samples / 160⌉] of mono samples at 16 kHz, floored 80 dB under its peak."""
    window = torch.hann_window(WINDOW)
    bins = torch.stft(samples, WINDOW, HOP, window=window, center=True, return_complex=True)
    power = bins[:, :-1].abs() ** 2
    logs = torch.clamp(_filters() @ power, min=1e-10).log10()
    return (torch.maximum(logs, logs.max() - 8.0) + 4.0) / 4.0


@lru_cache(maxsize=1)
def _filters() -> Tensor:
    """Slaney's triangular mel filters [80, 201], each of unit area."""
    edges = _hertz(np.linspace(_mel(0.0), _mel(RATE / 2), BANDS + 2))
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    heights = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(heights.astype(np.float32))


def _mel(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + math.log(hertz / 1000) * 27 / math.log(6.4)


def _hertz(mels: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * math.log(6.4) / 27)))


class Layer(nn.Module):
    """One pre-norm layer: attention among all states, then a perceptron with GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(WIDTH)
        self.inputs = nn.Linear(WIDTH, 3 * WIDTH)
        self.outputs = nn.Linear(WIDTH, WIDTH)
        self.before_perceptron = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, 4 * WIDTH)
        self.down = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """States [batch, n, 512] to the same; `seen` [batch, 1, 1, n] says which may be attended."""
        batch, n, _ = x.shape
        parts = self.inputs(self.before_attention(x)).view(batch, n, 3, HEADS, WIDTH // HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        x = x + self.outputs(mixed.transpose(1, 2).reshape(batch, n, WIDTH))
        out: Tensor = x + self.down(F.gelu(self.up(self.before_perceptron(x))))
        return out


class SoundTrunk(nn.Module):
    """Whisper's base encoder: spectrograms to 512 numbers every 20 ms."""

    def __init__(self, layers: int = LAYERS) -> None:
        super().__init__()
        self.first = nn.Conv1d(BANDS, WIDTH, 3, padding=1)
        self.second = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.norm = nn.LayerNorm(WIDTH)
        self.register_buffer("positions", _positions(), persistent=False)

    def forward(self, spectrograms: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, 80, t] and the frames each holds to states [batch, ⌈t/2⌉, 512] and which are real."""
        _, last, real = self.depths(spectrograms, frames)
        return last, real

    def depths(self, spectrograms: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States before the last layer and after it, as `forward` gives these, and which are real."""
        x = F.gelu(self.second(F.gelu(self.first(spectrograms)))).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]  # type: ignore[index]
        real = torch.arange(x.shape[1])[None] < ((frames + 1) // 2)[:, None]
        before = x
        for layer in self.layers:
            before, x = x, layer(x, real[:, None, None])
        return before, self.norm(x), real


def _positions() -> Tensor:
    rates = torch.exp(-math.log(10_000) / (WIDTH // 2 - 1) * torch.arange(WIDTH // 2))
    angles = torch.arange(MOST_STATES)[:, None] * rates[None]
    return torch.cat([angles.sin(), angles.cos()], 1)
