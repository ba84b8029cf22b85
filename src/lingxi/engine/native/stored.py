"""Packed weights in a file beside a model, mapped: it opens at once, and processes share its pages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lingxi.engine.native.packing import Fresh, Stored
from lingxi.errors import ModelError

# Raised when panels, mixing or names change: a file of another layout is left alone, its model packed anew.
LAYOUT = 1
_LINE = 64  # bytes of a cache line; tensors begin on one
_SAMPLES, _SAMPLE = 64, 4096


def packed_file(directory: Path, precision: str) -> Path:
    """Where packed weights of a precision stand; the name is none that others take for a checkpoint."""
    return directory / f"packed-{precision}.lingxi"


def write_packed(fresh: Fresh, directory: Path) -> Path:
    """Write what was packed beside the model it was made from; returns the file."""
    path = packed_file(directory, fresh.precision)
    about = {"layout": str(LAYOUT), "model": _sampled(directory), "shapes": json.dumps(fresh.shapes)}
    parts = {name: tensor.contiguous() for name, tensor in fresh.packed.items()}
    found = memoryview(save(parts, about))
    end = 8 + int.from_bytes(found[:8], "little")
    room = -end % _LINE  # the data begins on a cache line, and all that is large with it
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        file.writelines(((end - 8 + room).to_bytes(8, "little"), found[8:end], b" " * room, found[end:]))
    draft.replace(path)
    return path


def read_packed(directory: Path, precision: str) -> Stored | None:
    """The packed weights beside a model, mapped; None where there are none of this layout and model."""
    path = packed_file(directory, precision)
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("layout") != str(LAYOUT) or about.get("model") != _sampled(directory):
                return None
            tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Stored(tensors, json.loads(about["shapes"]))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ModelError(
            f"{path}: cannot be read ({error})", "delete it, or make it again with `lingxi models quantize`"
        ) from None


def _sampled(directory: Path) -> str:
    """Tells one model's weights from another's by samples: to read all would take as long as to pack them."""
    digest = hashlib.sha256()
    for path in [directory / "config.json", *sorted(directory.glob("*.safetensors"))]:
        size = path.stat().st_size
        digest.update(str(size).encode())
        with path.open("rb") as file:
            for place in _places(size):
                file.seek(place)
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def _places(size: int) -> Iterator[int]:
    step = max(size // _SAMPLES, _SAMPLE)
    return iter(range(0, size, step))
