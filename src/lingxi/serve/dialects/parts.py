"""Inputs of several parts, as OpenAI's chat, Cohere, Jina and vLLM send them, as what a model reads.

A picture or a sound is named by a `data:` URL (or, where the server was told to fetch, by an http URL); paths
of the server's machine are never opened. Several parts are one input; texts, pictures and frames keep their
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lingxi.errors import InputError
from lingxi.inputs import Access, Mixed, taken
from lingxi.serve.refusal import invalid, refused

CLOSED = Access(files=False)


class Named(BaseModel):
    """A picture by its URL, as OpenAI nests it; `detail` is taken, and nothing depends on it."""

    model_config = ConfigDict(extra="forbid")

    url: str
    detail: str | None = None


class Recorded(BaseModel):
    """A sound in base64, as OpenAI sends it; what it is, is told by its bytes and not by `format`."""

    model_config = ConfigDict(extra="forbid")

    data: str
    format: Annotated[str, Field(pattern="^[a-z0-9.+-]{1,20}$")]


class Part(BaseModel):
    """One part of an input: a text, a picture or a sound by its URL, or a sound in base64."""

    model_config = ConfigDict(extra="forbid")

    type: Literal[
        "text", "image_url", "input_text", "input_image", "image", "input_audio", "audio_url", "audio"
    ]
    text: str | None = None
    image_url: Named | str | None = None
    image: str | None = None
    input_audio: Recorded | None = None
    audio_url: Named | str | None = None
    audio: str | None = None


class Message(BaseModel):
    """A turn of a chat-shaped input: the system's is the instruction, the user's the input."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str | Annotated[list[Part], Field(min_length=1)]


class Item(BaseModel):
    """An input as a dict: texts, pictures and sounds (URLs), a video as the URLs of its frames, or parts."""

    model_config = ConfigDict(extra="allow")

    text: str | list[str] | None = None
    image: str | list[str] | None = None
    video: Any = None
    audio: str | list[str] | None = None
    content: list[Part] | None = None


def input_of(parts: Sequence[Part], param: str) -> str | Mixed:
    """One input of parts; raises Refusal 400 for a part that holds nothing."""
    texts: list[str] = []
    images: list[str] = []
    audios: list[str] = []
    for part in parts:
        if part.type in ("text", "input_text"):
            texts.append(_held(part.text, part.type, param))
        elif part.type in ("input_audio", "audio_url", "audio"):
            audios.append(_held(_sound(part), part.type, param))
        else:
            images.append(_held(_url(part.image_url) or part.image, part.type, param))
    found = Mixed(tuple(texts), tuple(images), audios=tuple(audios))
    return found.text if found.is_text else found


def _sound(part: Part) -> str | None:
    if part.input_audio is not None:
        return f"data:audio/{part.input_audio.format};base64,{part.input_audio.data}"
    return _url(part.audio_url) or part.audio


def _url(named: Named | str | None) -> str | None:
    return named.url if isinstance(named, Named) else named


def item_of(item: Item, param: str) -> str | Mixed:
    """One input of a dict; raises Refusal 400 for what is none."""
    if item.content is not None:
        return input_of(item.content, param)
    given = {"text": item.text, "image": item.image, "video": item.video}
    held = {key: value for key, value in given.items() if value is not None}
    audios = [item.audio] if isinstance(item.audio, str) else item.audio or []
    if not held and not audios:
        raise invalid(
            "an input holds neither text, picture nor sound",
            "send text, image, video, audio or content",
            param,
        )
    try:
        # Frames are pictures of the client; no file of this machine is one.
        found = taken(held, 0, CLOSED) if held else Mixed()
    except InputError as error:
        raise refused(error, param) from None
    if not audios:
        return found
    parts = Mixed((found,)) if isinstance(found, str) else found
    return replace(parts, audios=tuple(audios))


def conversation(messages: Sequence[Message], param: str) -> tuple[str | Mixed, str | None]:
    """The input of a chat, and its instruction; raises Refusal 400 for more turns than those two.

    An assistant's turn without text, which some clients send to be continued, says nothing.
    """
    said: dict[str, Message] = {}
    for message in messages:
        if message.role == "assistant" and not _text_of(message, param):
            continue
        if message.role in said or message.role == "assistant":
            raise invalid("an input is one turn of the user", "send one, after the system's", param)
        said[message.role] = message
    if "user" not in said:
        raise invalid("no turn of the user", "send a message of the role user", param)
    user = said["user"].content
    item = user if isinstance(user, str) else input_of(user, param)
    return item, _text_of(said["system"], param) if "system" in said else None


def _text_of(message: Message, param: str) -> str:
    found = message.content if isinstance(message.content, str) else input_of(message.content, param)
    if not isinstance(found, str):
        raise invalid(f"more than text in the turn of the {message.role}", "put it into the user's", param)
    return found


def _held(value: str | None, kind: str, param: str) -> str:
    if value is None:
        raise invalid(f"a part of the type {kind} holds nothing", "send text, or image_url", param)
    return value
