"""Published trunks of pictures and sound, read from the packages that hold them.

The picture trunk is a PyTorch checkpoint of EfficientNet-Lite0 (`*.pth`), read without running anything in
it. The sound trunk is Whisper's base encoder in CTranslate2's file (`model.bin`, or its parts in several
packages): a version, a name, then each tensor with its name, shape, type and bytes.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lingxi.errors import ModelError
from lingxi.model.picture import Trunk, folded
from lingxi.model.sound import LAYERS, SoundTrunk

_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_FIX = "name the packages that recipes/nano-vl.toml names"
_MOST_NAME, _MOST_RANK = 512, 4


def picture_trunk(folder: Path) -> Trunk:
    """The trunk of the one `*.pth` below a folder; raises ModelError where it is none."""
    found = sorted(folder.rglob("*.pth"))
    if len(found) != 1:
        raise ModelError(f"{folder} holds {len(found)} checkpoints (*.pth)", _FIX)
    try:
        tensors = torch.load(found[0], map_location="cpu", weights_only=True)
        trunk = Trunk()
        trunk.load_state_dict(folded(tensors))
    except (pickle.UnpicklingError, RuntimeError, KeyError, ValueError, OSError, EOFError) as problem:
        said = str(problem).partition(chr(10))[0]
        raise ModelError(f"{found[0]}: no EfficientNet-Lite0 ({said})", _FIX) from None
    return trunk.eval()


def sound_trunk(folders: Sequence[Path]) -> SoundTrunk:
    """The trunk of `model.bin` or its parts below folders; raises ModelError where they are none."""
    paths = sorted((path for folder in folders for path in folder.rglob("model.bin*")), key=lambda p: p.name)
    if not paths:
        raise ModelError(f"no model.bin below {', '.join(map(str, folders))}", _FIX)
    data = b"".join(path.read_bytes() for path in paths)
    try:
        held = dict(tensors_of(data))
        trunk = SoundTrunk()
        trunk.load_state_dict({ours: held[f"encoder/{theirs}"].float() for ours, theirs in _names()})
    except (struct.error, KeyError, ValueError, RuntimeError) as problem:
        raise ModelError(f"{paths[0]}: no Whisper base in CTranslate2's format ({problem})", _FIX) from None
    return trunk.eval()


def tensors_of(data: bytes) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of each variable of a CTranslate2 model file; raises ValueError where it ends early."""
    reader = _Reader(data)
    reader.number("I")
    reader.text()
    reader.number("I")
    for _ in range(reader.number("I")):
        name = reader.text()
        rank = reader.number("B")
        if rank > _MOST_RANK:
            raise ValueError(f"{name} has {rank} dimensions")
        shape = [reader.number("I") for _ in range(rank)]
        kind, size = reader.number("B"), reader.number("I")
        if kind not in _TYPES:
            raise ValueError(f"{name} has the unknown type {kind}")
        values = np.frombuffer(reader.bytes(size), _TYPES[kind])
        yield name, torch.from_numpy(values.reshape(shape).copy())


class _Reader:
    """Little-endian numbers and zero-ended texts from bytes, in order."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def bytes(self, size: int) -> bytes:
        found = self._data[self._place : self._place + size]
        if len(found) < size:
            raise ValueError("the file ends early")
        self._place += size
        return found

    def number(self, kind: str) -> int:
        return int(struct.unpack(f"<{kind}", self.bytes(struct.calcsize(kind)))[0])

    def text(self) -> str:
        size = self.number("H")
        if size > _MOST_NAME:
            raise ValueError(f"a name of {size} bytes")
        return self.bytes(size).rstrip(b"\0").decode("utf-8")


def _names() -> Iterable[tuple[str, str]]:
    for ours, theirs in (("first", "conv1"), ("second", "conv2")):
        yield from ((f"{ours}.{part}", f"{theirs}/{part}") for part in ("weight", "bias"))
    yield from _norm("norm", "layer_norm")
    for n in range(LAYERS):
        yield from _norm(f"layers.{n}.before_attention", f"layer_{n}/self_attention/layer_norm")
        yield from _norm(f"layers.{n}.before_perceptron", f"layer_{n}/ffn/layer_norm")
        for ours, theirs in (
            ("inputs", "self_attention/linear_0"),
            ("outputs", "self_attention/linear_1"),
            ("up", "ffn/linear_0"),
            ("down", "ffn/linear_1"),
        ):
            yield from ((f"layers.{n}.{ours}.{p}", f"layer_{n}/{theirs}/{p}") for p in ("weight", "bias"))


def _norm(ours: str, theirs: str) -> Iterable[tuple[str, str]]:
    return ((f"{ours}.weight", f"{theirs}/gamma"), (f"{ours}.bias", f"{theirs}/beta"))
