"""What stands around the application, put on in the right order: guard, metrics, logs, traces, probes.

around = Operations(settings, place)
service = Service(..., settings=settings, watch=around.watch)
app = create_app(service, settings, extras=[..., around.install])
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lingxi.errors import InputError
from lingxi.serve.account import Account, Accounting, Spending, Told
from lingxi.serve.bodies import Limits
from lingxi.serve.guard import Rules, put_on
from lingxi.serve.keys import keys_of
from lingxi.serve.ledger import Place
from lingxi.serve.logs import request_lines
from lingxi.serve.metrics import CONTENT_TYPE, Metrics, exposition
from lingxi.serve.refusal import Refusal
from lingxi.serve.service import Service
from lingxi.serve.settings import Settings
from lingxi.serve.traces import exporting, spans
from lingxi.serve.watch import All, Watch
from lingxi.serve.workers import share_cores

# What may be opened to everyone: says nothing of what is served, but for /metrics, which says how much.
PROBES = ("/live", "/ready", "/health", "/ping")
OPENABLE = (*PROBES, "/metrics")


class Operations:
    """Made before the service, whose watch it is, and installed on its application, as the last extra.

    Raises InputError for settings that would leave a server open to the network, or open what may not be.
    """

    def __init__(self, settings: Settings, place: Place | None = None) -> None:
        check(settings)
        self._settings, self._place = settings, place or Place()
        if self._place.total > 1:
            share_cores(self._place.total)
        self._watches: list[Watch] = [Spending()]
        self.watch = All(self._watches)

    def install(self, app: FastAPI, service: Service) -> None:
        """Add `/metrics`, `/live` and `/ready`, and put the guard and the accounts around the application."""
        paths = _paths(app)
        metrics = Metrics([card.name for card in service.cards()], paths, self._place)
        self._watches.append(metrics)
        _add_probes(app, service)
        _add_metrics(app, service, metrics)
        put_on(app, rules_of(self._settings), app.state.shape)
        told = Told(self._listeners(metrics), metrics.opened, frozenset(paths), self._settings.log_texts)
        app.add_middleware(Accounting, told=told)

    def _listeners(self, metrics: Metrics) -> Sequence[Callable[[Account], None]]:
        lines = request_lines(texts=self._settings.log_texts, quiet=frozenset(OPENABLE))
        found: list[Callable[[Account], None]] = [metrics.answered, lines]
        if self._settings.otlp is not None:
            found.append(spans(exporting(self._settings.otlp)))
        return found


def check(settings: Settings) -> None:
    """Raise InputError where others could ask without a key, or a path is opened that may not be."""
    if not settings.api_keys and not is_here(settings.host):
        raise InputError(
            f"{settings.host} can be reached by others, and no key is set", "add --api-keys FILE"
        )
    wrong = sorted(set(settings.open_paths) - set(OPENABLE))
    if wrong:
        raise InputError(f"{', '.join(wrong)} cannot be open to all", f"choose of: {', '.join(OPENABLE)}")
    keys_of(settings.api_keys)


def is_here(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def rules_of(settings: Settings) -> Rules:
    """The guard's rules that settings mean."""
    return Rules(
        keys=keys_of(settings.api_keys),
        hosts=tuple(host.lower() for host in settings.hosts),
        origins=settings.origins,
        limits=Limits(settings.max_body_bytes, seconds=settings.body_s),
        open_paths=frozenset(settings.open_paths),
    )


def _paths(app: FastAPI) -> list[str]:
    """The paths that requests are counted by: those of the API's document, and our own."""
    return [*get_openapi(title="", version="", routes=app.routes)["paths"], "/live", "/ready", "/metrics"]


def _add_probes(app: FastAPI, service: Service) -> None:
    async def live(request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(request: Request) -> Response:
        state = service.state()
        if state.ready:
            return JSONResponse({"ready": True})
        why = "the server is shutting down" if state.draining else "the models are not ready"
        shaped: Response = app.state.shape(
            "/ready", Refusal(503, "unready", why, "ask again soon", retry_after=1)
        )
        return shaped

    app.add_api_route("/live", live, include_in_schema=False)
    app.add_api_route("/ready", ready, include_in_schema=False)


def _add_metrics(app: FastAPI, service: Service, metrics: Metrics) -> None:
    async def scrape(request: Request) -> Response:
        return Response(exposition(metrics, service), media_type=CONTENT_TYPE)

    app.add_api_route("/metrics", scrape, include_in_schema=False)
