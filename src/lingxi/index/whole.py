"""Vectors of passages of any length: one that is longer than the model reads is read in parts.

Segments are cut by bytes, for any model; a table of numbers, or code, may be more tokens than a model of 512
takes. Its vector is then the mean of those of its parts, so that no word of it is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

# Room for a prompt before a document.
_PROMPT = 8


class Documents(Protocol):
    """What is asked of an embedder."""

    def encode_document(self, inputs: list[str], *, show_progress_bar: bool | None = None) -> NDArray[Any]:
        """Unit vectors [n, dim] of documents."""


@runtime_checkable
class Counts(Protocol):
    """What an embedder that can say how long a text is offers beside."""

    max_seq_length: int

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, before any cut."""


def whole_vectors(embedder: Documents, texts: Sequence[str]) -> list[NDArray[np.float32]]:
    """Unit vectors [n, dim] of passages; of an embedder that counts no tokens, as it makes them."""
    if not texts:
        return []
    parts = _parts(embedder, texts) if isinstance(embedder, Counts) else [[text] for text in texts]
    found = embedder.encode_document([part for own in parts for part in own], show_progress_bar=False)
    bounds = [0, *accumulate(map(len, parts))]
    return [_mean(np.asarray(found[start:stop], np.float32)) for start, stop in pairwise(bounds)]


def _parts(embedder: Counts, texts: Sequence[str]) -> list[list[str]]:
    most = embedder.max_seq_length - _PROMPT
    # A token is a byte at least: texts that are short enough in bytes need no counting.
    long = [text for text in texts if len(text.encode()) > most]
    counts = dict(zip(long, embedder.count_tokens(long), strict=True))
    return [[text] if counts.get(text, 0) <= most else _halved(embedder, text, most) for text in texts]


def _halved(embedder: Counts, text: str, most: int) -> list[str]:
    if len(text) < 2 or embedder.count_tokens([text])[0] <= most:
        return [text]
    middle = _gap(text)
    return [part for half in (text[:middle], text[middle:]) for part in _halved(embedder, half, most)]


def _gap(text: str) -> int:
    """A place to cut near the middle: after a line, else after a word, else the middle itself."""
    half = len(text) // 2
    return next((i + 1 for gap in "\n " if (i := text.rfind(gap, half // 2, half)) >= 0), half)


def _mean(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    if len(vectors) == 1:
        return np.asarray(vectors[0])
    mean = vectors.mean(0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)
