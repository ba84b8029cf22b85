"""Sound opened safely: files, bytes and arrays to mono samples at 16 kHz, at most 30 seconds of them.

WAV is read here: 8 to 32 bit whole numbers, 32 and 64 bit floats, any number of channels, any rate a
recorder has. FLAC, Ogg, Opus and MP3 are read by soundfile where it is installed. No more of a file is
read than is used: an hour of sound costs as much as half a minute. Nothing is fetched.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import InputError, LingxiWarning, MissingExtraError

Floats = NDArray[np.float32]

RATE = 16_000
MOST_SECONDS = 30.0
LEAST_RATE, MOST_RATE = 1_000, 768_000
MOST_CHANNELS = 64
# A window of 25 ms is the least that has a spectrum.
LEAST_SAMPLES = 400
SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3")

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_FIX = "convert it to WAV, FLAC or Ogg, for example with: ffmpeg -i INPUT -ar 16000 -ac 1 OUTPUT.wav"


@dataclass(frozen=True, slots=True)
class Sound:
    """Mono samples at 16 kHz in -1…1, and the seconds the source is long (more than the samples if cut)."""

    samples: Floats
    seconds: float


def open_sound(source: Any) -> Sound:
    """The sound of a path, of a file's bytes, or of `{"array": …, "sampling_rate": …}`.

    An array is [samples] or, as soundfile gives it, [samples, channels]; whole numbers are scaled to -1…1.
    A sound longer than 30 seconds is cut, with a warning. Raises InputError for what is no sound, is
    damaged, silent by length (under 25 ms), holds no finite number, or is an address; MissingExtraError
    where soundfile is needed and not installed.
    """
    if isinstance(source, Mapping):
        raw, rate, seconds = _of_mapping(source)
    elif isinstance(source, bytes | bytearray):
        raw, rate, seconds = _read(io.BytesIO(source), "the sound given as bytes")
    else:
        raw, rate, seconds = _of_path(source)
    return Sound(_ready(raw, rate), _said(seconds))


def is_sound(path: str | Path) -> bool:
    """Whether a file is one that this module opens, by its name."""
    return Path(path).suffix.lower() in SUFFIXES


def _of_path(source: Any) -> tuple[Floats, int, float]:
    if not isinstance(source, str | Path):
        raise InputError(f"a {type(source).__name__} is no sound", "give a path, bytes, or array and rate")
    if isinstance(source, str) and "://" in source:
        raise InputError(f"{source} is an address, and sounds are not fetched", "download it, give the file")
    path = Path(source).expanduser()
    if not path.is_file():
        raise InputError(f"no file at {path}", "correct the path")
    with path.open("rb") as file:
        return _read(file, str(path))


def _of_mapping(source: Mapping[str, Any]) -> tuple[Floats, int, float]:
    if not {"array", "sampling_rate"} <= set(source):
        raise InputError(f"a sound with the keys {sorted(source)}", "give array and sampling_rate")
    rate, array = source["sampling_rate"], np.asarray(source["array"])
    _check_rate(rate, "the array")
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] > MOST_CHANNELS):
        raise InputError(
            f"an array of sound has the shape {array.shape}", "give [samples] or [samples, channels]"
        )
    if array.dtype.kind not in "fiu":
        raise InputError(f"an array of sound holds {array.dtype}", "give floats in -1…1 or whole numbers")
    kept = array[: math.ceil(MOST_SECONDS * rate)]
    return _mono(_scaled(kept)), int(rate), len(array) / rate


def _scaled(values: NDArray[Any]) -> Floats:
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if values.dtype.kind == "u":
        return (values.astype(np.float64) / (np.iinfo(values.dtype).max / 2) - 1).astype(np.float32)
    return (values.astype(np.float64) / -float(np.iinfo(values.dtype).min)).astype(np.float32)


def _mono(values: Floats) -> Floats:
    return values if values.ndim == 1 else values.mean(axis=1, dtype=np.float32)


def _read(file: IO[bytes], named: str) -> tuple[Floats, int, float]:
    start = file.read(12)
    file.seek(0)
    if start[:4] in (b"RIFF", b"RF64") and start[8:] == b"WAVE":
        return _wave(file, named)
    return _by_soundfile(file, named)


def _by_soundfile(file: IO[bytes], named: str) -> tuple[Floats, int, float]:
    try:
        import soundfile  # type: ignore[import-untyped]
    except ImportError as absent:
        raise MissingExtraError("soundfile", "sound", f"reading {named}") from absent
    try:
        with soundfile.SoundFile(file) as opened:
            _check_rate(opened.samplerate, named)
            _check_channels(opened.channels, named)
            most = math.ceil(MOST_SECONDS * opened.samplerate)
            values = opened.read(most, dtype="float32", always_2d=True)
            seconds = max(opened.frames, len(values)) / opened.samplerate
            return _mono(values), opened.samplerate, seconds
    except (soundfile.SoundFileError, RuntimeError, OSError, ValueError) as problem:
        # What stands before says where the bytes lie in memory.
        why = str(problem).rpartition(": ")[2]
        raise InputError(f"{named} is no sound that can be read ({why})", _FIX) from problem


def _wave(file: IO[bytes], named: str) -> tuple[Floats, int, float]:
    """The samples of a RIFF file: its `fmt ` chunk, then as much of `data` as is used."""
    file.seek(12)
    layout: _Layout | None = None
    while len(header := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", header)
        if name == b"fmt ":
            layout = _layout(file.read(min(size, 64)), named)
            file.seek(max(size - 64, 0) + size % 2, 1)
        elif name == b"data":
            if layout is None:
                break
            return _samples(file, layout, size, named)
        else:
            file.seek(size + size % 2, 1)
    raise InputError(f"{named} is a damaged WAV: it has no samples", _FIX)


@dataclass(frozen=True, slots=True)
class _Layout:
    kind: int
    channels: int
    rate: int
    bits: int


def _layout(chunk: bytes, named: str) -> _Layout:
    if len(chunk) < 16:
        raise InputError(f"{named} is a damaged WAV: its format is cut short", _FIX)
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        kind = struct.unpack("<H", chunk[24:26])[0]
    _check_rate(rate, named)
    _check_channels(channels, named)
    if (kind, bits) not in {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}:
        raise InputError(f"{named} is a WAV of kind {kind} with {bits} bits, which is not read here", _FIX)
    return _Layout(kind, channels, rate, bits)


def _samples(file: IO[bytes], layout: _Layout, stated: int, named: str) -> tuple[Floats, int, float]:
    frame = layout.channels * layout.bits // 8
    most = math.ceil(MOST_SECONDS * layout.rate) * frame
    raw = file.read(min(stated, most))
    raw = raw[: len(raw) // frame * frame]
    if not raw:
        raise InputError(f"{named} is a damaged WAV: it has no samples", _FIX)
    if len(raw) < min(stated, most) // frame * frame and stated != 0xFFFFFFFF:
        warnings.warn(f"{named} ends before the length it states: what is there is used", LingxiWarning, 4)
        stated = len(raw)
    seconds = min(stated, len(raw) + _left(file)) / frame / layout.rate
    return _mono(_numbers(raw, layout).reshape(-1, layout.channels)), layout.rate, seconds


def _left(file: IO[bytes]) -> int:
    here = file.tell()
    end = file.seek(0, 2)
    return end - here


def _numbers(raw: bytes, layout: _Layout) -> Floats:
    if layout.kind == _FLOAT:
        return np.frombuffer(raw, f"<f{layout.bits // 8}").astype(np.float32)
    if layout.bits == 8:
        return np.asarray((np.frombuffer(raw, np.uint8) - 128.0) / 128, np.float32)
    if layout.bits == 24:
        bytes_ = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(bytes_), 4), np.uint8)
        wide[:, 1:] = bytes_
        return (wide.view("<i4")[:, 0] / 2**31).astype(np.float32)
    whole = np.frombuffer(raw, f"<i{layout.bits // 8}")
    return np.asarray(whole / 2.0 ** (layout.bits - 1), np.float32)


def _check_rate(rate: Any, named: str) -> None:
    if (
        isinstance(rate, bool)
        or not isinstance(rate, int | np.integer)
        or not LEAST_RATE <= rate <= MOST_RATE
    ):
        raise InputError(
            f"{named} has {rate} samples a second", f"give a rate from {LEAST_RATE:,} to {MOST_RATE:,}"
        )


def _check_channels(channels: int, named: str) -> None:
    if not 1 <= channels <= MOST_CHANNELS:
        raise InputError(f"{named} has {channels} channels", f"give 1 to {MOST_CHANNELS}")


def _said(seconds: float) -> float:
    if seconds > MOST_SECONDS:
        warnings.warn(
            f"a sound of {seconds:,.0f} seconds is read for its first {MOST_SECONDS:.0f}", LingxiWarning, 3
        )
    return seconds


def _ready(values: Floats, rate: int) -> Floats:
    """At 16 kHz, without offset, in -1…1."""
    if not np.isfinite(values).all():
        raise InputError("a sound holds numbers that are not finite", "repair or leave out the recording")
    out = resampled(values, rate)
    if len(out) < LEAST_SAMPLES:
        raise InputError(f"a sound of {len(out) / RATE * 1000:.0f} ms is too short", "give at least 25 ms")
    return np.asarray(np.clip(out, -1.0, 1.0), np.float32)


def without_silence(samples: Floats) -> Floats:
    """Samples from 100 ms before the first sound to 150 ms after the last; sound is 3 % of the peak."""
    count = len(samples) // LEAST_SAMPLES
    if count < 4:
        return samples
    peaks = np.abs(samples[: count * LEAST_SAMPLES]).reshape(count, LEAST_SAMPLES).max(1)
    heard = np.nonzero(peaks > max(float(peaks.max()) * 0.03, 1e-4))[0]
    if not len(heard):
        return samples
    return samples[max(0, heard[0] - 4) * LEAST_SAMPLES : min(count, heard[-1] + 6) * LEAST_SAMPLES]


def resampled(values: Floats, rate: int) -> Floats:
    """Samples at `rate` brought to 16 kHz, by a windowed sinc that keeps what both rates can hold.

    x(t) = Σ x[n] h(t·rate - n), h the sinc at the lower Nyquist frequency under a Hann window of 16 zero
    crossings a side (Smith, Digital Audio Resampling).
    """
    if rate == RATE:
        return values
    shared = math.gcd(RATE, rate)
    up, down = RATE // shared, rate // shared
    kernels = _kernels(up, min(1.0, RATE / rate) * 0.95)
    reach = kernels.shape[1] // 2
    seen = np.lib.stride_tricks.sliding_window_view(np.pad(values, reach), 2 * reach + 1)
    count = len(values) * up // down
    parts = []
    for start in range(0, count, 16_384):
        places = np.arange(start, min(start + 16_384, count)) * down
        parts.append(np.einsum("nt,nt->n", seen[places // up], kernels[places % up]))
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


@lru_cache(maxsize=8)
def _kernels(up: int, cut: float) -> Floats:
    """The filter [up, taps] at each of the `up` places that a new sample can have between two old ones."""
    reach = math.ceil(16 / cut)
    away = np.arange(up)[:, None] / up - np.arange(-reach, reach + 1)
    window = np.where(np.abs(away) < reach, 0.5 + 0.5 * np.cos(np.pi * away / reach), 0.0)
    return (cut * np.sinc(away * cut) * window).astype(np.float32)
