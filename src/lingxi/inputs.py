"""What an input may be beside a text: pictures, videos as frames, and several together, named or given.

The shapes are those of sentence-transformers: a string is a text (or names a picture, see `taken`), a PIL
picture and a `Path` are pictures, a dict holds `text`, `image` and `video`, each one or a list. A video is a
list of its frames, or `{"frames": […], "fps": 2.0}`, or a path of a file (`lingxi.videos`).
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from lingxi import pictures, web
from lingxi.errors import InputError
from lingxi.videos import frames_of, is_video_name

if TYPE_CHECKING:
    from PIL.Image import Image

Source = "str | bytes | Path | Image"
"""A picture, or where one is: a path, a `data:` or http URL, the bytes of a file."""

_RUN, _NUMBERS = token_hex(8), count()
_KEYS = ("text", "image", "video")
_SAY = "pass a text, a picture, a path, or a dict of text, image and video"
# So that about twenty pictures are held at a time.
_PICTURE_WEIGHT = 100_000
FRAME_RATE = 2.0
"""Frames a second of a video that does not say, as the reference takes it."""


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """The frames of a video, in order, and how many of them are a second."""

    frames: tuple[Any, ...]
    rate: float = FRAME_RATE


@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """An input of several things; pictures, frames and sounds are sources, opened when they are looked at.

    As a string it is a name that no other input has: what it holds is not compared.
    """

    texts: tuple[str, ...] = ()
    images: tuple[Any, ...] = ()
    videos: tuple[Video, ...] = ()
    audios: tuple[Any, ...] = ()
    name: str = field(default_factory=lambda: f"\0{next(_NUMBERS)} of {_RUN}")

    def __str__(self) -> str:
        return self.name

    @property
    def is_text(self) -> bool:
        """Whether there is nothing to look at, or to hear."""
        return not self.images and not self.videos and not self.audios

    @property
    def text(self) -> str:
        """All of its texts, one after the other."""
        return "".join(self.texts)


@dataclass(frozen=True, slots=True)
class Access:
    """Where sources may lie: `files` of this machine, `urls` at public addresses; a `data:` URL always may.

    Strings that name what may not be opened are texts; without `named` every string is one.
    """

    files: bool = True
    urls: bool = True
    named: bool = True
    limits: pictures.Limits = pictures.LIMITS


OPEN = Access()
TEXTS = Access(files=False, urls=False, named=False)
"""What others wrote, as in the files of an index: texts, whatever they say."""

M = TypeVar("M")


def texts_alone(model: M) -> M:
    """The model, whose strings are texts: none that names a picture is opened or fetched for it.

    For whoever embeds or judges what others wrote. A model that reads no pictures is given back as it is.
    """
    vision = getattr(model, "vision", None)
    if vision is None:
        return model
    closed: Any = copy.copy(model)
    closed.vision = replace(vision, access=TEXTS)
    return cast(M, closed)


def taken(item: Any, place: int, access: Access = OPEN) -> str | Mixed:
    """An input as it came, as a text or as what it holds; raises InputError naming what is none.

    A string is a text, unless it begins as a `data:image/` URL, or names a picture by its suffix: an http
    URL without spaces, or a file that is there (sentence-transformers' rule). `{"text": …}` is always a text.
    """
    if isinstance(item, str):
        return Mixed(images=(item,)) if _names_picture(item, access) else _plain(item)
    if isinstance(item, Mapping):
        item = _of_dict(item, place, access)
    if isinstance(item, Path) and is_video_name(item):
        return Mixed(videos=(_video(item, place, access),))
    if isinstance(item, Mixed):
        return item.text if item.is_text else item
    if is_picture(item):
        return Mixed(images=(item,))
    raise InputError(f"item {place} is {type(item).__name__}", _SAY)


def all_taken(items: Iterable[Any], access: Access = OPEN) -> Iterator[str | Mixed]:
    """Inputs as `taken`; one string, picture or dict is no list of inputs."""
    if isinstance(items, Mapping) or not isinstance(items, Iterable):
        raise InputError(f"the input is {type(items).__name__}, not inputs", _SAY)
    for place, item in enumerate(items):
        yield taken(item, place, access)


def pictures_in(item: Any) -> int:
    """How many pictures an input holds, frames of videos among them."""
    if not isinstance(item, Mixed):
        return 0
    return len(item.images) + sum(len(video.frames) for video in item.videos)


def sounds_in(item: Any) -> int:
    """How many sounds an input holds."""
    return len(item.audios) if isinstance(item, Mixed) else 0


def weight(item: str | Mixed) -> int:
    """How much an input weighs among those held at a time, in characters of text."""
    if isinstance(item, str):
        return len(item)
    return len(item.text) + _PICTURE_WEIGHT * pictures_in(item)


def is_one(inputs: Any) -> bool:
    """Whether what came is one input, and no list of them."""
    return isinstance(inputs, str | Mapping | Mixed) or is_picture(inputs)


def is_picture(item: Any) -> bool:
    """Whether an object is a picture or a path of one; Pillow is not loaded for it."""
    library = sys.modules.get("PIL.Image")
    return isinstance(item, Path) or (library is not None and isinstance(item, library.Image))


def opened(source: Any, access: Access = OPEN) -> Image:
    """The picture of a source: RGB, upright; raises InputError in words, also where it may not be opened."""
    if isinstance(source, bytes):
        return pictures.decoded(source, "picture", access.limits)
    if isinstance(source, str) and _is_sent(source):
        return pictures.decoded(sent(source, access), _named(source), access.limits)
    if isinstance(source, str | Path):
        _check_files(source, access)
        return pictures.opened(str(source).removeprefix("file://"), access.limits)
    return pictures.upright(source, access.limits)


def sent(source: str, access: Access = OPEN) -> bytes:
    """The bytes of a `data:` URL, or behind an http URL where `access` lets one be fetched.

    Raises InputError for a URL that may not be fetched, for a name of a file, and for too many bytes.
    """
    if not _is_sent(source):
        _check_files(source, Access(files=False))
    most = access.limits.most_bytes
    if source[:5].lower() == "data:":
        return pictures.data_url_bytes(source, most)
    if not access.urls:
        raise InputError(f"{source[:80]!r}: URLs are not fetched here", "send a data: URL")
    return web.fetched(source, most)


def _is_sent(source: str) -> bool:
    return source[:5].lower() == "data:" or _is_url(source)


def _named(source: str) -> str:
    return "data URL" if source[:5].lower() == "data:" else source[:80]


def _check_files(source: str | Path, access: Access) -> None:
    if not access.files:
        raise InputError(f"{str(source)[:80]!r}: files are not opened here", "send a data: URL")


def _of_dict(item: Mapping[Any, Any], place: int, access: Access) -> Mixed:
    unknown = [key for key in item if key not in _KEYS]
    if unknown or not item:
        raise InputError(f"item {place} has the key {unknown[0] if unknown else None!r}", _SAY)
    texts = _listed(item.get("text"))
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"item {place}: a text is no string", _SAY)
    images = _listed(item.get("image"))
    if not all(isinstance(image, str | bytes) or is_picture(image) for image in images):
        raise InputError(f"item {place}: an image is {type(images[0]).__name__}", _SAY)
    videos = tuple(_video(video, place, access) for video in _videos(item.get("video")))
    return Mixed(tuple(_plain(text) for text in texts), images, videos)


def _listed(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _videos(value: Any) -> list[Any]:
    """One video, or several: a list of pictures is one, a list of lists or dicts is more."""
    if value is None:
        return []
    several = isinstance(value, list | tuple) and all(
        isinstance(one, list | tuple | Mapping | Video) or _names_video(one) for one in value
    )
    return list(value) if several else [value]


def _names_video(value: Any) -> bool:
    return isinstance(value, str | Path) and is_video_name(value)


def _video(value: Any, place: int, access: Access) -> Video:
    if isinstance(value, Video):
        return value
    if _names_video(value):
        if not access.files:
            raise InputError(
                f"{str(value)[:80]!r}: videos are not opened here", "send their frames as pictures"
            )
        return Video(*frames_of(value))
    rate = FRAME_RATE
    if isinstance(value, Mapping):
        if set(value) - {"frames", "fps"}:
            raise InputError(f"item {place}: a video has other keys than frames and fps", _SAY)
        value, rate = value.get("frames"), value.get("fps", FRAME_RATE)
    if not isinstance(value, list | tuple) or not value:
        raise InputError(
            f"item {place}: a video is {type(value).__name__}, not its frames", "pass a list of pictures"
        )
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1000:
        raise InputError(f"item {place}: fps is {rate!r}", "say how many of the frames are a second")
    return Video(tuple(value), float(rate))


def _names_picture(text: str, access: Access) -> bool:
    if not access.named:
        return False
    if text.startswith("data:image/"):
        return True
    if len(text) > 4096 or "\n" in text or not pictures.is_picture_name(text.partition("?")[0]):
        return False
    if _is_url(text):
        return access.urls and " " not in text
    try:
        return access.files and Path(text).is_file()
    except (OSError, ValueError):
        return False


def _is_url(text: str) -> bool:
    try:
        return urlsplit(text[:4096]).scheme in ("http", "https")
    except ValueError:
        return False


def _plain(text: str) -> str:
    # A lone surrogate (from a badly decoded file) is no text; the tokenizer would refuse it.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
