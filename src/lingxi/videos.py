"""Files of videos to frames (needs the extra `video`, PyAV): as many a second as the models were trained on.

Which frames are taken is the reference's rule (qwen-vl-utils): one a second, at least 4 and at most 64, an
even number, evenly over the whole. For files of the person who runs the program: decoders of video are
large, so a server takes frames as pictures and opens no video. Large frames are made smaller as they come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lingxi.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"})
# No list of other files, no stream of the net: a file of one of these formats, alone.
_CLOSED = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo",
}
_FIX = "convert it to MP4, for example with: ffmpeg -i INPUT OUTPUT.mp4"


@dataclass(frozen=True, slots=True)
class Limits:
    """Frames wanted a second, how few and many are taken, and pixels of a frame, as kept and as it comes."""

    rate: float = 1.0
    least: int = 4
    most: int = 64
    frame_pixels: int = 2_100_000
    most_pixels: int = 64_000_000
    most_frames: int = 1_000_000


LIMITS = Limits()


def is_video_name(path: str | Path) -> bool:
    """Whether a file is a video by its ending."""
    return Path(path).suffix.lower() in SUFFIXES


def frames_of(path: str | Path, limits: Limits = LIMITS) -> tuple[tuple[Image, ...], float]:
    """The frames taken of a video's file, RGB, and how many of them are a second.

    Raises InputError for a file that is not there, is no video, damaged or larger than the limits allow;
    MissingExtraError without PyAV.
    """
    library = _pyav()
    if not Path(path).is_file():
        raise InputError(f"no file at {path}", "correct the path")
    try:
        with library.open(str(path), format=None, options=_CLOSED) as opened:
            return _taken(opened, path, limits)
    except library.error.FFmpegError as error:
        raise InputError(f"{path} is no video that can be read ({error})", _FIX) from None


def wanted(count: int, rate: float, limits: Limits = LIMITS) -> list[int]:
    """Which of `count` frames, `rate` a second, are taken."""
    asked = min(max(count / rate * limits.rate, limits.least), limits.most, count)
    number = int(asked) // 2 * 2 or 1
    places: list[int] = np.linspace(0, count - 1, number).round().astype(int).tolist()
    return places


def _taken(opened: Any, path: str | Path, limits: Limits) -> tuple[tuple[Image, ...], float]:
    if not opened.streams.video:
        raise InputError(f"{path} has no pictures", "give a video, or its sound as sound")
    stream = opened.streams.video[0]
    width, height = stream.codec_context.width, stream.codec_context.height
    if not 0 < width * height <= limits.most_pixels:
        raise InputError(f"{path}: frames of {width:,} × {height:,} pixels", "make it smaller")
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    count = stream.frames or round(_seconds(opened, stream) * rate)
    if not rate or not 1 <= count <= limits.most_frames:
        raise InputError(f"{path}: {count:,} frames, {rate:g} a second", _FIX)
    places = wanted(count, rate, limits)
    frames = list(_kept(opened, stream, places, limits))
    if not frames:
        raise InputError(f"{path}: not a frame can be read", _FIX)
    # A file that ends before it says: what is missing is as what came last.
    frames += frames[-1:] * (len(places) - len(frames))
    return tuple(frames), len(places) / count * rate


def _kept(opened: Any, stream: Any, places: list[int], limits: Limits) -> Iterator[Image]:
    following = iter(places)
    place = next(following, None)
    for number, frame in enumerate(opened.decode(stream)):
        if place is None:
            return
        if number < place:
            continue
        picture = _small(frame.to_image(), limits.frame_pixels)
        while place is not None and place <= number:
            yield picture
            place = next(following, None)


def _small(picture: Image, most: int) -> Image:
    if picture.width * picture.height <= most:
        return picture
    scale = (most / (picture.width * picture.height)) ** 0.5
    return picture.resize((max(1, int(picture.width * scale)), max(1, int(picture.height * scale))))


def _seconds(opened: Any, stream: Any) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return float(opened.duration or 0) / 1_000_000


def _pyav() -> Any:
    try:
        import av
    except ImportError:
        raise MissingExtraError("av", "video", "opening videos") from None
    return av
