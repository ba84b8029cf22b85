"""Who embeds pictures for an index: a model of pictures and sound, or an embedder that reads pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lingxi.embedder import Embedder
from lingxi.errors import InputError
from lingxi.index.build import AddReport, NothingError, Progress
from lingxi.index.generations import holds_media
from lingxi.index.index import Index
from lingxi.index.media import Encodes, MediaIndex, MediaReport, kind_of_name
from lingxi.media import MediaEmbedder
from lingxi.vectors import Floats


class Seeing:
    """An embedder that reads pictures (Qwen3-VL-Embedding) as an index of pictures asks it."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._embedder.dim

    def encode_query(self, inputs: Any, *, instruction: str | None = None) -> Floats:
        """Unit vectors of queries: a string is a text, whatever it says; paths are pictures."""
        items = [{"text": item} if isinstance(item, str) else item for item in inputs]
        return np.asarray(self._embedder.encode_query(items, instruction=instruction), np.float32)

    def encode_pictures(self, items: Iterable[Any]) -> Floats:
        """Unit vectors of pictures: paths or PIL pictures."""
        found = self._embedder.encode_document(list(items), show_progress_bar=False)
        return np.asarray(found, np.float32)

    def encode_sounds(self, items: Iterable[Any]) -> Floats:
        """InputError: such a model hears nothing."""
        raise InputError(
            f"{self._embedder.name} hears nothing", "index sound by a model of pictures and sound"
        )

    def fingerprint(self) -> Mapping[str, Any]:
        """That of the embedder."""
        return self._embedder.fingerprint()


def encoder_of(model: Any) -> Encodes | None:
    """Who embeds pictures where `model` is what an index is opened with; None for a model of texts."""
    if isinstance(model, MediaEmbedder):
        return model
    return Seeing(model) if isinstance(model, Embedder) and model.vision is not None else None


def texts_of(model: Any) -> Any:
    """Who embeds the texts of an index that `model` opens: of one of pictures and sound its text model."""
    return model.text if isinstance(model, MediaEmbedder) else model


def add_all(
    index: Index,
    media: MediaIndex | None,
    paths: Sequence[str | Path],
    on_progress: Progress | None = None,
    *,
    pages: bool = False,
) -> tuple[AddReport, MediaReport | None]:
    """Bring both halves of an index to what `paths` hold: passages, then pictures, sound and `pages`.

    What the second half takes is no skipped file of the first. Raises InputError where neither finds
    anything, and as both do.
    """
    if media is None:
        return index.add(paths, on_progress), None
    try:
        report, nothing = index.add(paths, on_progress), None
    except NothingError as error:
        report, nothing = AddReport(), error
    seen = media.add(paths, on_progress or _silent, pages=pages)
    if nothing is not None and not seen.added + seen.kept + seen.removed:
        raise nothing
    report.skipped = [item for item in report.skipped if kind_of_name(item.path) not in ("image", "audio")]
    return report, seen


def _silent(done: int, total: int) -> None:
    return


def media_in(place: str | Path, model: Any) -> MediaIndex | None:
    """The pictures and sound of an index that `model` opens; None where there are none, or it reads texts.

    Raises StoreError where another model made them.
    """
    encoder = encoder_of(model)
    return MediaIndex(place, encoder) if encoder is not None and holds_media(place) else None
