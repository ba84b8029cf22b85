"""Pictures as the tower reads them, and inputs that hold some: ids with views in their seats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from lingxi.model.vision_size import (
    BUDGET,
    Budget,
    Grid,
    VisionSize,
    frame_sizes,
    grid_of,
    picture_size,
    seen_frames,
    tokens_of,
)

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One picture or video made ready: `pixels` [frames, height, width, 3], in whole tokens.

    `seats` are the tokens of each pair of its frames; `key` tells it from others.
    """

    pixels: Pixels
    grid: Grid
    seats: int
    key: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The ids of an input that holds pictures, and its views, in the order of their seats."""

    ids: list[int]
    views: tuple[View, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids)


def picture_view(picture: Image, size: VisionSize, budget: Budget = BUDGET) -> View:
    """An upright RGB picture in the size of its tokens; raises InputError for a strip."""
    high, wide = picture_size(picture.height, picture.width, size.factor, budget)
    return _view(np.array(_made(picture, high, wide))[None], size)


def clip_view(frames: Sequence[Image], size: VisionSize, budget: Budget = BUDGET) -> View:
    """A video's frames, as many as the budget sees, in the size of their tokens.

    All are made as large as the first. Raises InputError as `picture_view`.
    """
    picked = [frames[i] for i in seen_frames(len(frames), budget)]
    first, then = frame_sizes(picked[0].height, picked[0].width, len(picked), size.factor, budget)
    pixels = np.stack([np.asarray(_made(frame, *first)) for frame in picked])
    return _view(_shrunk(pixels, *then), size)


def patches_of(views: Sequence[View], size: VisionSize) -> torch.Tensor:
    """The numbers [patches, channels × frames × patch × patch] that the tower reads, −1 to 1, end to end."""
    return torch.cat([_patches(view, size) for view in views])


def axes_of(sequence: Seen, pads: frozenset[int], size: VisionSize) -> torch.Tensor:
    """Where each token stands in time, height and width [3, tokens].

    Text counts on in all three; a frame begins where the text before it ended, and the text after it
    goes on where the frame's longer side ends.
    """
    grids = [(g[1] // size.merge, g[2] // size.merge) for v in sequence.views for g in [v.grid] * v.grid[0]]
    out = torch.empty(3, len(sequence.ids), dtype=torch.long)
    at, place, waiting = 0, 0, iter(grids)
    while at < len(sequence.ids):
        if sequence.ids[at] in pads:
            high, wide = next(waiting)
            rows, columns = torch.arange(high * wide) // wide, torch.arange(high * wide) % wide
            out[:, at : at + high * wide] = place + torch.stack((torch.zeros_like(rows), rows, columns))
            at, place = at + high * wide, place + max(high, wide)
        else:
            out[:, at] = place
            at, place = at + 1, place + 1
    return out


def _view(pixels: NDArray[np.uint8], size: VisionSize) -> View:
    frames, high, wide, _ = pixels.shape
    grid = grid_of(high, wide, frames, size)
    key = blake2b(pixels.tobytes(), digest_size=16, person=repr(grid).encode()[:16]).digest()
    return View(np.ascontiguousarray(pixels), grid, tokens_of(grid, size), key)


def _made(picture: Image, high: int, wide: int) -> Image:
    """Pillow's bicubic filter, as the reference; a picture of that size stays as it is."""
    from PIL.Image import Resampling

    return picture.resize((wide, high), Resampling.BICUBIC)


def _shrunk(pixels: NDArray[np.uint8], high: int, wide: int) -> Pixels:
    """Frames in another size by torch's bicubic filter, rounded, as the reference does to videos."""
    if pixels.shape[1:3] == (high, wide):
        return pixels
    floats = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    made = F.interpolate(floats, (high, wide), mode="bicubic", align_corners=False, antialias=True)
    rounded = made.clamp(0, 255).round().to(torch.uint8)
    return np.asarray(rounded.permute(0, 2, 3, 1).numpy())


def _patches(view: View, size: VisionSize) -> torch.Tensor:
    pixels = torch.from_numpy(view.pixels)
    frames, high, wide = view.grid
    missing = frames * size.frames - len(pixels)
    if missing:  # a picture is a video of the same frame
        pixels = torch.cat((pixels, pixels[-1:].expand(missing, -1, -1, -1)))
    patch, merge = size.patch, size.merge
    blocks = pixels.view(
        frames, size.frames, high // merge, merge, patch, wide // merge, merge, patch, size.channels
    )
    # frame, block row, block column, row in it, column in it, channel, frame of two, row, column
    rows = blocks.permute(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(frames * high * wide, size.patch_numbers)
    return (rows.float() - 127.5) / 127.5
