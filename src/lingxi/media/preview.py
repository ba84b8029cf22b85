"""Pictures and sound as a browser gets to see and hear them: made anew here, whatever their files hold.

A picture comes as a small JPEG of its pixels, a sound as a WAV of the samples that the model hears (16 kHz,
at most half a minute). So no byte of a stranger's file reaches a browser, and it is what it is called.
"""

from __future__ import annotations

import io
import warnings
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lingxi import pictures
from lingxi.errors import InputError, LingxiWarning
from lingxi.media.sounds import RATE, Sound, is_sound, open_sound

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 360
"""Pixels of the longer side of a picture that is shown, unless another is asked for."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a browser gets: bytes, and what they are (`image/jpeg` or `audio/wav`)."""

    data: bytes
    type: str


def kind_of_file(path: str | Path) -> Literal["image", "audio"] | None:
    """What a file is shown as, by its ending; None for what is neither a picture nor a sound."""
    if pictures.is_picture_name(str(path)):
        return "image"
    return "audio" if is_sound(path) else None


def of_file(path: str | Path, side: int = SIDE) -> Preview:
    """A file as it is shown; raises InputError where it is neither, damaged, or an address."""
    kind = kind_of_file(path)
    if kind is None or "://" in str(path):
        raise InputError(f"{path} is no file of a picture or sound", "give one by its ending")
    if kind == "image":
        return of_picture(pictures.opened(path), side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LingxiWarning)
        return of_sound(open_sound(Path(path)))


def of_picture(picture: Image, side: int = SIDE) -> Preview:
    """An RGB picture as a JPEG whose longer side has at most `side` pixels."""
    small = picture.copy()
    small.thumbnail((side, side))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=85)
    return Preview(out.getvalue(), "image/jpeg")


def of_sound(sound: Sound) -> Preview:
    """A sound as a WAV of 16 bits."""
    out = io.BytesIO()
    with wave.open(out, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(RATE)
        written.writeframes((sound.samples * 32767).round().astype("<i2").tobytes())
    return Preview(out.getvalue(), "audio/wav")
