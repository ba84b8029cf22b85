"""Who may come in: Host and Origin checked, API keys, bodies in limits, headers that keep pages apart.

Two pure ASGI layers: `Door` looks at where a request comes from and at the headers of the answer, `Gate` at
its key and body. Between them stands CORS, where origins are allowed at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from lingxi.serve.bodies import (
    Gone,
    Limits,
    check_characters,
    lingering,
    read_body,
    replayed,
    stated_length,
)
from lingxi.serve.keys import Key, owner
from lingxi.serve.listen import Message, Receive, Send
from lingxi.serve.refusal import Refusal

# A dialect's shape for a refusal, by the path that was asked.
Shape = Callable[[str, Refusal], Response]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
_ON_PAGES = {
    "content-security-policy": POLICY,
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What comes in: `hosts` a request may be addressed to ("*": any), `origins` whose pages may ask.

    `open_paths` need no key and no known host (for probes, which ask by address); no keys: all is open.
    """

    keys: tuple[Key, ...]
    hosts: tuple[str, ...]
    origins: tuple[str, ...]
    limits: Limits
    open_paths: frozenset[str] = frozenset()


def headers_of(scope: Message) -> dict[bytes, bytes]:
    """The headers of a request; of a repeated one the last."""
    return {name.lower(): value for name, value in scope["headers"]}


class Door:
    """Refuses what is addressed to another host or sent by another site's page; puts headers on answers."""

    def __init__(self, app: ASGIApp, rules: Rules, shape: Shape) -> None:
        self._app, self._rules, self._shape = app, rules, shape

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on, or answer."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (found := self._refusal(scope)) is not None:
            await self._shape(scope["path"], found)(scope, receive, _with_headers(send))
        else:
            await self._app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Message) -> Refusal | None:
        hosts = [value for name, value in scope["headers"] if name.lower() == b"host"]
        if scope["path"] not in self._rules.open_paths and not self._is_ours(hosts):
            return Refusal(
                400, "invalid_input", "the Host header does not name this server",
                "ask it by an address it is served under, or start it with --allow-host NAME",
            )  # fmt: skip
        if not self._may_ask(headers_of(scope)):
            return Refusal(
                403, "unauthorized", "pages of another site may not ask this server",
                "start it with --allow-origin ORIGIN",
            )  # fmt: skip
        return None

    def _is_ours(self, hosts: list[bytes]) -> bool:
        return len(hosts) == 1 and ("*" in self._rules.hosts or _name(hosts[0]) in self._rules.hosts)

    def _may_ask(self, headers: dict[bytes, bytes]) -> bool:
        """Whether it is no page of another site that asks: browsers say so in Origin and Sec-Fetch-Site."""
        origin = headers.get(b"origin")
        if origin is not None:
            stated = origin.decode("latin-1")
            return stated in self._rules.origins or _authority(stated) == headers.get(b"host", b"").decode(
                "latin-1"
            )
        # A link from elsewhere may open a page here; scripts and images from elsewhere may not.
        site, mode = headers.get(b"sec-fetch-site"), headers.get(b"sec-fetch-mode")
        return site in (None, b"same-origin", b"none") or mode == b"navigate"


def _name(host: bytes) -> str:
    """A Host header without its port, in small letters; of [::1]:80 the ::1."""
    try:
        return urlsplit(f"//{host.decode('latin-1')}").hostname or ""
    except ValueError:
        return ""


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


def _with_headers(send: Send) -> Send:
    """A `send` that adds the headers which are not there yet."""

    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _EVERYWHERE.items():
                headers.setdefault(name, value)
            if headers.get("content-type", "").startswith("text/html"):
                for name, value in _ON_PAGES.items():
                    headers.setdefault(name, value)
        await send(message)

    return adding


class Gate:
    """Asks for a key, then reads the body within its limits; what is behind it gets both checked.

    The client's name is left in `scope["state"]["client"]`: that of its key, or its address.
    """

    def __init__(self, app: ASGIApp, rules: Rules, shape: Shape) -> None:
        self._app, self._rules, self._shape = app, rules, shape

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on, or answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = headers_of(scope)
            scope.setdefault("state", {})["client"] = self._client(scope, headers)
            body = await read_body(receive, self._rules.limits, stated_length(headers))
            check_characters(body)
        except Gone:
            return
        except Refusal as refusal:
            last = lingering(receive, send, self._rules.limits) if _comes(headers, refusal) else send
            await self._shape(scope["path"], refusal)(scope, receive, last)
        else:
            await self._app(scope, replayed(body, receive), send)

    def _client(self, scope: Message, headers: dict[bytes, bytes]) -> str:
        """Who asks; raises Refusal 401."""
        if self._rules.keys and scope["path"] not in self._rules.open_paths:
            name = owner(self._rules.keys, _secret(headers))
            if name is None:
                raise Refusal(
                    401, "unauthorized", "a valid API key is needed",
                    "send it as Authorization: Bearer KEY, or as x-api-key",
                )  # fmt: skip
            return name
        return str((scope.get("client") or ("local",))[0])


def _secret(headers: dict[bytes, bytes]) -> bytes:
    """The key a request shows, by either custom; empty where it shows none."""
    scheme, _, secret = headers.get(b"authorization", b"").partition(b" ")
    return secret.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")


def _comes(headers: dict[bytes, bytes], refusal: Refusal) -> bool:
    """Whether more of a body is on its way; a client that waits to be told to send it does not."""
    states = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
    return headers.get(b"expect", b"").lower() != b"100-continue" and (states or refusal.status in (408, 413))


def put_on(app: Starlette, rules: Rules, shape: Shape) -> None:
    """Put the guard around an application; what is put on later stands outside of it."""
    # The last added is the outermost.
    app.add_middleware(Gate, rules=rules, shape=_challenging(shape))
    if rules.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(rules.origins), allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-api-key", "x-request-id"],
            expose_headers=["x-request-id", "retry-after"],
        )  # fmt: skip
    app.add_middleware(Door, rules=rules, shape=shape)


def _challenging(shape: Shape) -> Shape:
    """A shape whose 401 says what is asked for, as HTTP wants it."""

    def shaped(path: str, refusal: Refusal) -> Response:
        answer = shape(path, refusal)
        if refusal.status == 401:
            answer.headers["www-authenticate"] = "Bearer"
        return answer

    return shaped
