"""The picture network of lingxi-nano-vl: EfficientNet-Lite0 and a small head into the text space.

The trunk is the architecture of Tan & Le, "EfficientNet" (arXiv:1905.11946) in its Lite form: no
squeeze-and-excitation, ReLU6 throughout, which rounds to 8 bits well. Normalisation layers are folded
into the convolutions before them, so a trunk is convolutions and biases alone.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# kernel, stride, expansion, channels in, channels out, times
_STAGES = (
    (3, 1, 1, 32, 16, 1),
    (3, 2, 6, 16, 24, 2),
    (5, 2, 6, 24, 40, 2),
    (3, 2, 6, 40, 80, 3),
    (5, 1, 6, 80, 112, 3),
    (5, 2, 6, 112, 192, 4),
    (3, 1, 6, 192, 320, 1),
)
SIDE = 160
_WIDTH = 1280
# The last blocks of four stages: what is seen there (colours, textures, parts) is averaged too.
_POOLED = (4, 7, 10, 14)
FEATURES = 40 + 80 + 112 + 192 + _WIDTH


class Convolution(nn.Module):
    """A convolution with a bias, padded so that the output has ⌈input / stride⌉ rows (TensorFlow's SAME)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.kernel, self.stride, self.groups = kernel, stride, groups
        nn.init.kaiming_normal_(self.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, h, w] to [batch, outputs, ⌈h / stride⌉, ⌈w / stride⌉]."""
        if self.stride == 1:
            return F.conv2d(x, self.weight, self.bias, 1, self.kernel // 2, groups=self.groups)
        missing = [_missing(side, self.kernel, self.stride) for side in (x.shape[3], x.shape[2])]
        x = F.pad(x, [part for whole in missing for part in (whole // 2, whole - whole // 2)])
        return F.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)


def _missing(side: int, kernel: int, stride: int) -> int:
    return max((-(-side // stride) - 1) * stride + kernel - side, 0)


class Block(nn.Module):
    """An inverted residual: widen, convolve each channel, narrow; added to its input where shapes agree."""

    def __init__(self, kernel: int, stride: int, expansion: int, inputs: int, outputs: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = Convolution(inputs, wide, 1) if expansion > 1 else None
        self.depthwise = Convolution(wide, wide, kernel, stride, wide)
        self.project = Convolution(wide, outputs, 1)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, h, w] to [batch, outputs, ⌈h / stride⌉, ⌈w / stride⌉]."""
        wide = F.relu6(self.expand(x)) if self.expand is not None else x
        out: Tensor = self.project(F.relu6(self.depthwise(wide)))
        return x + out if self.adds else out


class Trunk(nn.Module):
    """EfficientNet-Lite0 without its classifier: pictures to 1,704 numbers each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, 3, 2)
        self.blocks = nn.ModuleList(_blocks())
        self.head = Convolution(320, _WIDTH, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels [batch, 3, h, w] in -1…1 to features [batch, 1704], means of five depths over all places."""
        x = F.relu6(self.stem(pixels))
        means = []
        for place, block in enumerate(self.blocks):
            x = block(x)
            if place in _POOLED:
                means.append(x.mean((2, 3)))
        return torch.cat([*means, F.relu6(self.head(x)).mean((2, 3))], 1)


def _blocks() -> list[Block]:
    out = []
    for kernel, stride, expansion, inputs, outputs, times in _STAGES:
        out.append(Block(kernel, stride, expansion, inputs, outputs))
        out += [Block(kernel, 1, expansion, outputs, outputs) for _ in range(times - 1)]
    return out


def folded(weights: dict[str, Any], epsilon: float = 1e-3) -> dict[str, Tensor]:
    """A trunk's tensors from a published EfficientNet-Lite checkpoint, each normalisation folded in.

    y = γ (Wx - μ) / √(σ² + ε) + β is the convolution with W·γ/√(σ²+ε) and bias β - μγ/√(σ²+ε).
    """
    out: dict[str, Tensor] = {}
    for ours, theirs, norm in _names():
        if f"{theirs}.weight" not in weights:
            continue
        scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + epsilon).sqrt()
        out[f"{ours}.weight"] = weights[f"{theirs}.weight"] * scale[:, None, None, None]
        out[f"{ours}.bias"] = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    return out


def _names() -> list[tuple[str, str, str]]:
    names = [("stem", "_conv_stem", "_bn0"), ("head", "_conv_head", "_bn1")]
    for n in range(sum(stage[-1] for stage in _STAGES)):
        parts = (("expand", "_expand_conv", 0), ("depthwise", "_depthwise_conv", 1))
        for ours, theirs, norm in (*parts, ("project", "_project_conv", 2)):
            names.append((f"blocks.{n}.{ours}", f"_blocks.{n}.{theirs}", f"_blocks.{n}._bn{norm}"))
    return names
