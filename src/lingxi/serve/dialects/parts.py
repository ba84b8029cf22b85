"""Inputs of several parts, as OpenAI's chat, Cohere, Jina and vLLM send them, as what a VL model reads.

A picture is named by a `data:` URL (or, where the server was told to fetch, by an http URL); paths of the
server's machine are never opened. Several parts are one input; texts, pictures and frames keep their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lingxi.errors import InputError
from lingxi.inputs import Mixed, taken
from lingxi.serve.refusal import invalid, refused


class Named(BaseModel):
    """A picture by its URL, as OpenAI nests it; `detail` is taken, and nothing depends on it."""

    model_config = ConfigDict(extra="forbid")

    url: str
    detail: str | None = None


class Part(BaseModel):
    """One part of an input: a text, or a picture by its URL."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text", "image_url", "input_text", "input_image", "image"]
    text: str | None = None
    image_url: Named | str | None = None
    image: str | None = None


class Message(BaseModel):
    """A turn of a chat-shaped input: the system's is the instruction, the user's the input."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str | Annotated[list[Part], Field(min_length=1)]


class Item(BaseModel):
    """An input as a dict: texts, pictures (URLs), a video as the URLs of its frames, or parts."""

    model_config = ConfigDict(extra="allow")

    text: str | list[str] | None = None
    image: str | list[str] | None = None
    video: Any = None
    content: list[Part] | None = None


def input_of(parts: Sequence[Part], param: str) -> str | Mixed:
    """One input of parts; raises Refusal 400 for a part that holds nothing."""
    texts: list[str] = []
    images: list[str] = []
    for part in parts:
        if part.type in ("text", "input_text"):
            texts.append(_held(part.text, part.type, param))
        else:
            url = part.image_url.url if isinstance(part.image_url, Named) else part.image_url
            images.append(_held(url or part.image, part.type, param))
    found = Mixed(tuple(texts), tuple(images))
    return found.text if found.is_text else found


def item_of(item: Item, param: str) -> str | Mixed:
    """One input of a dict; raises Refusal 400 for what is none."""
    if item.content is not None:
        return input_of(item.content, param)
    given = {"text": item.text, "image": item.image, "video": item.video}
    held = {key: value for key, value in given.items() if value is not None}
    if not held:
        raise invalid("an input holds neither text nor picture", "send text, image, video or content", param)
    try:
        return taken(held, 0)
    except InputError as error:
        raise refused(error, param) from None


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
        raise invalid(f"a picture in the turn of the {message.role}", "put it into the user's", param)
    return found


def _held(value: str | None, kind: str, param: str) -> str:
    if value is None:
        raise invalid(f"a part of the type {kind} holds nothing", "send text, or image_url", param)
    return value
