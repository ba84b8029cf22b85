"""Forms with files (multipart/form-data, RFC 7578), read with the standard library's parser of mail."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

from starlette.requests import Request

from lingxi.serve.pages.frame import posted

_KIND = "multipart/form-data"
_MOST_PARTS = 20


async def parts_of(request: Request, most: int) -> list[tuple[str, str]] | None:
    """The fields of a form, files as their text; None for one that is too large or no form.

    Bytes that are not UTF-8 become U+FFFD: whoever reads the text sees where.
    """
    stated = request.headers.get("content-type", "")
    if stated.partition(";")[0].strip().lower() != _KIND:
        return await posted(request, most)
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most:
            return None
    return read_parts(stated, body)


def read_parts(stated: str, body: bytes) -> list[tuple[str, str]] | None:
    """The fields of a body of that content type, None where it is none."""
    if not stated.isascii() or not stated.isprintable():
        return None
    head = f"Content-Type: {stated}\r\nMIME-Version: 1.0\r\n\r\n".encode()
    message = message_from_bytes(head + body, policy=policy.HTTP)
    if not isinstance(message, EmailMessage) or not message.is_multipart():
        return None
    found: list[tuple[str, str]] = []
    for part in list(message.iter_parts())[: _MOST_PARTS + 1]:
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(payload, bytes) or len(found) == _MOST_PARTS:
            return None
        found.append((name, payload.decode("utf-8", "replace")))
    return found
