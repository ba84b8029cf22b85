"""Pictures, sound and pages beside the passages of a served index, and what a browser gets to see of them.

Nothing of a file is given out as it is: a picture or page comes as a small JPEG made from its pixels, a sound
as a WAV of the samples that the model hears (16 kHz, at most half a minute). So what a browser opens was
written here, whatever the file pretends to be; a file that is not the one that was indexed is not opened.
"""

from __future__ import annotations

import io
import warnings
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock

from lingxi.errors import InputError, LingxiWarning, MissingExtraError
from lingxi.index.media import MediaFile, MediaHit, MediaIndex
from lingxi.index.media_files import check_unchanged, picture_in
from lingxi.media.sounds import RATE, open_sound
from lingxi.parse.walk import is_below
from lingxi.serve.refusal import Refusal
from lingxi.vectors import Floats

# Pixels of a picture's longer side, of a page's (which is to be read a little), and how many are kept made.
_SIDE, _PAGE, _KEPT = 360, 720, 256


@dataclass(frozen=True, slots=True)
class Shown:
    """What a browser gets of a file: its bytes, made here, and what they are."""

    data: bytes
    type: str


class Shelf:
    """The second half of an index for people who do not see the disk; `told` says a path as they see it."""

    def __init__(self, media: MediaIndex, told: Callable[[str], str]) -> None:
        self._media, self._told = media, told
        self._making = Lock()
        self._made = lru_cache(_KEPT)(_made)

    def nearest(
        self, vector: Floats, *, top_k: int, kinds: Sequence[str] = (), below: Sequence[str] = ()
    ) -> list[MediaHit]:
        """Of each of some kinds the `top_k` nearest to a vector, `below` paths as hits show them."""
        self._media.refresh()

        def among(file: MediaFile) -> bool:
            return not below or any(is_below(self._told(file.path), place.rstrip("/")) for place in below)

        found = self._media.nearest(vector, top_k=top_k, kinds=kinds, among=among)
        return [replace(hit, path=self._told(hit.path)) for hit in found]

    def vector(self, key: str) -> Floats:
        """The vector [dim] of a hit's key; raises Refusal 404."""
        return self._of(key)[1]

    def shown(self, key: str) -> Shown:
        """What a browser gets of a hit's key; raises Refusal 404 where it is gone, changed or damaged."""
        file = self._of(key)[0]
        try:
            check_unchanged(file)
            # One at a time: a large picture takes much memory while it is decoded.
            with self._making:
                return self._made(file)
        except (InputError, MissingExtraError):
            raise _gone("it is gone, has changed since, or cannot be opened") from None

    def _of(self, key: str) -> tuple[MediaFile, Floats]:
        try:
            return self._media.of_key(key)
        except InputError as error:
            raise _gone(error.reason) from None


def _gone(why: str) -> Refusal:
    return Refusal(404, "not_found", f"nothing to show: {why}", "search again", param="key")


def _made(file: MediaFile) -> Shown:
    return _sound(file) if file.kind == "audio" else _picture(file)


def _picture(file: MediaFile) -> Shown:
    side = _PAGE if file.kind == "page" else _SIDE
    picture = picture_in(file)
    picture.thumbnail((side, side))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85)
    return Shown(out.getvalue(), "image/jpeg")


def _sound(file: MediaFile) -> Shown:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LingxiWarning)
        samples = open_sound(Path(file.path)).samples
    out = io.BytesIO()
    with wave.open(out, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(RATE)
        written.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return Shown(out.getvalue(), "audio/wav")
