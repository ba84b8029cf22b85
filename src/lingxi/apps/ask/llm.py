"""A language model behind any URL that speaks OpenAI's `/chat/completions`, read as it writes.

Whatever the server does, it ends: the whole answer has one deadline and a most number of characters.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from lingxi.apps.ask.prompt import Messages
from lingxi.apps.ask.settings import LlmSettings
from lingxi.asking import NoAnswerError, endpoint
from lingxi.errors import InputError

Says = Callable[[Messages], Iterator[str]]
"""What answers messages, in pieces of text; raises NoAnswerError."""
_FIX = "check the address, the model's name and the key file"
_MOST_BYTES = 4 << 20


def opened(settings: LlmSettings) -> Says:
    """What asks the server of the settings; raises InputError for a key file that cannot be used."""
    url = endpoint(settings.url, "/chat/completions")
    key = _key(settings)
    return lambda messages: _said(settings, url, key, messages)


def _said(settings: LlmSettings, url: str, key: str | None, messages: Messages) -> Iterator[str]:
    body = {
        "model": settings.model,
        "messages": messages,
        "temperature": 0,
        "max_tokens": settings.max_tokens,
        "stream": True,
    }
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    if key:
        request.add_unredirected_header("Authorization", f"Bearer {key}")
    until = time.monotonic() + settings.timeout
    try:
        with urllib.request.urlopen(request, timeout=settings.timeout) as answer:
            yield from _bounded(_pieces(answer, until), settings.most_characters)
    except urllib.error.HTTPError as error:
        with error:
            raise NoAnswerError(f"{url}: no answer ({error})", _FIX, error.code) from None
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswerError(f"{url}: no answer ({error})", _FIX) from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NoAnswerError(f"{url}: no answer that can be read ({error})", _FIX, said=True) from None


def _pieces(answer: Any, until: float) -> Iterator[str]:
    """The pieces of an event stream, or the text of an answer that came whole."""
    kind = answer.headers.get_content_type()
    if kind == "application/json":
        yield _whole(json.loads(_read(answer, until)))
        return
    if kind != "text/event-stream":
        raise ValueError(f"the server sent {kind}, not an event stream or JSON")
    for line in _lines(answer, until):
        data = line.strip()
        if not data.startswith(b"data:"):
            continue
        data = data.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            return
        yield _delta(json.loads(data))


def _lines(answer: Any, until: float) -> Iterator[bytes]:
    """The lines of a stream; read as the bytes come, so that one that drips has its end too."""
    held = b""
    read = 0
    while part := answer.read1(1 << 16):
        _in_time(until)
        read += len(part)
        if read > _MOST_BYTES:
            raise ValueError(f"a stream of more than {_MOST_BYTES:,} bytes")
        *full, held = (held + part).split(b"\n")
        yield from full
    yield held


def _read(answer: Any, until: float) -> bytes:
    held = b""
    while part := answer.read1(1 << 16):
        _in_time(until)
        held += part
        if len(held) > _MOST_BYTES:
            raise ValueError(f"an answer of more than {_MOST_BYTES:,} bytes")
    return held


def _in_time(until: float) -> None:
    if time.monotonic() > until:
        raise TimeoutError("the answer takes too long")


def _whole(said: Any) -> str:
    return _text(said["choices"][0]["message"]["content"])


def _delta(said: Any) -> str:
    if isinstance(said, dict) and "error" in said:
        raise ValueError(f"the server says {str(said['error'])[:200]}")
    choices = said["choices"]
    # The last event of some servers holds the usage and no choice.
    return _text(choices[0]["delta"].get("content")) if choices else ""


def _text(content: Any) -> str:
    if content is None:
        return ""
    if not isinstance(content, str):
        raise TypeError(f"the content is {type(content).__name__}, not text")
    return content


def _bounded(pieces: Iterator[str], most: int) -> Iterator[str]:
    left = most
    for piece in pieces:
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


def _key(settings: LlmSettings) -> str | None:
    if settings.key_file is None:
        return None
    try:
        key = settings.key_file.expanduser().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(
            f"the key file {settings.key_file} cannot be read ({problem})", "write the key into it"
        ) from None
    if not key or not key.isascii() or not key.isprintable():
        raise InputError(
            f"the key file {settings.key_file} holds no key", "write the key, and nothing else, into it"
        )
    return key
