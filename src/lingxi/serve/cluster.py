"""More than one machine: the application as a Ray Serve deployment, a proxy on every node, replicas anywhere.

Each replica opens the models itself and has a queue of its own; Ray's proxies spread requests over them by
how many each has under way, and do not cut bodies: limit those in what stands before them too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lingxi.errors import MissingExtraError
from lingxi.serve.ledger import Place
from lingxi.serve.listen import Application as Asgi
from lingxi.serve.workers import Listening

if TYPE_CHECKING:
    from ray.serve import Application

NAME = "lingxi"
# Makes the application in a replica.
Make = Callable[[Any, Place], Asgi]


def deployment(
    settings: Listening, make: Make, *, replicas: int, cores: float, ongoing: int = 256
) -> Application:
    """The application for `ray.serve.run`: so many replicas, each with so many cores and requests under way.

    `make` is called in each replica. Raises MissingExtraError without Ray.
    """
    serve = _serve()

    def build() -> Any:
        return make(settings, Place())

    made = serve.deployment(
        name=NAME,
        num_replicas=replicas,
        max_ongoing_requests=ongoing,
        ray_actor_options={"num_cpus": cores},
        graceful_shutdown_timeout_s=settings.drain_s,
    )(serve.ingress(build)())
    bound: Application = made.bind()
    return bound


def run(
    settings: Listening,
    make: Make,
    *,
    replicas: int,
    cores: float,
    ongoing: int = 256,
    address: str | None = None,
    everywhere: bool = True,
    blocking: bool = True,
) -> None:
    """Serve on a running Ray cluster (`address`; None: the one this machine belongs to, or a new one).

    Every node answers at `settings.port` (`everywhere` False: the head alone). Raises
    MissingExtraError without Ray.
    """
    serve = _serve()
    import ray

    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False)
    serve.start(
        proxy_location="EveryNode" if everywhere else "HeadOnly",
        http_options={"host": settings.host, "port": settings.port},
    )
    serve.run(
        deployment(settings, make, replicas=replicas, cores=cores, ongoing=ongoing),
        name=NAME,
        route_prefix="/",
        blocking=blocking,
    )


def _serve() -> Any:
    try:
        from ray import serve
    except ImportError:
        raise MissingExtraError("ray[serve]", "cluster", "serving from several machines") from None
    return serve
