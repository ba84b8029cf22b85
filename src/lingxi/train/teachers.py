"""Vectors of an open teacher model, rotated so that their leading components carry the most.

The teacher is read from a Python package (extra `teachers`), its vectors are cached in the run
folder, and neither is shipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi import manifest
from lingxi.embedder import Embedder
from lingxi.train.feeding import CHARACTERS_A_TOKEN
from lingxi.train.files import save_whole
from lingxi.train.packaged import teacher_directory
from lingxi.train.phases import ContrastiveSettings
from lingxi.train.settings import TeacherSettings
from lingxi.train.store import Store
from lingxi.train.taught import key_of, to_read

# Texts read at a time.
_PART = 4_000


@dataclass(frozen=True, slots=True)
class Teacher:
    """Cached teacher vectors: `rows[key_of(text)]` is a row of `vectors` [texts, dim], fp16 unit length."""

    rows: dict[bytes, int]
    vectors: NDArray[np.float16]

    def row(self, text: str) -> int:
        """Row of a text's vector, or −1 where the teacher did not read it."""
        return self.rows.get(key_of(text), -1)


def read_teacher(
    store: Store, settings: TeacherSettings, cache: Path, phases: Sequence[ContrastiveSettings] = ()
) -> Teacher | None:
    """Vectors of texts of a store that are worth most, cached; None without a package.

    `phases` are those that it teaches. A run that was stopped goes on after the texts it has read. Raises
    MissingExtraError where the package is not installed, and InputError where it is no teacher or has nothing
    to read.
    """
    if settings.package is None:
        return None
    # Which texts those are takes a look at every row: it is found out once for a store.
    asked = {"max_texts": settings.max_texts, "reads": settings.reads}
    mixtures = [phase.mixture.model_dump(mode="json") for phase in phases if settings.reads == "drawn"]
    made = manifest.key_of("texts", {"store": store.key}, {**asked, "mixtures": mixtures}, "")
    index, texts = cache / f"texts-{made}.npy", None
    if not index.exists():
        texts = to_read(store, settings, phases)
        save_whole(index, np.frombuffer(b"".join(map(key_of, texts)), np.uint8).reshape(len(texts), -1))
    keys = np.load(index)
    read = settings.model_dump_json(include={"package", "rotated", "max_tokens"})
    stamp = hashlib.sha256(keys.tobytes() + read.encode()).hexdigest()[:16]
    path = cache / f"teacher-{stamp}.npy"
    if not path.exists():
        texts = texts or to_read(store, settings, phases)
        vectors = _encoded(texts, settings, cache, f"parts-{stamp}")
        save_whole(path, rotated(vectors) if settings.rotated else vectors)
    return Teacher({key.tobytes(): i for i, key in enumerate(keys)}, np.load(path, mmap_mode="r"))


def rotated(vectors: NDArray[Any]) -> NDArray[np.float16]:
    """Centre, rotate by the principal axes (largest first) and normalise: [n, dim] fp16.

    Cosines between rows hardly change, and a prefix of the components keeps most of them: a
    target that Matryoshka widths can follow.
    """
    centred = vectors.astype(np.float32) - vectors.mean(0, dtype=np.float32)
    _, axes = np.linalg.eigh(centred.T @ centred)
    turned = centred @ axes[:, ::-1]
    unit = turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-9)
    return np.asarray(unit, dtype=np.float16)


def _encoded(texts: Sequence[str], settings: TeacherSettings, cache: Path, parts: str) -> NDArray[Any]:
    """Vectors [texts, dim], a part at a time, so that hours of reading survive a stop."""
    package = str(settings.package)
    directory, before = teacher_directory(package, cache / package)
    rounded = None if torch.cuda.is_available() else "int8"
    model = Embedder(directory, weights=rounded, max_seq_length=settings.max_tokens)
    most = settings.max_tokens * CHARACTERS_A_TOKEN
    found = []
    for start in range(0, len(texts), _PART):
        path = cache / parts / f"{start:09d}.npy"
        if not path.exists():
            short = [text[:most] for text in texts[start : start + _PART]]
            vectors = model.encode(short, prompt=before, show_progress_bar=False)
            save_whole(path, np.asarray(vectors, np.float16))
        found.append(np.load(path))
    return np.concatenate(found)
