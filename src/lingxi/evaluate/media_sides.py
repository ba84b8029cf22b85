"""What an evaluation knows of training: learned captions, pictures and speakers; and text vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from lingxi.curate.media import key_of
from lingxi.records import Document
from lingxi.vectors import Floats


class Encoder(Protocol):
    """What is measured: vectors of all kinds in one space."""

    def encode_query(self, inputs: Any) -> Floats:
        """Vectors of texts that ask."""

    def encode_document(self, inputs: Any) -> Floats:
        """Vectors of texts that are found."""

    def encode_pictures(self, items: Any) -> Floats:
        """Vectors of pictures."""

    def encode_sounds(self, items: Any) -> Floats:
        """Vectors of sounds."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """Captions, pictures' places and speakers of the rows that were trained on, and the rows."""

    captions: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    speakers: frozenset[str] = frozenset()
    rows: Sequence[Document] = ()


def learned_from(rows: Sequence[Document]) -> Learned:
    """What rows of training taught."""
    return Learned(
        frozenset(row.text for row in rows),
        frozenset(key_of(row) for row in rows),
        frozenset(row.title for row in rows if row.modality == "audio" and row.title),
        rows,
    )


@dataclass(slots=True, eq=False)
class Vectors:
    """Vectors of texts by an encoder, each text once."""

    encode: Callable[[list[str]], Floats]
    _held: dict[str, Floats] = field(default_factory=dict)

    def of(self, texts: Iterable[str]) -> Floats:
        """Vectors [n, dim] of texts, in their order."""
        wanted = list(texts)
        fresh = [text for text in dict.fromkeys(wanted) if text not in self._held]
        if fresh:
            self._held |= dict(zip(fresh, self.encode(fresh), strict=True))
        return np.stack([self._held[text] for text in wanted])


def unit(values: Floats) -> Floats:
    """Rows of length 1."""
    out: Floats = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return out
