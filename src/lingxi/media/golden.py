"""Golden vectors of a picture and sound encoder: inputs made of arithmetic, and what they gave when written.

A copy of a directory proves itself: `check_golden` embeds the same inputs and compares.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lingxi.errors import ModelError
from lingxi.vectors import Floats

if TYPE_CHECKING:
    from lingxi.embedder import Embedder

FILE = "golden.json"
_SIDE, _RATE = 96, 16_000
# What other processors and libraries round differently; a wrong weight is a hundred times as far off.
MOST = 2e-3


def write_golden(directory: Path, text: Embedder | None = None) -> None:
    """Write `golden.json` of a directory: its vectors of the golden pictures and sounds."""
    values = {kind: np.round(found, 5).tolist() for kind, found in _vectors(directory, text).items()}
    (directory / FILE).write_text(json.dumps(values) + "\n", "utf-8")


def check_golden(directory: Path, text: Embedder | None = None) -> float:
    """The largest 1 - cosine of golden vectors and today's; raises ModelError beyond 0.002, or without."""
    path = directory / FILE
    try:
        wanted = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as problem:
        raise ModelError(f"{path}: no golden vectors ({problem})", "copy the directory again") from None
    found = _vectors(directory, text)
    if set(found) != set(wanted):
        raise ModelError(f"{path} is of {sorted(wanted)}, the directory of {sorted(found)}", "copy it again")
    worst = max(_apart(np.asarray(wanted[kind], np.float32), found[kind]) for kind in found)
    if not worst <= MOST:
        raise ModelError(f"{directory}: vectors are {worst:.1e} from golden ones", "copy it again")
    return worst


def pictures() -> list[Any]:
    """Three pictures of arithmetic: a slope, rings, and noise."""
    from PIL import Image

    y, x = np.mgrid[:_SIDE, :_SIDE].astype(np.int64)
    rings = ((x - 48) ** 2 + (y - 48) ** 2) // 16
    noise = (x * 7919 + y * 104_729) ** 2 // 97
    found = []
    for one in (x + 2 * y, rings, noise):
        channels = np.stack([one * 2, one * 3 + 40, one * 5 + 90], 2) % 256
        found.append(Image.fromarray(channels.astype(np.uint8)))
    return found


def sounds() -> list[dict[str, Any]]:
    """Two sounds of arithmetic: a rising tone and a buzz with pauses."""
    times = np.arange(_RATE) / _RATE
    rising = np.sin(2 * np.pi * (200 + 800 * times) * times)
    buzz = np.sign(np.sin(2 * np.pi * 130 * times)) * (np.sin(2 * np.pi * 4 * times) > 0) * 0.5
    return [{"array": one.astype(np.float32), "sampling_rate": _RATE} for one in (rising, buzz)]


def _vectors(directory: Path, text: Embedder | None) -> dict[str, Floats]:
    from lingxi.media.embedder import MediaEmbedder

    embedder = MediaEmbedder(directory, text=text)
    found: dict[str, Floats] = {}
    if embedder.has_pictures:
        found["image"] = embedder.encode_pictures(pictures())
    if embedder.has_sounds:
        found["audio"] = embedder.encode_sounds(sounds())
    return found


def _apart(one: Floats, other: Floats) -> float:
    if one.shape != other.shape:
        return float("inf")
    return float(
        np.abs(1 - (one * other).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))).max()
    )
