"""The directory of a picture and sound encoder: `config.json` and its networks, 8 bits a weight.

A matrix or kernel of at least 4,096 numbers is kept as whole numbers -127…127 with one step for each output
(`NAME` and `NAME.step`), anything smaller as it is; read back, everything is float32. A network lies in one
or more files below 15 MB (`picture-1.safetensors`, …), so that any host takes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lingxi.errors import ModelError
from lingxi.model.files import read_config, save_tensors
from lingxi.model.media_heads import PictureNetwork, SoundNetwork
from lingxi.model.renamed import name_now

KIND = "lingxi-media"
_LEAST = 4096
_MOST_BYTES = 14_000_000


@dataclass(frozen=True, slots=True)
class MediaConfig:
    """What a directory says of itself: the text model it maps to, and the sizes of its heads."""

    text_model: str
    text_hash: str
    dim: int
    sound_parts: int
    model_type: str = KIND


def is_media_directory(directory: Path) -> bool:
    """Whether a directory holds a picture and sound encoder."""
    try:
        return read_config(directory).get("model_type") == KIND
    except ModelError:
        return False


def write_media(
    directory: Path, config: MediaConfig, picture: nn.Module | None, sound: nn.Module | None
) -> int:
    """Write a directory of the networks there are; returns the bytes of its weights."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(asdict(config), indent=2) + "\n", "utf-8")
    for old in (*directory.glob("picture-*.safetensors"), *directory.glob("sound-*.safetensors")):
        old.unlink()
    for name, network in (("picture", picture), ("sound", sound)):
        if network is None:
            continue
        for number, part in enumerate(_parts(rounded(network.state_dict())), 1):
            save_tensors(part, directory / f"{name}-{number}.safetensors")
    return sum(path.stat().st_size for path in directory.glob("*.safetensors"))


def text_model_of(directory: Path) -> str:
    """The name of the text model whose space a directory maps into; raises ModelError as `read_config`."""
    values = read_config(directory)
    return name_now(str(values["text_model"]), values.get("text_hash"))


def read_media(directory: Path) -> tuple[MediaConfig, PictureNetwork | None, SoundNetwork | None]:
    """The configuration and networks of a directory, float32, ready for inference; raises ModelError."""
    values = read_config(directory)
    if values.get("model_type") != KIND:
        raise ModelError(f"{directory}: no encoder of pictures and sound", f"its model_type is to be {KIND}")
    try:
        config = MediaConfig(**values)
    except TypeError as problem:
        raise ModelError(f"{directory}/config.json: {problem}", "write it with write_media") from None
    config = replace(config, text_model=name_now(config.text_model, config.text_hash))
    picture = _filled(directory, "picture", PictureNetwork)
    sound = _filled(directory, "sound", lambda: SoundNetwork(config.sound_parts))
    return config, picture, sound


def rounded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as they are stored: large ones as int8 with a step a row."""
    out: dict[str, Tensor] = {}
    for name, value in weights.items():
        if value.dim() < 2 or value.numel() < _LEAST:
            out[name] = value.float().contiguous()
            continue
        step = value.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
        shape = (-1,) + (1,) * (value.dim() - 1)
        out[name] = (value / step.view(shape)).round().to(torch.int8).contiguous()
        out[f"{name}.step"] = step.float()
    return out


def restored(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """float32 tensors of those `rounded` made."""
    out: dict[str, Tensor] = {}
    for name, value in stored.items():
        if name.endswith(".step"):
            continue
        step = stored.get(f"{name}.step")
        shape = (-1,) + (1,) * (value.dim() - 1)
        out[name] = value.float() if step is None else value.float() * step.view(shape)
    return out


def _parts(stored: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    part: dict[str, Tensor] = {}
    room = _MOST_BYTES
    for name, value in stored.items():
        size = value.numel() * value.element_size()
        if part and size > room:
            yield part
            part, room = {}, _MOST_BYTES
        part[name] = value
        room -= size
    yield part


def _filled(directory: Path, name: str, build: Any) -> Any:
    paths = sorted(directory.glob(f"{name}-*.safetensors"))
    if not paths:
        return None
    stored: dict[str, Tensor] = {}
    try:
        for path in paths:
            stored |= load_file(path)
        network = build()
        network.load_state_dict(restored(stored))
    except (SafetensorError, OSError, RuntimeError) as problem:
        raise ModelError(
            f"{directory}: {name} weights do not fit ({problem})",
            "copy them again, or make them anew: lingxi media make",
        ) from None
    return network.eval()
