"""Vectors of an open teacher model, rotated so that their leading components carry the most.

The teacher is read from a Python package (extra `teachers`), its vectors are cached in the run
folder, and neither is shipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import MissingExtraError
from lingxi.train.settings import TeacherSettings


@dataclass(frozen=True, slots=True)
class Teacher:
    """Cached teacher vectors: `rows[key_of(text)]` is a row of `vectors` [texts, dim], fp16 unit length."""

    rows: dict[bytes, int]
    vectors: NDArray[np.float16]

    def row(self, text: str) -> int:
        """Row of a text's vector, or −1 where the teacher did not read it."""
        return self.rows.get(key_of(text), -1)


def key_of(text: str) -> bytes:
    """Key a text is cached under."""
    return hashlib.blake2b(text.encode(), digest_size=12).digest()


def read_teacher(texts: Sequence[str], settings: TeacherSettings, cache: Path) -> Teacher | None:
    """Vectors of `texts` (the first `max_texts` of them), cached; None without a package."""
    if settings.package is None:
        return None
    texts = texts[: settings.max_texts]
    keys = [key_of(t) for t in texts]
    stamp = hashlib.sha256(b"".join(keys) + settings.model_dump_json().encode()).hexdigest()[:16]
    path = cache / f"teacher-{stamp}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".partial").open("wb") as file:
            np.save(file, rotated(_encode(texts, settings)))
        path.with_suffix(".partial").rename(path)
    return Teacher({key: i for i, key in enumerate(keys)}, np.load(path))


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


def _encode(texts: Sequence[str], settings: TeacherSettings) -> NDArray[Any]:
    try:
        from sentence_transformers import SentenceTransformer

        package = import_module(str(settings.package))
    except ImportError as error:
        raise MissingExtraError(
            error.name or str(settings.package), "teachers", "training from a teacher"
        ) from None
    model = SentenceTransformer(str(package.get_model_path()), device="cpu")
    model.max_seq_length = settings.max_tokens
    return np.asarray(model.encode(list(texts), batch_size=64, show_progress_bar=False))
