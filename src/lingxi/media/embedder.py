"""The face of lingxi-nano-vl: texts, pictures, sound and mixtures of them to unit vectors of one space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch

from lingxi import pictures, vectors
from lingxi.embedder import Embedder
from lingxi.engine.linears import with_int8_linears
from lingxi.errors import InputError, ModelError
from lingxi.media.sounds import Sound, is_sound, open_sound, without_silence
from lingxi.model.files import hash_weights, locate
from lingxi.model.media_files import read_media
from lingxi.model.picture import SIDE
from lingxi.model.sound import log_mel

if TYPE_CHECKING:
    from PIL.Image import Image

Item = TypeVar("Item")
Kind = Literal["text", "image", "audio"]
DEFAULT_MEDIA = "lingxi-nano-vl"
_BATCH = 16
# Sounds of a batch are as long together as this many seconds at most.
_BATCH_SECONDS = 60.0
_MIXED: tuple[Kind, ...] = ("text", "image", "audio")


class MediaEmbedder:
    """Texts, pictures and sound to unit vectors, float32 [n, dim], of one space.

    `path` is a directory written by `model.media_files` (default: the shipped one); `text` an open text
    model in place of the one the directory names; `weights="int8"` computes sound by the int8 kernels.

    An input is a string (always a text), a path of a picture or of a sound (by its ending), a PIL picture,
    bytes of either, a `Sound`, `{"array", "sampling_rate"}`, or a mixture
    `{"text": …, "image": …, "audio": …}` whose vector is the normalised mean of its parts'. Raises
    ModelError where the directory and the text model do not belong together.
    """

    def __init__(
        self, path: str | Path | None = None, *, text: Embedder | None = None, weights: str | None = None
    ) -> None:
        if weights not in (None, "int8"):
            raise InputError(f"weights is {weights!r}", "leave it out, or choose int8")
        self.name = str(path or DEFAULT_MEDIA)
        self.directory = locate(self.name)
        self.config, self._pictures, self._sounds = read_media(self.directory)
        self.weights = weights or "float32"
        if weights == "int8" and self._sounds is not None:
            with_int8_linears(self._sounds.trunk)
        self.text = text if text is not None else Embedder(self.config.text_model)
        if hash_weights(self.text.directory) != self.config.text_hash:
            raise ModelError(
                f"{self.name} maps into the space of another {self.config.text_model} than {self.text.name}",
                "open it with the text model it was trained for",
            )
        self.dim = self.text.dim

    @property
    def has_pictures(self) -> bool:
        """Whether the directory holds a picture encoder."""
        return self._pictures is not None

    @property
    def has_sounds(self) -> bool:
        """Whether the directory holds a sound encoder."""
        return self._sounds is not None

    def encode(
        self, inputs: Any, *, instruction: str | None = None, prompt_name: str | None = None
    ) -> vectors.Floats:
        """Unit vectors [n, dim] of a list of inputs of any kinds, or [dim] of one input.

        `instruction` and `prompt_name` are the text model's and change texts alone. Raises InputError for
        an input that is none of the kinds above, or cannot be opened.
        """
        single = not isinstance(inputs, list | tuple)
        items = [inputs] if single else list(inputs)
        out = np.zeros((len(items), self.dim), np.float32)
        kinds = [kind_of(item) for item in items]
        for kind in _MIXED:
            places = [place for place, found in enumerate(kinds) if found == kind]
            if places:
                chosen = [items[place] for place in places]
                out[places] = self._encoded(kind, chosen, instruction, prompt_name)
        for place, found in enumerate(kinds):
            if found == "mixed":
                out[place] = self._mixed(items[place], instruction, prompt_name)
        return out[0] if single else out

    def encode_query(self, inputs: Any, *, instruction: str | None = None) -> vectors.Floats:
        """`encode`, texts with the text model's query prompt, or with `instruction` as the task."""
        return self.encode(inputs, instruction=instruction, prompt_name=None if instruction else "query")

    def encode_document(self, inputs: Any) -> vectors.Floats:
        """`encode`, texts as documents."""
        return self.encode(inputs, prompt_name="document")

    def encode_pictures(self, items: Iterable[Any]) -> vectors.Floats:
        """Unit vectors [n, dim] of pictures: paths, bytes or PIL pictures, in batches of 16."""
        return self.encode_pixels(pixels_of(picture_of(item)) for item in items)

    def encode_pixels(self, items: Iterable[torch.Tensor]) -> vectors.Floats:
        """Unit vectors [n, dim] of pictures as `pixels_of` makes them, in batches of 16."""
        parts = []
        for batch in batches(items, _BATCH):
            if self._pictures is None:
                raise ModelError(f"{self.name} has no picture encoder", "use another directory")
            pixels = torch.stack(batch).contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                parts.append(self._pictures(pixels).numpy())
        return self._cut(parts)

    def encode_sounds(self, items: Iterable[Any]) -> vectors.Floats:
        """Unit vectors [n, dim] of sounds, each of its first 30 seconds."""
        parts = []
        for batch in batches((sound_of(item) for item in items), _BATCH):
            if self._sounds is None:
                raise ModelError(f"{self.name} has no sound encoder", "use another directory")
            parts.append(self._heard([sound.samples for sound in batch]))
        return self._cut(parts)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What inputs may be: text, and what the directory has an encoder of."""
        there = {"text": True, "image": self._pictures is not None, "audio": self._sounds is not None}
        return tuple(kind for kind, is_there in there.items() if is_there)

    def similarity(self, a: vectors.Floats, b: vectors.Floats) -> vectors.Floats:
        """Cosine of every row of `a` with every row of `b`: [n, m]."""
        return vectors.similarity(a, b)

    def fingerprint(self) -> dict[str, Any]:
        """What vectors of pictures and sound depend on: the weights of both networks and the text model's."""
        return {
            "media": self.name,
            "text": self.config.text_hash,
            "weights": _hash(self.directory),
            "computed": self.weights,
        }

    def _encoded(
        self, kind: Kind, items: list[Any], instruction: str | None, prompt: str | None
    ) -> vectors.Floats:
        if kind == "text":
            return np.asarray(self.text.encode(items, instruction=instruction, prompt_name=prompt))
        return self.encode_pictures(items) if kind == "image" else self.encode_sounds(items)

    def _mixed(self, item: Mapping[str, Any], instruction: str | None, prompt: str | None) -> vectors.Floats:
        parts = [
            self._encoded(kind, [item[kind]], instruction, prompt)[0]
            for kind in _MIXED
            if item.get(kind) is not None
        ]
        mean: vectors.Floats = np.stack(parts).mean(axis=0, keepdims=True)
        out: vectors.Floats = vectors.cut(mean, self.dim)[0]
        return out

    def _heard(self, clips: Sequence[vectors.Floats]) -> vectors.Floats:
        """Vectors of clips, like lengths together so that little is padded."""
        spectrograms = [log_mel(torch.from_numpy(without_silence(clip).copy())) for clip in clips]
        order = sorted(range(len(clips)), key=lambda place: spectrograms[place].shape[1])
        out = np.zeros((len(clips), self.config.dim), np.float32)
        for places in _alike(order, [item.shape[1] for item in spectrograms]):
            batch, frames = padded([spectrograms[place] for place in places])
            with torch.inference_mode():
                out[places] = self._sounds(batch, frames).numpy()  # type: ignore[misc]
        return out

    def _cut(self, parts: list[vectors.Floats]) -> vectors.Floats:
        whole = np.concatenate(parts) if parts else np.zeros((0, self.config.dim), np.float32)
        return vectors.cut(whole, self.dim)


def kind_of(item: Any) -> str:
    """ "text", "image", "audio" or "mixed"; raises InputError for what is none of them."""
    if isinstance(item, str):
        return "text"
    if isinstance(item, Path):
        return _kind_of_path(item)
    if isinstance(item, bytes | bytearray):
        return (
            "audio"
            if item[:4] in (b"RIFF", b"OggS", b"fLaC", b"ID3\x03", b"ID3\x04") and item[8:12] != b"WEBP"
            else "image"
        )
    if isinstance(item, Sound):
        return "audio"
    if isinstance(item, Mapping):
        return _kind_of_mapping(item)
    if hasattr(item, "convert") and hasattr(item, "size"):
        return "image"
    raise InputError(
        f"a {type(item).__name__} is no text, picture or sound",
        "give a string, a Path, a PIL picture, bytes, or a dict",
    )


def _kind_of_path(path: Path) -> str:
    if pictures.is_picture_name(path.name):
        return "image"
    if is_sound(path):
        return "audio"
    raise InputError(f"{path}: neither a picture nor a sound by its ending", "rename it, or give its text")


def _kind_of_mapping(item: Mapping[str, Any]) -> str:
    if "array" in item:
        return "audio"
    unknown = set(item) - set(_MIXED)
    if unknown or not any(item.get(kind) is not None for kind in _MIXED):
        raise InputError(f"a mixture with the keys {sorted(item)}", f"use some of {', '.join(_MIXED)}")
    return "mixed"


def picture_of(item: Any) -> Image:
    """A PIL picture of a path, of bytes, or of a PIL picture: RGB and upright; raises InputError."""
    if isinstance(item, bytes | bytearray):
        return pictures.decoded(bytes(item), "picture")
    if isinstance(item, str | Path):
        return pictures.opened(item)
    return pictures.upright(item)


def sound_of(item: Any) -> Sound:
    """A `Sound` of anything `open_sound` opens, or itself."""
    return item if isinstance(item, Sound) else open_sound(item)


def pixels_of(picture: Image) -> torch.Tensor:
    """Pixels [3, 160, 160] in -1…1: the whole picture, in its proportions, on white."""
    from PIL import Image as library

    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    square = library.new("RGB", (SIDE, SIDE), (255, 255, 255))
    fitted = picture.resize(size, library.Resampling.BILINEAR, reducing_gap=3.0)
    square.paste(fitted, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    values = np.asarray(square, np.float32).transpose(2, 0, 1)
    return torch.from_numpy((values - 127) / 128)


def padded(spectrograms: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Spectrograms [80, t] as one batch [n, 80, most t], silence after each, and the frames each holds."""
    frames = torch.tensor([item.shape[1] for item in spectrograms])
    batch = torch.full((len(spectrograms), spectrograms[0].shape[0], int(frames.max())), -1.5)
    for row, item in enumerate(spectrograms):
        batch[row, :, : item.shape[1]] = item
    return batch, frames


def _alike(order: list[int], lengths: list[int]) -> Iterator[list[int]]:
    """Runs of places, in order of length, none longer together than a batch may be."""
    batch: list[int] = []
    for place in order:
        if batch and (len(batch) + 1) * lengths[place] > _BATCH_SECONDS * 100:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items `size` at a time, in their order."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _hash(directory: Path) -> str:
    import hashlib

    digest = hashlib.sha256()
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
