"""A model of pictures and sound that was never trained, and files for it, good and bad."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lingxi import Embedder
from lingxi.media import MediaEmbedder
from lingxi.media.embedder import pixels_of
from lingxi.model.files import hash_weights
from lingxi.model.media_files import MediaConfig, write_media
from lingxi.model.media_heads import PictureNetwork, SoundNetwork
from lingxi.model.sound import RATE, log_mel


def write_deaf_media(place: Path, text: Embedder) -> Path:
    """A directory whose pictures all have one vector, and sounds another: whatever networks are."""
    picture, sound = PictureNetwork(), SoundNetwork(2)
    with torch.no_grad():
        for network, seed in ((picture, 1), (sound, 2)):
            network.head.weight.zero_()
            drawn = np.random.default_rng(seed).standard_normal(len(network.head.bias))
            network.head.bias.copy_(torch.from_numpy(drawn))
    config = MediaConfig("lingxi-pico", hash_weights(text.directory), 384, 2)
    write_media(place, config, picture, sound)
    return place


def write_toy_media(place: Path, text: Embedder) -> Path:
    """A directory of untrained networks: what it says is chance, but other pictures get other vectors."""
    torch.manual_seed(0)
    picture, sound = PictureNetwork().eval(), SoundNetwork(2).eval()
    _centre(picture, lambda: picture(torch.stack([pixels_of(drawing(c)) for c in ("red", "green", "navy")])))
    clips = [log_mel(torch.from_numpy(tone(hertz))) for hertz in (150, 700, 3000)]
    frames = torch.tensor([clip.shape[1] for clip in clips])
    _centre(sound, lambda: sound(torch.stack(clips), frames))
    config = MediaConfig("lingxi-pico", hash_weights(text.directory), 384, 2)
    write_media(place, config, picture, sound)
    return place


def _centre(network: Any, run: Callable[[], Any]) -> None:
    """Set the head's bias so that the mean of some inputs is nought: untrained features are nearly equal."""
    seen: list[torch.Tensor] = []
    hook = network.head.register_forward_hook(lambda head, given, out: seen.append(out))
    with torch.no_grad():
        run()
        hook.remove()
        network.head.bias -= seen[0].mean(0)


def toy_media(place: Path, text: Embedder) -> MediaEmbedder:
    """That model, opened over a text model."""
    return MediaEmbedder(write_toy_media(place, text), text=text)


def drawing(colour: str, size: tuple[int, int] = (120, 80)) -> Image.Image:
    """A box of a colour on white."""
    picture = Image.new("RGB", size, "white")
    picture.paste(colour, (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    return picture


def saved(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """The bytes of a picture's file."""
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def wav(samples: np.ndarray, rate: int = RATE, bits: int = 16) -> bytes:
    """The bytes of a WAV of samples in -1…1."""
    codes = (samples * 127 + 128).astype(np.uint8) if bits == 8 else (samples * 32767).astype("<i2")
    body, frame = codes.tobytes(), bits // 8
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * frame, frame, bits)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def tone(hertz: float, seconds: float = 0.5) -> np.ndarray:
    """A tone as samples at 16 kHz."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


@cache
def hour() -> bytes:
    """A tone and an hour of silence, 7.2 MB: what is heard of it is short."""
    samples = np.zeros(3600 * 2000, np.float32)
    samples[1000:2000] = 0.5 * np.sin(np.arange(1000) / 2)
    return wav(samples, 2000, bits=8)


@cache
def _huge() -> bytes:
    return saved(Image.new("1", (20_000, 20_000)))


def url_of(data: bytes, kind: str = "image/png") -> str:
    """A data: URL of bytes."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 3.6 billion pixels."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


def _noise() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return Image.fromarray(values)


def _animated() -> bytes:
    frames = [drawing("red"), drawing("blue")]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)


SCRIPTED = (
    b"<svg xmlns='http://www.w3.org/2000/svg' onload='fetch(\"/x\")'><script>fetch('/y')</script></svg>"
)
REFERRING = b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><image href='%s'/></svg>"

BAD_PICTURES = {
    "truncated.jpg": (lambda: saved(_noise(), "JPEG")[:600], "damaged|not a picture"),
    "bomb.png": (bomb, "pixels"),
    "huge.png": (_huge, "pixels"),
    "scripted.png": (lambda: SCRIPTED, "SVG is not opened"),
    "referring.png": (lambda: REFERRING % b"http://169.254.169.254/latest", "SVG is not opened"),
    "paper.png": (lambda: b"%PDF-1.7 no picture", "a PDF is no picture"),
    "page.jpg": (lambda: b"<html><script>alert(1)</script></html>", "not a picture"),
    "empty.gif": (lambda: b"", "not a picture"),
}
"""What is refused: a file's name (its ending lies), its bytes, and what the refusal says."""
ODD_PICTURES = {
    "moving.gif": _animated,
    "print.jpg": lambda: saved(drawing("red").convert("CMYK"), "JPEG"),
    "dot.png": lambda: saved(Image.new("RGB", (1, 1), "red")),
    "strip.png": lambda: saved(Image.new("L", (20_000, 30))),
}
"""What is handled."""
BAD_SOUNDS = {
    "cut.wav": (lambda: wav(tone(300))[:30], "damaged WAV|cut short|no samples"),
    "noise.wav": (lambda: bytes(range(256)) * 20, "no sound that can be read|soundfile"),
    "short.wav": (lambda: wav(tone(300, 0.01)), "too short"),
    "telephone.wav": (
        lambda: wav(tone(300)).replace(struct.pack("<HH", 1, 1), struct.pack("<HH", 85, 1), 1),
        "kind 85",
    ),
}
