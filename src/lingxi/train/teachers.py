"""Vectors of an open teacher model, rotated so that their leading components carry the most.

The teacher is read from a Python package (extra `teachers`), its vectors are cached in the run
folder, and neither is shipped.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi import manifest
from lingxi.errors import InputError, MissingExtraError
from lingxi.parse.code import LANGUAGES
from lingxi.train.feeding import CHARACTERS_A_TOKEN
from lingxi.train.files import save_whole
from lingxi.train.settings import TeacherSettings
from lingxi.train.store import Store

ENGLISH = "en"
_READ = frozenset((*LANGUAGES, ENGLISH))
# Translations of a text that count, and characters of it: neither "OK" nor one long licence is worth most.
_MANY, _LONG = 60, 80
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


def key_of(text: str) -> bytes:
    """Key a text is cached under."""
    return hashlib.blake2b(text.encode(), digest_size=12).digest()


def read_teacher(store: Store, settings: TeacherSettings, cache: Path) -> Teacher | None:
    """Vectors of texts of a store that are worth most, cached; None without a package.

    A run that was stopped goes on after the texts it has read. Raises MissingExtraError where the package is
    not installed, and InputError where it is no teacher or has nothing to read.
    """
    if settings.package is None:
        return None
    # Which texts those are takes a look at every row: it is found out once for a store.
    made = manifest.key_of("texts", {"store": store.key}, {"max_texts": settings.max_texts}, "")
    index, texts = cache / f"texts-{made}.npy", None
    if not index.exists():
        texts = _to_read(store, settings)
        save_whole(index, np.frombuffer(b"".join(map(key_of, texts)), np.uint8).reshape(len(texts), -1))
    keys = np.load(index)
    stamp = hashlib.sha256(keys.tobytes() + settings.model_dump_json().encode()).hexdigest()[:16]
    path = cache / f"teacher-{stamp}.npy"
    if not path.exists():
        texts = texts or _to_read(store, settings)
        save_whole(path, rotated(_encoded(texts, settings, cache / f"parts-{stamp}")))
    return Teacher({key.tobytes(): i for i, key in enumerate(keys)}, np.load(path, mmap_mode="r"))


def _to_read(store: Store, settings: TeacherSettings) -> list[str]:
    texts = teachable(store, settings.max_texts)
    if not texts:
        raise InputError(
            "the teacher reads English and code, of which the pairs have none", "train without train.teacher"
        )
    return texts


def teachable(store: Store, most: int) -> list[str]:
    """Up to `most` texts, each once: English of search and similarity first, then in turn code with its
    comments and what is translated most (longer ones first).
    """
    first: dict[str, None] = {}
    code: dict[str, None] = {}
    translated: Counter[str] = Counter()
    for number in range(len(store)):
        row = store.row(number)
        sides = ((row.query_language, row.query), (row.document_language, row.positives[0].text))
        if row.task == "code":
            if len(code) < most:
                code.update((text, None) for language, text in sides if language in _READ)
        elif row.task != "bitext":
            first.update((text, None) for language, text in sides if language == ENGLISH)
        else:
            translated.update(text for language, text in sides if language == ENGLISH)
    ranked = sorted(translated, key=lambda text: -min(translated[text], _MANY) * min(len(text), _LONG))
    chosen = dict.fromkeys(first)
    for of_code, text in zip_longest(code, ranked):
        chosen.update((each, None) for each in (text, of_code) if each)
        if len(chosen) >= most:
            break
    return list(chosen)[:most]


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


def _encoded(texts: Sequence[str], settings: TeacherSettings, parts: Path) -> NDArray[Any]:
    """Vectors [texts, dim], a part at a time, so that hours of reading survive a stop."""
    try:
        from sentence_transformers import SentenceTransformer

        package = import_module(str(settings.package))
    except ImportError as error:
        raise MissingExtraError(
            error.name or str(settings.package), "teachers", "training from a teacher"
        ) from None
    if not hasattr(package, "get_model_path"):
        raise InputError(
            f"the package {settings.package!r} has no get_model_path(), so it holds no teacher",
            "name a package of a sentence-transformers model as train.teacher.package",
        )
    model = SentenceTransformer(str(package.get_model_path()), device="cpu")
    model.max_seq_length = settings.max_tokens
    found = []
    for start in range(0, len(texts), _PART):
        path = parts / f"{start:09d}.npy"
        if not path.exists():
            most = settings.max_tokens * CHARACTERS_A_TOKEN
            short = [text[:most] for text in texts[start : start + _PART]]
            vectors = np.asarray(model.encode(short, batch_size=64, show_progress_bar=False), np.float16)
            save_whole(path, vectors)
        found.append(np.load(path))
    return np.concatenate(found)
