"""Features of pictures and recordings by frozen trunks: kept in a file, so that a stopped run goes on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from lingxi.errors import LingxiWarning
from lingxi.media.embedder import padded, picture_of, pixels_of
from lingxi.media.sounds import open_sound, without_silence
from lingxi.model import media_heads
from lingxi.model.media_heads import PictureNetwork, SoundNetwork
from lingxi.model.picture import FEATURES
from lingxi.model.sound import log_mel
from lingxi.records import digest
from lingxi.vectors import Floats

if TYPE_CHECKING:
    from PIL.Image import Image

Compute = Callable[[Sequence[str]], Floats]
_BATCH, _FLUSH = 16, 512


def kept(media: Sequence[str], width: int, store: Path, name: str, compute: Compute) -> Floats:
    """`compute` of all media, [n, width], in batches; what `store` holds of the list is not made again."""
    store.mkdir(parents=True, exist_ok=True)
    place = store / f"{name}-{width}-{digest(*media)}.npy"
    mark = place.with_suffix(".done")
    done = int(mark.read_text()) if mark.is_file() and place.is_file() else 0
    shape = (len(media), width)
    out = np.lib.format.open_memmap(place, "r+" if done else "w+", np.float16, None if done else shape)
    for start in range(done, len(media), _BATCH):
        out[start : start + _BATCH] = compute(media[start : start + _BATCH])
        if start // _BATCH % (_FLUSH // _BATCH) == 0:
            out.flush()
            mark.write_text(str(start + len(media[start : start + _BATCH])))
    out.flush()
    mark.write_text(str(len(media)))
    return np.asarray(out, np.float32)


def picture_features(network: PictureNetwork, media: Sequence[str], store: Path, view: int) -> Floats:
    """Features [n, 1704] of pictures as they are (`view` 0), or as another view of each."""

    def compute(paths: Sequence[str]) -> Floats:
        """Features of some of the pictures."""
        opened = [picture_of(path) for path in paths]
        seen = [
            turned(one, f"{view} {Path(path).name}") if view else one
            for one, path in zip(opened, paths, strict=True)
        ]
        pixels = torch.stack([pixels_of(one) for one in seen]).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return np.asarray(network.features(pixels).numpy(), np.float32)

    return kept(media, FEATURES, store, f"pictures-{view}-{weights_of(network.trunk)}", compute)


def sound_features(network: SoundNetwork, media: Sequence[str], store: Path) -> Floats:
    """Features [n, 2 · parts · 512] of recordings, each of its first 30 seconds, silence around it cut."""
    width = media_heads.sound_features(network.parts)

    def compute(paths: Sequence[str]) -> Floats:
        """Features of some of the recordings, short ones beside short ones."""
        spectrograms = [_spectrogram(path) for path in paths]
        order = np.argsort([one.shape[1] for one in spectrograms])
        out = np.zeros((len(paths), width), np.float32)
        for places in np.array_split(order, -(-len(order) // 8)):
            with torch.inference_mode():
                out[places] = network.features(*padded([spectrograms[place] for place in places])).numpy()
        return out

    name = f"sounds-{weights_of(network.trunk)}"
    return kept(media, width, store, name, compute)


def weights_of(trunk: nn.Module) -> str:
    """Eight characters that change with a trunk's weights."""
    sums = [f"{name} {float(value.float().abs().sum()):.4e}" for name, value in trunk.state_dict().items()]
    return digest(*sums)[:8]


def _spectrogram(path: str) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LingxiWarning)
        return log_mel(torch.from_numpy(without_silence(open_sound(Path(path)).samples).copy()))


def turned(picture: Image, key: str) -> Image:
    """Another view of a picture: mirrored or not, turned, scaled, shifted on white, its colours changed."""
    from PIL import Image, ImageEnhance, ImageOps

    from lingxi.records import stable_hash

    draw = np.random.default_rng(stable_hash(key))
    side = max(picture.size)
    square = ImageOps.pad(picture, (side, side), color="white") if side > 4 else picture
    if draw.random() < 0.4:
        square = ImageOps.mirror(square)
    scale, angle = float(np.exp(draw.uniform(np.log(0.75), np.log(1.35)))), float(draw.normal(0, 7))
    across, down = (round(float(x) * side) for x in draw.uniform(-0.12, 0.12, 2))
    moved = square.rotate(angle, Image.Resampling.BILINEAR, translate=(across, down), fillcolor="white")
    crop = side / 2 * (1 - 1 / scale)
    view = moved.transform(
        moved.size, Image.Transform.EXTENT, (crop, crop, side - crop, side - crop), fillcolor="white"
    )
    for enhance, low, high in ((ImageEnhance.Brightness, 0.75, 1.2), (ImageEnhance.Contrast, 0.75, 1.25)):
        view = enhance(view).enhance(float(draw.uniform(low, high)))
    return ImageEnhance.Color(view).enhance(float(draw.choice([0.0, 0.5, 1.0, 1.0, 1.3])))
