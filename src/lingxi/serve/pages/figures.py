"""The figures of the status page, as numbers for its script and as they are shown without one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lingxi.serve.contract import State
from lingxi.serve.settings import Settings

EVERY_S = 2
_SUMS = ("waiting", "waiting_tokens", "sequences", "tokens", "failures")
_LIMITS = (
    "max_items",
    "max_request_tokens",
    "max_waiting_tokens",
    "max_batch_tokens",
    "max_body_bytes",
    "deadline_s",
)


def figures(state: State, uptime: float) -> dict[str, Any]:
    """What the service does: `state` in a word, seconds up, sums over models, and each model's load."""
    loads = {name: asdict(load) for name, load in state.loads.items()}
    sums = {name: sum(load[name] for load in loads.values()) for name in _SUMS}
    word = "draining" if state.draining else "ready" if state.ready else "unready"
    return {"state": word, "uptime": int(uptime), **sums, "loads": loads}


def shown(found: dict[str, Any]) -> dict[str, Any]:
    """The same for people: thousands apart, time as h:mm:ss."""
    sums = {name: thousands(found[name]) for name in _SUMS}
    loads = {
        name: {"rate": thousands(load["rate"]), "waiting": thousands(load["waiting"])}
        for name, load in found["loads"].items()
    }
    return {"state": found["state"], "uptime": clock(found["uptime"]), **sums, "loads": loads}


def limits(settings: Settings) -> list[tuple[str, str | None]]:
    """The limits of a server by their names in Settings."""
    values = [(name, getattr(settings, name)) for name in _LIMITS]
    return [(name, None if value is None else thousands(value)) for name, value in values]


def thousands(number: float) -> str:
    """A whole number with thin spaces between the thousands."""
    return f"{round(number):,}".replace(",", "\u202f")


def clock(seconds: int) -> str:
    """Seconds as h:mm:ss, with days before them."""
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    return (f"{days} d " if days else "") + f"{hours}:{minutes:02}:{seconds:02}"
