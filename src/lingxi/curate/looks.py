"""Pictures that look alike: a perceptual hash of each, and groups of those that differ in few bits.

The hash is 64 bits of the low frequencies of a small grey picture (pHash: Zauner 2010) and 12 bits of its
mean colours; two drawings recoloured are thus two pictures, one drawing scaled or saved again is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE, _LOW = 32, 8
# Bits of 64 that two pictures of one drawing may differ in, and the distance of colours 0…255.
MOST_BITS, MOST_COLOUR = 6, 24.0
_ROWS = 1024


def look(picture: Image) -> NDArray[np.float32]:
    """The look [67] of an RGB picture: 64 signs of its low frequencies (0 or 1), then three mean colours."""
    grey = np.asarray(picture.convert("L").resize((_SIDE, _SIDE)), np.float32)
    low = (_cosines() @ grey @ _cosines().T)[:_LOW, :_LOW].ravel()
    signs = (low > np.median(low[1:])).astype(np.float32)
    colours = np.asarray(picture.convert("RGB").resize((8, 8)), np.float32).reshape(-1, 3).mean(0)
    return np.concatenate([signs, colours])


def groups(looks: NDArray[np.float32]) -> NDArray[np.int64]:
    """The group [n] of each look [n, 67]: the first of the pictures it is tied to by near-duplicates."""
    parent = np.arange(len(looks))
    for start in range(0, len(looks), _ROWS):
        for left, right in _near(looks, start):
            a, b = _root(parent, left), _root(parent, right)
            parent[max(a, b)] = min(a, b)
    return np.array([_root(parent, place) for place in range(len(looks))], np.int64)


def _near(looks: NDArray[np.float32], start: int) -> Any:
    part = looks[start : start + _ROWS]
    signs, others = part[:, :64], looks[:, :64]
    bits = signs.sum(1)[:, None] + others.sum(1)[None] - 2 * signs @ others.T
    rows, columns = np.nonzero(bits <= MOST_BITS)
    apart = np.abs(part[rows, 64:] - looks[columns, 64:]).max(1)
    keep = (columns > rows + start) & (apart <= MOST_COLOUR)
    return zip(rows[keep] + start, columns[keep], strict=True)


def _root(parent: NDArray[np.int64], place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return int(place)


def _cosines() -> NDArray[np.float32]:
    """The matrix of the discrete cosine transform [32, 32]."""
    places, waves = np.arange(_SIDE) + 0.5, np.arange(_SIDE)[:, None]
    return np.cos(np.pi * waves * places / _SIDE).astype(np.float32)


def small(size: Sequence[int], least: int = 16) -> bool:
    """Whether a picture of this width and height is too small to show anything."""
    return min(size) < least
