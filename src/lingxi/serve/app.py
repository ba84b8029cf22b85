"""The application: every dialect over one service, each refused in its own words, ready only when proved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lingxi import __version__
from lingxi.errors import InputError, LingxiError
from lingxi.serve.attend import attending
from lingxi.serve.dialects import DIALECTS, Dialect
from lingxi.serve.exchange import hoisted
from lingxi.serve.logged import told
from lingxi.serve.refusal import Refusal, RefusalKind, broken, refused
from lingxi.serve.service import Service
from lingxi.serve.settings import Settings

Extra = Callable[[FastAPI, Service], None]
# A dialect's shape for a refusal, by the path that was asked.
Shape = Callable[[str, Refusal], Response]
_KINDS: dict[int, RefusalKind] = {
    401: "unauthorized",
    403: "unauthorized",
    404: "not_found",
    413: "too_large",
}
_PLACE_SHOWN = 100
_ABOUT = "Vectors, scores and passages, equal to those that `lingxi` computes in process."


def create_app(
    service: Service,
    settings: Settings,
    *,
    extras: Sequence[Extra] = (),
    dialects: Sequence[Dialect] = DIALECTS,
) -> FastAPI:
    """The ASGI application of a service; `extras` install what stands around it, in order.

    Its lifespan warms up and checks the models, and at its end drains and closes the service. A refusal is
    shaped by `app.state.shape(path, refusal)`.
    """
    app = FastAPI(
        title="lingxi", version=__version__, description=_ABOUT, lifespan=_lifespan(service, settings)
    )
    attend = attending(settings.deadline_s)
    app.state.dialects = {}
    for dialect in dialects:
        add_paths(app, dialect.router(service, attend), dialect)
    app.state.shape = _shape(app.state.dialects, dialects)
    _handle(app)
    app.add_middleware(_Crashes, shape=app.state.shape)
    for extra in extras:
        extra(app, service)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def add_paths(app: FastAPI, routes: APIRouter, dialect: Dialect) -> None:
    """Add routes to an application whose refusals are in a dialect's shape."""
    for route in routes.routes:
        app.state.dialects.setdefault(getattr(route, "path", "").split("{")[0], dialect)
    app.include_router(routes)


def _lifespan(service: Service, settings: Settings) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        service.drain()
        await service.idle(settings.drain_s)
        service.close()

    return lifespan


def _shape(shapes: Mapping[str, Dialect], dialects: Sequence[Dialect]) -> Shape:
    """By the longest path of a dialect that the path begins with; else the last dialect's."""

    def shape(path: str, refusal: Refusal) -> Response:
        known = [
            start for start in shapes if path == start or (start.endswith("/") and path.startswith(start))
        ]
        dialect = shapes[max(known, key=len)] if known else dialects[-1]
        response = dialect.refusal(refusal)
        if refusal.retry_after is not None:
            response.headers["retry-after"] = str(max(1, round(refusal.retry_after)))
        return response

    return shape


def _handle(app: FastAPI) -> None:
    def shaped(make: Callable[[Any], Refusal]) -> Callable[[Request, Exception], Any]:
        async def handler(request: Request, error: Exception) -> Response:
            response: Response = app.state.shape(request.url.path, make(error))
            # The methods allowed, where another was asked for.
            response.headers.update(getattr(error, "headers", None) or {})
            return response

        return handler

    app.add_exception_handler(LingxiError, shaped(_of_error))
    app.add_exception_handler(RequestValidationError, shaped(_of_validation))
    app.add_exception_handler(HTTPException, shaped(_of_http))


def _of_error(error: LingxiError) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, InputError):
        return refused(error)
    told(error)
    return broken()


def _of_validation(error: RequestValidationError) -> Refusal:
    """422, saying where and what of the first problem, and nothing of what was sent."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")[:_PLACE_SHOWN]
    if first["type"] == "json_invalid":
        return Refusal(400, "invalid_input", "the body is not JSON", "send a JSON object")
    reason = f"{place or 'the body'}: {first['msg']}"
    param = str(first["loc"][0]) if place else None
    return Refusal(422, "invalid_input", reason, "see /docs for what is taken", param=param)


def _of_http(error: HTTPException) -> Refusal:
    kind = _KINDS.get(error.status_code, "invalid_input" if error.status_code < 500 else "backend")
    return Refusal(error.status_code, kind, str(error.detail), "see /docs for what is served")


class _Crashes:
    """Answers what nothing else caught with 500 and no detail; the log has the place."""

    def __init__(self, app: ASGIApp, shape: Shape) -> None:
        self._app, self._shape = app, shape

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer."""
        began = False

        async def sending(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            told(error)
            if scope["type"] != "http" or began:
                raise
            await self._shape(scope["path"], broken())(scope, receive, send)


def _document(app: FastAPI) -> dict[str, Any]:
    if not app.openapi_schema:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        app.openapi_schema = hoisted(made)
    return app.openapi_schema
