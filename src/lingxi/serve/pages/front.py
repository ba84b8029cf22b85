"""The door of the pages: `/` for those who ask for HTML, and the headers that bind a browser."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Under "no-referrer" a browser sends our own forms with `Origin: null`, which the guard refuses.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
BELOW = "/ui"


class Front:
    """ASGI middleware: shows the search page at `/` to browsers, and guards whatever is sent below `/ui`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, at the address of the page where one is meant."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        root = scope.get("root_path", "")
        path = scope["path"].removeprefix(root)
        is_front = path in ("", "/") and scope["method"] in ("GET", "HEAD")
        if is_front and _wants_html(Headers(scope=scope)):
            path = f"{BELOW}/search"
            scope = {**scope, "path": root + path, "raw_path": (root + path).encode()}
        is_ours = path == BELOW or path.startswith(f"{BELOW}/")

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers.update(_HEADERS if is_ours else {})
                if is_front:
                    headers.add_vary_header("Accept")
                message["headers"] = headers.raw
            await send(message)

        await self._app(scope, receive, guarded if is_ours or is_front else send)


def _wants_html(headers: Any) -> bool:
    """Whether HTML is named: what takes anything (`*/*`) is a program that asks for health."""
    return "text/html" in headers.get("accept", "").lower()
