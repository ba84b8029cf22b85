"""One request until there is an answer: what is tried again, how long is waited, what refusals say.

Nothing here sends or sleeps: both are passed in, so that threads and event loops share it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from lingxi.asking import NoAnswerError

# Said by servers, or what stands before them, that may be better off in a while. All that is asked here
# computes and changes nothing, so it may be asked twice.
_OVERLOADED = (429, 502, 503, 504)
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: JSON to a path (None: a GET), how its answer is read, and what is lacking without one."""

    path: str
    body: Mapping[str, Any] | None
    read: Callable[[Any], Any]
    lacking: str


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request is repeated, and for how long is waited before, in seconds.

    The first pause is up to `pause` and each next twice as long; a server that asks for more than `longest`
    is given up.
    """

    retries: int = 3
    pause: float = 0.5
    longest: float = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request: status, headers and body, or why none did, and whether to ask again then."""

    status: int | None = None
    headers: Mapping[str, str] | None = None
    json: Callable[[], Any] | None = None
    failure: str = ""
    again: bool = False

    @classmethod
    def of(cls, answer: Any) -> Reply:
        """That of a response of httpx."""
        return cls(answer.status_code, answer.headers, answer.json)


async def answered(
    url: str,
    ask: Ask,
    patience: Patience,
    send: Callable[[Ask], Awaitable[Reply]],
    sleep: Callable[[float], Awaitable[None]],
) -> Any:
    """What was read of the answer; raises NoAnswerError: what was asked, what was said, how to mend it."""
    pause = patience.pause
    for left in range(patience.retries, -1, -1):
        reply = await send(ask)
        if reply.status is not None and reply.status < 300:
            return _read(url, ask, reply)
        wait = _asked_wait(reply)
        again = reply.again or reply.status in _OVERLOADED
        if not again or not left or (wait or 0) > patience.longest:
            raise _refused(url, ask, reply, wait)
        # Clients that were refused together are not to come back together.
        await sleep(pause * random.uniform(0.5, 1) if wait is None else wait)
        pause = min(pause * 2, patience.longest)
    raise AssertionError("the last attempt returns or raises")


def _read(url: str, ask: Ask, reply: Reply) -> Any:
    assert reply.json is not None
    try:
        return ask.read(reply.json())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NoAnswerError(
            f"{url}{ask.path}: no {ask.lacking} ({error or type(error).__name__})",
            "see that the server speaks this dialect at this address, and serves the model",
            reply.status,
        ) from None


def _refused(url: str, ask: Ask, reply: Reply, wait: float | None) -> NoAnswerError:
    said = f"{reply.status} {_words(reply)}".strip() if reply.status is not None else reply.failure
    remedy = _REMEDIES.get(reply.status, "see what the server says, and its log")
    return NoAnswerError(f"{url}{ask.path}: no {ask.lacking} ({said})", remedy, reply.status, wait)


_REMEDIES: Mapping[int | None, str] = {
    None: "start the server, or mend the address or the timeout",
    401: "give the server's key as token=",
    403: "give a key that may do this as token=",
    404: "see that the server speaks this dialect at this address, and serves the model",
    413: "send less at once: a smaller max_items or max_tokens",
    429: "ask less at once (parallel=), or wait",
}


def _words(reply: Reply) -> str:
    """What a refusal says, in any dialect's shape, on one line of bounded length."""
    try:
        said = reply.json() if reply.json is not None else ""
    except ValueError:
        return ""
    for name in ("error", "message", "detail"):
        if isinstance(said, Mapping) and said.get(name):
            said = said[name]
    if isinstance(said, Mapping):
        said = said.get("message", "")
    return " ".join(str(said).split())[:_SHOWN]


def _asked_wait(reply: Reply) -> float | None:
    """Seconds of a Retry-After, a number or a date; None without one."""
    said = (reply.headers or {}).get("retry-after", "").strip()
    if not said:
        return None
    try:
        return max(0.0, float(said)) if said[0].isdigit() else _until(parsedate_to_datetime(said))
    except ValueError:
        return None


def _until(then: datetime) -> float:
    aware = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
