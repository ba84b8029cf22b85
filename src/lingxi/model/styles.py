"""What a family of decoders does otherwise than Qwen3, and the stretching of its rotary angles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True, slots=True)
class Style:
    """One family's variations: norms on queries and keys, biases, the gate's activation, Gemma's four.

    `centred_norms` multiply by 1 + weight; `post_norms` norm what a half of a block gives before it
    is added; `scaled_embedding` multiplies token vectors by √hidden.
    """

    qk_norm: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    feed_forward_bias: bool = False
    activation: Literal["silu", "gelu_tanh"] = "silu"
    centred_norms: bool = False
    post_norms: bool = False
    scaled_embedding: bool = False


QWEN3 = Style()
QWEN2 = Style(qk_norm=False, qkv_bias=True)
LLAMA = Style(qk_norm=False)
GEMMA3 = Style(activation="gelu_tanh", centred_norms=True, post_norms=True, scaled_embedding=True)


@dataclass(frozen=True, slots=True)
class Scaling:
    """How rotary frequencies are stretched for inputs longer than those first trained on.

    `linear` divides all by `factor`; `llama3` divides the slow ones, keeps the fast ones and blends
    between, by how often they turn within `original` positions.
    """

    kind: Literal["linear", "llama3"]
    factor: float
    low: float = 1.0
    high: float = 4.0
    original: int = 8192

    def scaled(self, frequencies: torch.Tensor) -> torch.Tensor:
        """The frequencies [head_dim / 2] after scaling."""
        if self.kind == "linear":
            return frequencies / self.factor
        turns = self.original * frequencies / (2 * math.pi)
        kept = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return frequencies * (kept + (1 - kept) / self.factor)
