"""The body of a request, read before anything looks at it: not too large, not too slow."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from lingxi.serve.listen import Message, Receive, Send
from lingxi.serve.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Limits:
    """A body has at most `most` bytes, and `seconds` plus a second for every `rate` bytes that came.

    After a refusal what still comes is thrown away for `linger` seconds, so that the client reads the answer
    before the connection closes.
    """

    most: int
    seconds: float = 10.0
    rate: float = 65536.0
    linger: float = 1.0


# An escape of JSON: half of a character outside the basic plane, or any other.
_ESCAPE = re.compile(rb"\\(?:u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)


class Gone(Exception):
    """The client left before its body was there."""


def stated_length(headers: dict[bytes, bytes]) -> int | None:
    """What Content-Length says, None where it does not."""
    stated = headers.get(b"content-length", b"")
    return int(stated) if stated.isdigit() else None


async def read_body(receive: Receive, limits: Limits, stated: int | None) -> bytes:
    """The whole body; raises Refusal 413 or 408, and Gone."""
    if stated is not None and stated > limits.most:
        raise _too_large(limits)
    loop, parts, size, more = asyncio.get_running_loop(), list[bytes](), 0, True
    start = loop.time()
    try:
        async with asyncio.timeout(limits.seconds) as allowed:
            while more:
                part, more = _part(await receive())
                parts.append(part)
                size += len(part)
                if size > limits.most:
                    raise _too_large(limits)
                allowed.reschedule(start + limits.seconds + size / limits.rate)
    except TimeoutError:
        raise Refusal(408, "late", "the body of the request came too slowly", "send it at once") from None
    return b"".join(parts)


def _part(message: Message) -> tuple[bytes, bool]:
    if message["type"] != "http.request":
        raise Gone
    return message.get("body", b""), message.get("more_body", False)


def _too_large(limits: Limits) -> Refusal:
    return Refusal(
        413,
        "too_large",
        f"the request is larger than {limits.most:,} bytes",
        "send fewer or shorter texts at a time",
    )


def check_characters(body: bytes) -> None:
    """Raise Refusal 400 where a text of a JSON body has half a character, which UTF-8 cannot write."""
    open_at = -1
    for found in _ESCAPE.finditer(body) if b"\\ud" in body or b"\\uD" in body else ():
        half = int(found[1], 16) if found[1] else 0
        if (open_at >= 0 and found.start() != open_at) or (half >= 0xDC00) != (open_at >= 0):
            raise _half()
        open_at = found.end() if 0xD800 <= half < 0xDC00 else -1
    if open_at >= 0:
        raise _half()


def _half() -> Refusal:
    reason = "a text holds half a character (a lone surrogate)"
    return Refusal(400, "invalid_input", reason, "send valid Unicode")


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body in one piece, then what the connection says (that the client left)."""
    waiting = [body]

    async def again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return again


def lingering(receive: Receive, send: Send, limits: Limits) -> Send:
    """A `send` that closes the connection after the answer, once what still comes was thrown away."""

    async def last(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        elif not message.get("more_body", False):
            await send({**message, "more_body": True})
            await _thrown_away(receive, limits)
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    return last


async def _thrown_away(receive: Receive, limits: Limits) -> None:
    left, more = 4 * limits.most, True
    try:
        async with asyncio.timeout(limits.linger):
            while more and left > 0:
                part, more = _part(await receive())
                left -= len(part)
    except (TimeoutError, Gone):
        return
