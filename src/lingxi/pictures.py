"""Open pictures that strangers send: bounded, upright, RGB, or refused in words; never run, never followed.

How to use it (needs the extra `vision`, Pillow):

- `decoded(data, where)`: bytes in, a PIL picture out. Everything else ends here.
- `opened(path)`: a file of the person who runs the program; a server opens no path that a client names.
- `decoded(data_url_bytes(url, most), where)`: a `data:` URL, all that a server takes by default.
- `decoded(web.fetched(url, most), url)`: a URL, where that is allowed (`lingxi.web`: public addresses).
- `upright(picture)`: a PIL picture that is there already, as `decoded` would have given it.

What comes out is RGB, turned as its EXIF orientation says, transparency laid on white, 16 bits made 8, CMYK
converted; of an animated picture the first frame. Refused by name (InputError): more bytes or pixels than
`Limits` allow, before they are decoded; a truncated or damaged file; SVG, which is a program more than a
picture (scripts, references to elsewhere): `lingxi.drawings` says whether one is harmless enough to render.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import numpy as np

from lingxi.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from PIL.Image import Image

# No other decoder is reached: Pillow's EPS would start Ghostscript.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_CONVERT = "convert it to JPEG or PNG"
_SVG = re.compile(rb"<(\?xml|!doctype\s+svg|svg[\s>/])", re.IGNORECASE)
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+-]+=[^;,]*)*)(;base64)?,", re.IGNORECASE)
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a picture may be: `most_bytes` as it comes, `most_pixels` once it is decoded."""

    most_bytes: int = 32 << 20
    most_pixels: int = 64_000_000


LIMITS = Limits()


def opened(path: str | Path, limits: Limits = LIMITS) -> Image:
    """The picture in a file: RGB, upright; raises InputError as `decoded`, and where there is none."""
    path = Path(path).expanduser()
    try:
        if path.stat().st_size > limits.most_bytes:
            raise _too_many_bytes(str(path), limits.most_bytes)
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    except ValueError:  # a byte 0 in the name
        raise InputError(f"{str(path)!r} is no path", "check the path") from None
    return decoded(data, str(path), limits)


def decoded(data: bytes, where: str, limits: Limits = LIMITS) -> Image:
    """The picture that bytes hold: RGB, upright, of an animation the first frame; `where` names it in errors.

    Raises InputError for what is no picture, is damaged, too large, or of a format that is not read
    (the docstring of this module); MissingExtraError without Pillow.
    """
    library = _pillow()
    if len(data) > limits.most_bytes:
        raise _too_many_bytes(where, limits.most_bytes)
    _refuse_drawing(data, where)
    bombs = (library.DecompressionBombError, library.DecompressionBombWarning)
    try:
        with library.open(io.BytesIO(data), formats=_FORMATS) as found:
            _check_size(found.size, where, limits)
            found.load()
            return upright(found, limits, where)
    except bombs:
        raise InputError(
            f"{where}: a picture of more pixels than {limits.most_pixels:,}", "make it smaller"
        ) from None
    except library.UnidentifiedImageError:
        raise InputError(f"{where}: not a picture of {', '.join(_FORMATS)}", _CONVERT) from None
    except InputError:
        raise
    except Exception as error:  # a damaged file fails in the decoder of its format, each in its own way
        raise InputError(f"{where}: the picture is damaged ({error})", "send the file whole") from None


def upright(picture: Image, limits: Limits = LIMITS, where: str = "picture") -> Image:
    """A PIL picture as models read it: RGB, turned by its EXIF orientation, what is transparent made white.

    A damaged orientation is left out of account. Raises InputError for a size beyond the limits.
    """
    from PIL import ImageOps

    _check_size(picture.size, where, limits)
    try:
        turned = ImageOps.exif_transpose(picture)
    except Exception:  # EXIF is other people's bytes, and the picture is whole without it
        turned = picture.copy()
    return _rgb(turned)


def data_url_bytes(url: str, most_bytes: int = LIMITS.most_bytes) -> bytes:
    """The bytes of a `data:` URL, at most `most_bytes`; raises InputError where it is none, or too large."""
    head = _DATA_URL.match(url[:1024])
    if head is None:
        raise InputError(f"{url[:40]!r} is no data URL", "write data:image/png;base64,…")
    body = url[head.end() :]
    if len(body) > 4 * most_bytes:  # of percent-escapes three characters are one byte
        raise _too_many_bytes("the data URL", most_bytes)
    try:
        data = base64.b64decode(unquote_to_bytes(body), validate=True) if head[3] else unquote_to_bytes(body)
    except (binascii.Error, ValueError):
        raise InputError("the data URL is not base64", "encode the file's bytes as base64") from None
    if len(data) > most_bytes:
        raise _too_many_bytes("the data URL", most_bytes)
    return data


def is_picture_name(name: str) -> bool:
    """Whether a file name or the path of a URL ends as a picture's does."""
    return Path(name).suffix.lower() in _SUFFIXES


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("pillow", "vision", "opening pictures") from None
    return Image


def _refuse_drawing(data: bytes, where: str) -> None:
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<") and _SVG.search(data[:4096]):
        raise InputError(
            f"{where}: SVG is not opened, it can hold scripts and references to elsewhere",
            "render it to PNG",
        )
    if start.startswith(b"%PDF"):
        raise InputError(f"{where}: a PDF is no picture", "render its pages to PNG")


def _check_size(size: tuple[int, int], where: str, limits: Limits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise InputError(f"{where}: a picture of {width} × {height} pixels", "send one with pixels")
    if width * height > limits.most_pixels:
        raise InputError(
            f"{where}: a picture of {width:,} × {height:,} pixels, more than {limits.most_pixels:,}",
            "make it smaller",
        )


def _rgb(picture: Image) -> Image:
    if picture.mode.startswith(("I", "F")):
        picture = _eight_bits(picture)
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    with_alpha = picture.convert("RGBA")
    ground = _pillow().new("RGB", picture.size, (255, 255, 255))
    ground.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return ground  # type: ignore[no-any-return]


def _eight_bits(picture: Image) -> Image:
    """A grey picture of 16 or 32 bits in 8: Pillow's own conversion would cut off what is above 255."""
    values = np.asarray(picture).astype(np.float64)
    values = values[..., 0] if values.ndim == 3 else values
    top = 65535 if values.max(initial=0) > 255 else 255
    return _pillow().fromarray((values.clip(0, top) * (255 / top)).round().astype(np.uint8))  # type: ignore[no-any-return]


def _too_many_bytes(where: str, most: int) -> InputError:
    return InputError(f"{where}: more than {most:,} bytes", "send a smaller file")
