"""Texts to vectors, as mining, judging and selecting ask for them: whatever the embedder, one function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Encode = Callable[[Sequence[str], str | None], NDArray[np.float32]]
"""Texts to unit vectors [n, dim], under an instruction or (documents) none."""


class Encoder(Protocol):
    """What an embedder has to offer: texts to unit vectors [n, dim]."""

    def encode_query(
        self, inputs: list[str], *, instruction: str | None = None, show_progress_bar: bool | None = None
    ) -> NDArray[Any]:
        """The vectors of queries, under an instruction."""

    def encode_document(self, inputs: list[str], *, show_progress_bar: bool | None = None) -> NDArray[Any]:
        """The vectors of documents."""


def encoder(embedder: Encoder, most: int | None = None, progress: bool | None = False) -> Encode:
    """A function of an embedder that reads at most `most` characters of a text.

    `progress`: whether a bar is shown; None, on a terminal.
    """

    def encode(texts: Sequence[str], instruction: str | None) -> NDArray[np.float32]:
        short = [text[:most] for text in texts]
        if instruction is None:
            found = embedder.encode_document(short, show_progress_bar=progress)
        else:
            found = embedder.encode_query(short, instruction=instruction, show_progress_bar=progress)
        return np.asarray(found, np.float32)

    return encode
