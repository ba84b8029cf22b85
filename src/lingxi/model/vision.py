"""The vision tower of Qwen3-VL over packed patches: any number of pictures in one row, no padding.

Parameter names are the published ones below `visual.`, so that a checkpoint loads without a mapping. Patches
come in the order of the tokens they are merged into: 2 × 2 of them, side by side. Each frame attends to
itself. States of the layers that `VisionSize.deep` names go, merged, into the text network's first layers
(DeepStack, arXiv 2406.04334).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from lingxi.model.attention import Sight, attend
from lingxi.model.packed import Run
from lingxi.model.table import table
from lingxi.model.vision_size import Grid, VisionSize

_THETA = 10000.0
_EPS = 1e-6
_BOTH_WAYS = Sight(causal=False)
Rotation = tuple[torch.Tensor, torch.Tensor]


class PatchEmbed(nn.Module):
    """A patch's numbers to a vector: a convolution whose steps are its size, so a product."""

    def __init__(self, size: VisionSize) -> None:
        super().__init__()
        kernel = (size.frames, size.patch, size.patch)
        self.proj = nn.Conv3d(size.channels, size.hidden, kernel, stride=kernel)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """[patches, numbers] → [patches, hidden]."""
        weight = self.proj.weight
        return F.linear(patches.to(weight.dtype), weight.flatten(1), self.proj.bias)


class Attention(nn.Module):
    """Attention of a frame's patches to one another."""

    def __init__(self, size: VisionSize) -> None:
        super().__init__()
        self.heads = size.heads
        self.qkv = nn.Linear(size.hidden, 3 * size.hidden)
        self.proj = nn.Linear(size.hidden, size.hidden)

    def forward(self, x: torch.Tensor, rotation: Rotation, runs: tuple[Run, ...]) -> torch.Tensor:
        """[patches, hidden] → the same shape."""
        queries, keys, values = self.qkv(x).view(len(x), 3, self.heads, -1).unbind(1)
        found = attend(_turned(queries, rotation), _turned(keys, rotation), values, runs, None, _BOTH_WAYS)
        return cast(torch.Tensor, self.proj(found.flatten(1)))


class FeedForward(nn.Module):
    """Two layers with a GELU (its tanh form) between."""

    def __init__(self, size: VisionSize) -> None:
        super().__init__()
        self.linear_fc1 = nn.Linear(size.hidden, size.intermediate)
        self.linear_fc2 = nn.Linear(size.intermediate, size.hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[patches, hidden] → the same shape."""
        return cast(torch.Tensor, self.linear_fc2(F.gelu(self.linear_fc1(x), approximate="tanh")))


class Block(nn.Module):
    """One pre-norm layer of the tower."""

    def __init__(self, size: VisionSize) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size.hidden, eps=_EPS)
        self.norm2 = nn.LayerNorm(size.hidden, eps=_EPS)
        self.attn = Attention(size)
        self.mlp = FeedForward(size)

    def forward(self, x: torch.Tensor, rotation: Rotation, runs: tuple[Run, ...]) -> torch.Tensor:
        """[patches, hidden] → the same shape."""
        x = x + self.attn(self.norm1(x), rotation, runs)
        return x + cast(torch.Tensor, self.mlp(self.norm2(x)))


class Merger(nn.Module):
    """The states of four patches to one token of the text network; `after`: normed as a whole."""

    def __init__(self, size: VisionSize, *, after: bool) -> None:
        super().__init__()
        self.wide = size.hidden * size.merge**2
        self.after = after
        self.norm = nn.LayerNorm(self.wide if after else size.hidden, eps=_EPS)
        self.linear_fc1 = nn.Linear(self.wide, self.wide)
        self.linear_fc2 = nn.Linear(self.wide, size.out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[patches, hidden] → [tokens, out]."""
        x = self.norm(x.view(-1, self.wide)) if self.after else self.norm(x).view(-1, self.wide)
        return cast(torch.Tensor, self.linear_fc2(F.gelu(self.linear_fc1(x))))


class Tower(nn.Module):
    """Patches in, tokens of the text network out."""

    def __init__(self, size: VisionSize) -> None:
        super().__init__()
        self.size = size
        self.patch_embed = PatchEmbed(size)
        self.pos_embed = table(size.side**2, size.hidden)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.depth))
        self.merger = Merger(size, after=False)
        self.deepstack_merger_list = nn.ModuleList(Merger(size, after=True) for _ in size.deep)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.pos_embed.weight.device

    def forward(
        self, patches: torch.Tensor, grids: Sequence[Grid]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Tokens [t, out] of patches [p, numbers] laid end to end, and as many for each deep layer."""
        places = [_places(grid, self.size.merge).to(self.device) for grid in grids]
        x = self.patch_embed(patches)
        x = x + torch.cat([self._learnt(where, grid) for where, grid in zip(places, grids, strict=True)])
        rotation, runs = self._rotation(torch.cat(places)), _runs(grids)
        deep: list[torch.Tensor] = []
        for depth, block in enumerate(self.blocks):
            x = block(x, rotation, runs)
            if depth in self.size.deep:
                deep.append(self.deepstack_merger_list[self.size.deep.index(depth)](x))
        return self.merger(x), tuple(deep)

    def _learnt(self, places: torch.Tensor, grid: Grid) -> torch.Tensor:
        """The learnt places [patches, hidden], between those of the square grid they were learnt on."""
        side, weight = self.size.side, self.pos_embed.weight
        steps = torch.tensor([max(n - 1, 1) for n in grid[1:]], device=places.device)
        at = places.float() * (side - 1) / steps
        low = at.floor()
        part, low = at - low, low.long()
        high = (low + 1).clamp(max=side - 1)
        found = torch.zeros(len(places), weight.shape[1], device=weight.device)
        for rows, down in ((low[:, 0], 1 - part[:, 0]), (high[:, 0], part[:, 0])):
            for columns, across in ((low[:, 1], 1 - part[:, 1]), (high[:, 1], part[:, 1])):
                found += weight[rows * side + columns].float() * (down * across)[:, None]
        return found.to(weight.dtype)

    def _rotation(self, places: torch.Tensor) -> Rotation:
        """Cosines and sines [patches, 1, head / 2]: half of the frequencies for rows, half for columns."""
        quarter = self.size.hidden // self.size.heads // 2
        steps = torch.arange(0, quarter, 2, device=places.device, dtype=torch.float32)
        angles = (places.float()[:, :, None] * _THETA ** (-steps / quarter)).flatten(1)[:, None]
        return angles.cos(), angles.sin()


def _turned(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Rotary positions in fp32, half-split form: x [patches, heads, head]."""
    cos, sin = rotation
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


def _places(grid: Grid, merge: int) -> torch.Tensor:
    """Row and column [patches, 2] of each patch, in the order of the tokens they are merged into."""
    frames, high, wide = grid
    where = torch.stack(torch.meshgrid(torch.arange(high), torch.arange(wide), indexing="ij"), dim=-1)
    blocks = where.view(high // merge, merge, wide // merge, merge, 2).transpose(1, 2)
    return blocks.reshape(-1, 2).repeat(frames, 1)


def _runs(grids: Sequence[Grid]) -> tuple[Run, ...]:
    """Frames of one size side by side attend in one call."""
    runs: list[Run] = []
    for frames, high, wide in grids:
        length, last = high * wide, runs[-1] if runs else None
        if last is not None and last.length == length:
            runs[-1] = Run(last.start, last.first, last.count + frames, length)
            continue
        start = last.start + last.count * last.length if last else 0
        runs.append(Run(start, last.first + last.count if last else 0, frames, length))
    return tuple(runs)
