"""Models as systems: an encoder of any library, its vectors cached, cut and quantized as asked.

An `Encoder` turns texts into unit vectors at full width. Vectors are cached by the encoder's fingerprint,
the instruction and the texts, so a second run, another width or another precision embeds nothing again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lingxi import vectors
from lingxi.errors import InputError
from lingxi.evaluate.systems import Candidates, Matrix, Texts

_FORM = re.compile(r"(?P<model>.+?)@(?P<dim>\d+|full)(?::(?P<precision>\w+))?")
# Documents scored at a time: a block of scores for 1,000 queries takes 64 MB.
_BLOCK = 16_384


class Encoder(Protocol):
    """Texts to unit vectors [n, dim] at full width."""

    name: str
    fingerprint: str

    def encode(self, texts: Sequence[str], instruction: str | None) -> Matrix:
        """Vectors of queries of a task, or of documents where `instruction` is None."""


@dataclass(frozen=True, slots=True)
class Form:
    """How vectors are stored: cut to `dim` (None: full width) and coded at a precision."""

    dim: int | None = None
    precision: str = "float32"

    def __str__(self) -> str:
        """As it stands in a system's name: `@256:int8`, or nothing at full width and precision."""
        if self == Form():
            return ""
        return f"@{self.dim or 'full'}" + (f":{self.precision}" if self.precision != "float32" else "")

    def bytes(self, full: int) -> float:
        """Bytes of one stored vector of a model `full` wide."""
        bits = {"float32": 32, "int8": 8, "uint8": 8, "binary": 1, "ubinary": 1}[self.precision]
        return (self.dim or full) * bits / 8


def split_form(name: str) -> tuple[str, Form]:
    """A system's name as model and form; raises InputError for a precision or width that is none."""
    found = _FORM.fullmatch(name)
    if found is None:
        return name, Form()
    dim = None if found["dim"] == "full" else int(found["dim"])
    precision = vectors.check_precision(found["precision"] or "float32")
    if dim is not None and dim < 1:
        raise InputError(f"{name}: a width of {dim}", "choose a width from 1 up")
    return found["model"], Form(dim, precision)


class Dense:
    """An encoder's cosines, at a form, with its vectors cached in a folder (None keeps none)."""

    def __init__(self, encoder: Encoder, cache: Path | None = None, form: Form = Form()) -> None:
        self.encoder = encoder
        self.form = form
        self.name = encoder.name + str(form)
        self.fingerprint = encoder.fingerprint + str(form)
        self._cache = cache
        self._calibration: Matrix | None = None

    def blocks(
        self, queries: Texts, documents: Texts, candidates: Candidates | None = None
    ) -> Iterator[Matrix]:
        """Cosines of blocks of documents; of the corpus only a block is in memory."""
        asked = self.vectors(queries)
        path = self._path(documents)
        if path is None:
            searched = self.vectors(documents)
            for start in range(0, len(documents), _BLOCK):
                yield asked @ searched[start : start + _BLOCK].T
            return
        self._store(documents, path)
        for block in stored_blocks(path, _BLOCK):
            yield asked @ self._formed(block).T

    def compare(self, left: Texts, right: Texts) -> Matrix:
        """Cosines row by row."""
        return np.asarray((self.vectors(left) * self.vectors(right)).sum(axis=1), np.float32)

    def vectors(self, texts: Texts) -> Matrix:
        """Unit vectors [n, dim] in the form asked for, as floats that score as the codes do."""
        path = self._path(texts)
        full = self._encoded(texts) if path is None else self._stored(texts, path)
        return self._formed(full)

    def _formed(self, full: Matrix) -> Matrix:
        dim = self.form.dim or full.shape[1]
        cut = vectors.cut(full, dim)
        if self.form.precision == "float32":
            return cut
        if self.form.precision in ("binary", "ubinary"):
            return np.where(cut > 0, 1.0, -1.0).astype(np.float32) / np.float32(dim**0.5)
        scale = vectors.int8_scale(self._calibrated(), dim)
        return vectors.quantize(cut, "int8", scale).astype(np.float32) * np.float32(scale)

    def _calibrated(self) -> Matrix:
        from lingxi.model.golden import calibration_texts

        if self._calibration is None:
            self._calibration = self.encoder.encode(calibration_texts(), None)
        return self._calibration

    def _encoded(self, texts: Texts) -> Matrix:
        if not len(texts):
            return np.zeros((0, self.encoder.encode(["x"], None).shape[1]), np.float32)
        if not isinstance(texts.instruction, tuple):
            return self._checked(texts.texts, texts.instruction)
        owners: dict[str, list[int]] = {}
        for place, own in enumerate(texts.instruction):
            owners.setdefault(own, []).append(place)
        parts = [self._checked([texts.texts[i] for i in at], own) for own, at in owners.items()]
        order = np.argsort([i for at in owners.values() for i in at])
        return np.concatenate(parts)[order].astype(np.float32)

    def _checked(self, texts: Sequence[str], instruction: str | None) -> Matrix:
        found = np.asarray(self.encoder.encode(texts, instruction), np.float32)
        if found.ndim != 2 or len(found) != len(texts) or not np.isfinite(found).all():
            raise InputError(
                f"{self.name} gave no vector, or one without end, for some of {len(texts)} texts",
                "check the model: nothing can be measured with it",
            )
        return found

    def _path(self, texts: Texts) -> Path | None:
        if self._cache is None:
            return None
        digest = hashlib.sha256(repr((self.encoder.fingerprint, texts.instruction, len(texts))).encode())
        for text in texts.texts:
            digest.update(hashlib.sha256(text.encode("utf-8", "replace")).digest())
        return self._cache / f"{digest.hexdigest()[:32]}.npy"

    def _stored(self, texts: Texts, path: Path) -> Matrix:
        self._store(texts, path)
        return np.asarray(np.load(path), np.float32)

    def _store(self, texts: Texts, path: Path) -> None:
        """Write the vectors of texts, a block at a time, where they are not stored yet."""
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two runs may share the cache: each writes its own file, and the last one stands.
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            for start in range(0, max(1, len(texts)), _BLOCK):
                block = self._encoded(_slice(texts, start, start + _BLOCK))
                if not start:
                    header = {"descr": "<f4", "fortran_order": False, "shape": (len(texts), block.shape[1])}
                    np.lib.format.write_array_header_1_0(file, header)
                np.ascontiguousarray(block, "<f4").tofile(file)
        partial.replace(path)


def _slice(texts: Texts, start: int, stop: int) -> Texts:
    said = texts.instruction
    return Texts(texts.texts[start:stop], said[start:stop] if isinstance(said, tuple) else said)


def stored_blocks(path: Path, rows: int) -> Iterator[Matrix]:
    """Rows of a matrix stored by `np.save`, some at a time, read rather than mapped into memory."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read_header: Any = getattr(np.lib.format, f"read_array_header_{version[0]}_{version[1]}")
        (count, width), _, kind = read_header(file)
        for start in range(0, count, rows):
            size = min(rows, count - start) * width
            yield np.fromfile(file, dtype=kind, count=size).reshape(-1, width).astype(np.float32)
