"""Forms with files (multipart/form-data, RFC 7578): cut at their boundary, heads read as those of mail are.

The bytes of a file are never looked through line by line: megabytes of empty lines cost no more than others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import PurePath
from typing import Literal

from starlette.requests import Request

from lingxi.inputs import Mixed
from lingxi.serve.pages.forms import FormError

KIND = "multipart/form-data"
MOST_PARTS = 20
_MOST_HEAD = 4096
MOST_EXAMPLE = 24 << 20
"""Bytes of a picture or recording that is sent as an example."""

# How sounds begin; whatever else is sent is opened as a picture, or refused as none.
_SOUNDS = (b"OggS", b"fLaC", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xfa")


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; `file` is the name of the file whose bytes it holds, None for a plain field."""

    name: str
    file: str | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Example:
    """A picture or recording that a person sent to search by, and what its file was called."""

    name: str
    kind: Literal["image", "audio"]
    data: bytes

    @property
    def item(self) -> Mixed:
        """It as an input."""
        return Mixed(images=(self.data,)) if self.kind == "image" else Mixed(audios=(self.data,))


def is_upload(request: Request) -> bool:
    """Whether a request is such a form."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == KIND


async def parts_of(request: Request, most: int) -> list[Part] | None:
    """The parts of a request's form; None for one that is larger than `most` bytes, or no such form."""
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > most:
            return None
    return read_parts(request.headers.get("content-type", ""), bytes(found))


def read_parts(stated: str, body: bytes) -> list[Part] | None:
    """The parts of a body of that content type, None where it is no form of at most 20."""
    if not stated.isascii() or not stated.isprintable():
        return None
    boundary = _head(f"Content-Type: {stated}".encode()).get_boundary()
    if not boundary:
        return None
    _, *pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode(), MOST_PARTS + 2)
    if len(pieces) < 2 or len(pieces) > MOST_PARTS + 1 or not pieces[-1].startswith(b"--"):
        return None
    parts = [_part(piece) for piece in pieces[:-1]]
    return None if None in parts else [part for part in parts if part is not None]


def _part(piece: bytes) -> Part | None:
    head, found, data = piece.partition(b"\r\n\r\n")
    if not found or len(head) > _MOST_HEAD:
        return None
    message = _head(head.strip())
    name = message.get_param("name", header="content-disposition")
    return Part(name, message.get_filename(), data) if isinstance(name, str) else None


def _head(head: bytes) -> EmailMessage:
    found = message_from_bytes(head + b"\r\n\r\n", policy=policy.HTTP)
    assert isinstance(found, EmailMessage)
    return found


def example_in(parts: Sequence[Part], name: str = "example") -> tuple[list[tuple[str, str]], Example | None]:
    """The plain fields of a form, and the example sent in one; raises FormError for one too large."""
    fields = [(part.name, part.data.decode("utf-8", "replace")) for part in parts if part.name != name]
    sent = [part for part in parts if part.name == name and part.data]
    if len(sent) > 1:
        raise FormError("twice", "example")
    if not sent:
        return fields, None
    if len(sent[0].data) > MOST_EXAMPLE:
        raise FormError("large_example", most=MOST_EXAMPLE >> 20)
    shown = PurePath((sent[0].file or "").replace("\\", "/")).name[:100]
    return fields, Example(shown or "?", _kind(sent[0].data), sent[0].data)


def _kind(data: bytes) -> Literal["image", "audio"]:
    is_wave = data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE"
    return "audio" if is_wave or data.startswith(_SOUNDS) else "image"
