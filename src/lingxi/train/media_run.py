"""Train lingxi-nano-vl: frozen trunks, features of what was kept, heads in closed form, one directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from lingxi.collect import archives, registries
from lingxi.config import Settings
from lingxi.curate.fitting import disagreement
from lingxi.curate.media import TRAIN
from lingxi.embedder import Embedder
from lingxi.engine.linears import with_int8_linears
from lingxi.errors import InputError
from lingxi.media.golden import write_golden
from lingxi.model.files import hash_weights
from lingxi.model.media_files import MediaConfig, read_media, restored, rounded, write_media
from lingxi.model.media_heads import PictureNetwork, SoundNetwork
from lingxi.records import Document, read_documents
from lingxi.train.media import Matched, MediaSettings, fit_head
from lingxi.train.media_features import picture_features, sound_features
from lingxi.train.media_items import (
    Captions,
    Toward,
    captions_of,
    pictures_towards,
    some_captions,
    sounds_towards,
)
from lingxi.train.trunks import picture_trunk, sound_trunk
from lingxi.vectors import Floats, cut

MODEL, STORE = "lingxi-nano-vl", "parts"
Say = Callable[[str], None]


class MediaTrainSettings(Settings):
    """Where trunks come from, how heads are fitted, and what an item of a source counts."""

    text_model: str = "lingxi-pico"
    start: Path | None = None
    """A directory of an earlier model whose trunks are taken."""
    picture_trunk: str | None = None
    """The package of PyPI (`name==version`) or folder that holds EfficientNet-Lite0."""
    sound_trunk: tuple[str, ...] = ()
    """The packages or folders that hold Whisper's base encoder."""
    picture: MediaSettings = MediaSettings(ridge=0.3, whiten=0.03)
    sound: MediaSettings = MediaSettings(ridge=0.3, whiten=0.0)
    views: int = Field(default=2, ge=1, le=16)
    """How often a picture is looked at: once as it is, the others changed."""
    parts: int = Field(default=6, ge=1, le=32)
    """Parts of a recording's time, the mean of each."""
    own: float = Field(default=2.0, ge=0)
    """What the caption that a recording says counts, beside the mean caption of its picture."""
    weights: Mapping[str, float] = {}
    """What an item counts whose source's name holds the key; 1 for others."""
    most_disagreement: float = Field(default=0.99, gt=0, le=1)
    """A picture for which a head that never saw it prefers this share of other captions is left out."""
    cache: Path = Path("~/.cache/lingxi/packages")

    @model_validator(mode="after")
    def _checked(self) -> MediaTrainSettings:
        if bool(self.start) == bool(self.picture_trunk or self.sound_trunk):
            raise ValueError("trunks come from start, or from picture_trunk and sound_trunk")
        return self


@dataclass(frozen=True, slots=True)
class MediaTrained:
    """Items the heads were fitted on, pictures left out for their captions, bytes of the weights."""

    pictures: int
    disagreeing: int
    sounds: int
    captions: int
    bytes: int


def train_media(settings: MediaTrainSettings, curated: Path, out: Path, card: str) -> MediaTrained:
    """Fit the heads on `curated`/train.parquet and write `out`/lingxi-nano-vl; raises as its parts do."""
    rows = list(read_documents(curated / TRAIN))
    text = Embedder(settings.text_model)
    trunks = _trunks(settings)
    captions = captions_of(rows, lambda texts: np.asarray(text.encode(texts), np.float32))
    picture, seen, disagreeing = _picture(settings, rows, captions, trunks[0], out / STORE)
    sound, heard = _sound(settings, rows, captions, trunks[1], out / STORE)
    if picture is None and sound is None:
        raise InputError(
            f"{curated}: no rows that the trunks can be fitted on", "name a trunk for what is there"
        )
    config = MediaConfig(settings.text_model, hash_weights(text.directory), text.dim, settings.parts)
    size = write_media(out / MODEL, config, picture, sound)
    (out / MODEL / "README.md").write_text(card, "utf-8")
    write_golden(out / MODEL, text)
    return MediaTrained(seen, disagreeing, heard, len(captions.vectors), size)


def _picture(
    settings: MediaTrainSettings,
    rows: Sequence[Document],
    captions: Captions,
    trunk: nn.Module | None,
    store: Path,
) -> tuple[PictureNetwork | None, int, int]:
    kept = [row for row in rows if row.modality == "image"]
    if trunk is None or not kept:
        return None, 0, 0
    network = PictureNetwork()
    network.trunk.load_state_dict(restored(rounded(trunk.state_dict())))
    network.eval()
    items = pictures_towards(kept, captions, settings.weights)
    views = [picture_features(network, items.media, store, view) for view in range(settings.views)]
    agrees = _agreeing(views[0], items, captions, settings)
    matched = Matched(
        np.concatenate([view[agrees] for view in views]),
        np.tile(items.means[agrees], (len(views), 1)),
        np.tile(items.weights[agrees], len(views)),
    )
    _fill(network.head, *fit_head(matched, some_captions(kept, captions), settings.picture))
    return network, int(agrees.sum()), int((~agrees).sum())


def _agreeing(
    features: Floats, items: Toward, captions: Captions, settings: MediaTrainSettings
) -> np.ndarray:
    """Which pictures have captions that suit them no worse than chance allows."""

    def fit(x: Floats, y: Floats) -> Callable[[Floats], Floats]:
        """A head of the features and captions given."""
        matrix, bias = fit_head(Matched(x, y, np.ones(len(x), np.float32)), y, settings.picture)
        return lambda given: cut(given @ matrix.T + bias, matrix.shape[0])

    means = cut(items.means, items.means.shape[1])
    found = disagreement(features, means, items.keys, fit)
    return np.asarray(found <= settings.most_disagreement)


def _sound(
    settings: MediaTrainSettings,
    rows: Sequence[Document],
    captions: Captions,
    trunk: nn.Module | None,
    store: Path,
) -> tuple[SoundNetwork | None, int]:
    kept = [row for row in rows if row.modality == "audio"]
    if trunk is None or not kept:
        return None, 0
    network = SoundNetwork(settings.parts)
    network.trunk.load_state_dict(restored(rounded(trunk.state_dict())))
    network.eval()
    items = sounds_towards(rows, captions, settings.weights, settings.own)
    quick = SoundNetwork(settings.parts)
    quick.load_state_dict(network.state_dict())
    with_int8_linears(quick.eval().trunk)
    features = sound_features(quick, items.media, store)
    matched = Matched(features, items.means, items.weights)
    _fill(network.head, *fit_head(matched, some_captions(kept, captions), settings.sound))
    return network, len(items.media)


def _fill(head: nn.Linear, matrix: Floats, bias: Floats) -> None:
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(matrix))
        head.bias.copy_(torch.from_numpy(bias))


def _trunks(settings: MediaTrainSettings) -> tuple[nn.Module | None, nn.Module | None]:
    if settings.start is not None:
        _, picture, sound = read_media(settings.start.expanduser())
        return (picture.trunk if picture else None), (sound.trunk if sound else None)
    pictures = picture_trunk(_folder(settings.picture_trunk, settings)) if settings.picture_trunk else None
    folders = [_folder(name, settings) for name in settings.sound_trunk]
    return pictures, (sound_trunk(folders) if folders else None)


def _folder(name: str, settings: MediaTrainSettings) -> Path:
    """A folder of one's own, or the unpacked package."""
    if (own := Path(name).expanduser()).is_dir():
        return own
    cache = settings.cache.expanduser()
    return archives.opened_archive(registries.fetched_pypi(name, cache), cache)
