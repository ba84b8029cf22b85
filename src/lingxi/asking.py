"""Ask a server by JSON: what goes wrong between here and there is one error."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from lingxi.errors import InputError

Read = TypeVar("Read")


class NoAnswerError(InputError):
    """A server gave no answer that could be used.

    `status` is that of HTTP, or None where the server was not reached or its answer was not understood;
    `wait` is how many seconds the server asked to be left alone, or None; `said` is whether it said anything.
    """

    def __init__(
        self,
        reason: str,
        remedy: str,
        status: int | None = None,
        wait: float | None = None,
        said: bool = False,
    ) -> None:
        super().__init__(reason, remedy)
        self.status = status
        self.wait = wait
        self.said = said or status is not None


def endpoint(url: str, path: str) -> str:
    """The address of a call of a server: `path` behind `url`, where it does not stand there yet."""
    bare = url.rstrip("/")
    return bare if bare.endswith(path) else bare + path


def asked(
    url: str,
    body: Mapping[str, Any] | None,
    read: Callable[[Any], Read],
    *,
    lacking: str,
    fix: str,
    timeout: float,
    key: str | None = None,
    most: int | None = None,
) -> Read:
    """What `read` makes of the server's answer to a JSON body (None: to a GET); `key` goes as a bearer token.

    An answer of more than `most` bytes, or one that takes longer than `timeout` with it, is none.

    Raises NoAnswerError (`url: no <lacking>`, `fix`) where there is no answer, or not the one `read` wants.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    if key:
        # A redirect may lead to another house: the key does not go along.
        request.add_unredirected_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return read(json.load(answer) if most is None else json.loads(_bounded(answer, most, timeout)))
    except urllib.error.HTTPError as error:
        with error:
            wait = _seconds(error.headers.get("Retry-After"))
        raise NoAnswerError(f"{url}: no {lacking} ({error})", fix, error.code, wait) from None
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswerError(f"{url}: no {lacking} ({error})", fix) from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NoAnswerError(f"{url}: no {lacking} ({error})", fix, said=True) from None


def _bounded(answer: http.client.HTTPResponse, most: int, seconds: float) -> bytes:
    """The whole answer; raises ValueError past `most` bytes, TimeoutError past so many seconds."""
    until = time.monotonic() + seconds
    parts: list[bytes] = []
    held = 0
    while part := answer.read1(1 << 16):
        parts.append(part)
        held += len(part)
        if held > most:
            raise ValueError(f"an answer of more than {most:,} bytes")
        if time.monotonic() > until:
            raise TimeoutError(f"the answer takes longer than {seconds:g} seconds")
    return b"".join(parts)


def _seconds(said: str | None) -> float | None:
    """A Retry-After in seconds; the other form, a date, counts as none."""
    return float(said) if said is not None and said.strip().isdecimal() else None
