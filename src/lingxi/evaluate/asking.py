"""Ask a server by JSON: what goes wrong between here and there is one error."""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from lingxi.errors import InputError

Read = TypeVar("Read")


def asked(
    url: str,
    body: Mapping[str, Any],
    read: Callable[[Any], Read],
    *,
    lacking: str,
    fix: str,
    timeout: float,
    key: str | None = None,
) -> Read:
    """What `read` makes of the server's answer to a JSON body; `key` goes as a bearer token.

    Raises InputError (`url: no <lacking>`, `fix`) where there is no answer, or not the one that `read` wants.
    """
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return read(json.load(answer))
    except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"{url}: no {lacking} ({error})", fix) from None
