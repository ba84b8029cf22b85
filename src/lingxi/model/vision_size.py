"""The shapes of the published vision towers, what `config.json` says of one, and the budgets of pixels.

Numbers alone: how large a picture is made before it is cut into patches (`resized`), and which frames of a
video are seen, when they are said to stand, and how large they are made. They are those of the reference
implementation (`qwen3_vl_embedding.py` with qwen-vl-utils).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lingxi.errors import InputError, ModelError
from lingxi.model.sizes import Size

Grid = tuple[int, int, int]
"""Patches in time, height and width."""

_RATIO = 200


@dataclass(frozen=True, slots=True)
class VisionSize:
    """Shape of one tower: `deep` are the layers whose states go into the text network's first layers.

    `side` squared is how many places are learnt; `out` is the text network's width.
    """

    depth: int
    hidden: int
    heads: int
    intermediate: int
    out: int
    deep: tuple[int, ...]
    patch: int = 16
    frames: int = 2
    merge: int = 2
    side: int = 48
    channels: int = 3

    @property
    def factor(self) -> int:
        """Pixels that a token is wide and high."""
        return self.patch * self.merge

    @property
    def patch_numbers(self) -> int:
        """Numbers of a patch: channels × frames × patch × patch."""
        return self.channels * self.frames * self.patch * self.patch


VL_SIZES: Mapping[str, tuple[Size, VisionSize]] = {
    "vl-2B": (
        Size(2048, 28, 16, 8, 128, 6144, 151936, 262144, 5e6, sections=(24, 20, 20)),
        VisionSize(24, 1024, 16, 4096, 2048, (5, 11, 17)),
    ),
    "vl-8B": (
        Size(4096, 36, 32, 8, 128, 12288, 151936, 262144, 5e6, tied_head=False, sections=(24, 20, 20)),
        VisionSize(27, 1152, 16, 4304, 4096, (8, 16, 24)),
    ),
}
"""The text network and the tower of the published embedders and rerankers (FACTS of the 8B head: untied)."""


def vision_size(config: Mapping[str, Any], where: str) -> VisionSize | None:
    """Read the tower's shape from a `config.json`, None for a model without one.

    Raises ModelError where a field is missing, or says something that is not computed.
    """
    found = config.get("vision_config")
    if config.get("model_type") != "qwen3_vl":
        return None
    if not isinstance(found, Mapping):
        raise ModelError(f"{where}: 'vision_config' is missing", _AGAIN)
    if found.get("hidden_act", "gelu_pytorch_tanh") != "gelu_pytorch_tanh":
        raise ModelError(f"{where}: the tower's activation is {found['hidden_act']!r}", _AGAIN)
    try:
        size = VisionSize(
            depth=int(found["depth"]),
            hidden=int(found["hidden_size"]),
            heads=int(found["num_heads"]),
            intermediate=int(found["intermediate_size"]),
            out=int(found["out_hidden_size"]),
            deep=tuple(int(layer) for layer in found["deepstack_visual_indexes"]),
            patch=int(found.get("patch_size", 16)),
            frames=int(found.get("temporal_patch_size", 2)),
            merge=int(found.get("spatial_merge_size", 2)),
            side=math.isqrt(int(found.get("num_position_embeddings", 2304))),
            channels=int(found.get("in_channels", 3)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{where}: vision_config: {error}", _AGAIN) from None
    return size


_AGAIN = "copy the model's config.json again"


@dataclass(frozen=True, slots=True)
class Budget:
    """Pixels and frames that an input may have, in the numbers of one token's `factor`².

    A picture is made `least` to `most` tokens large, a frame of a video `frame_least` to `frame_most`,
    and less where `clip` tokens, of two frames each, are not enough for all.
    """

    least: int = 4
    most: int = 1800
    frame_least: int = 128
    frame_most: int = 768
    clip: int = 7680
    frames: int = 64
    frame_first_most: int = 16384


BUDGET = Budget()


def resized(height: int, width: int, factor: int, least: int, most: float) -> tuple[int, int]:
    """Height and width in whole tokens, the pixels between `least` and `most`, nearly in proportion.

    Raises InputError for a picture more than 200 times as long as it is wide.
    """
    if max(height, width) > _RATIO * min(height, width):
        raise InputError(
            f"a picture of {width} × {height} pixels is more than {_RATIO} times as long as wide",
            "cut it into pieces",
        )
    high, wide = (max(factor, round(n / factor) * factor) for n in (height, width))
    if high * wide > most:
        shrink = math.sqrt(height * width / most)
        high, wide = (math.floor(n / shrink / factor) * factor for n in (height, width))
        # The reference would make nothing of a strip's short side.
        return max(factor, high), max(factor, wide)
    if high * wide < least:
        grow = math.sqrt(least / (height * width))
        high, wide = (math.ceil(n * grow / factor) * factor for n in (height, width))
    return high, wide


def picture_size(height: int, width: int, factor: int, budget: Budget = BUDGET) -> tuple[int, int]:
    """Height and width that a picture is made; raises InputError as `resized`."""
    token = factor * factor
    return resized(height, width, factor, budget.least * token, budget.most * token)


def frame_sizes(
    height: int, width: int, frames: int, factor: int, budget: Budget = BUDGET
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width that a frame is made at first, as a picture, and then within its clip's budget."""
    token = factor * factor
    first = resized(height, width, factor, budget.least * token, budget.frame_first_most * token)
    least = budget.frame_least * token
    share = budget.clip * token / frames * 2
    most = max(min(budget.frame_most * token, share), int(least * 1.05))
    return first, resized(*first, factor, least, most)


def seen_frames(count: int, budget: Budget = BUDGET) -> list[int]:
    """Which of so many frames are seen: all, or as many as the budget has, evenly; an even number of them."""
    even = np.linspace(0, count - 1, budget.frames, dtype=int)
    picked: list[int] = even.tolist() if count > budget.frames else list(range(count))
    return picked + picked[-1:] * (len(picked) % 2)


def frame_seconds(count: int, rate: float, pair: int = 2) -> tuple[float, ...]:
    """The second at which each pair of so many frames stands, the middle of the two; `rate` a second."""
    return tuple((i + i + pair - 1) / 2 / rate for i in range(0, count, pair))


def grid_of(height: int, width: int, frames: int, size: VisionSize) -> Grid:
    """Patches of frames that are made so large."""
    return -(-frames // size.frames), height // size.patch, width // size.patch


def tokens_of(grid: Grid, size: VisionSize) -> int:
    """Tokens of one pair of frames of a grid."""
    return grid[1] * grid[2] // size.merge**2


def few_layers(name: str, layers: int, depth: int, vocab: int) -> tuple[Size, VisionSize]:
    """A published shape with fewer layers and tokens, for comparisons: `deep` moves to the last ones."""
    text, vision = VL_SIZES[name]
    return (
        replace(text, layers=layers, vocab=vocab, max_positions=4096),
        replace(vision, depth=depth, deep=_last(vision.deep, depth)),
    )


def _last(deep: Sequence[int], depth: int) -> tuple[int, ...]:
    return tuple(range(depth))[-len(deep) :]
