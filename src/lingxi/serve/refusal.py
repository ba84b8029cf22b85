"""What a request is answered with where it cannot be served; every dialect has its own shape for it."""

from __future__ import annotations

from typing import Literal

from lingxi.errors import LingxiError

RefusalKind = Literal[
    "invalid_input", "unauthorized", "not_found", "too_large", "overloaded", "late", "unready", "backend"
]


class Refusal(LingxiError):
    """A request that is not served: `status` is HTTP's, `kind` says which sort of failure it is.

    `param` names the field at fault; `retry_after` is the seconds after which asking again makes sense.
    `reason` and `remedy` go to the client: no path, no text and no secret may stand in them.
    """

    def __init__(
        self,
        status: int,
        kind: RefusalKind,
        reason: str,
        remedy: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.kind: RefusalKind = kind
        self.param = param
        self.retry_after = retry_after
        super().__init__(reason, remedy)


def invalid(reason: str, remedy: str, param: str | None = None) -> Refusal:
    """400: a request that cannot be understood as it stands."""
    return Refusal(400, "invalid_input", reason, remedy, param=param)


def refused(error: LingxiError, param: str | None = None) -> Refusal:
    """400 for what a model would not take; its words are about the argument alone."""
    return invalid(error.reason, error.remedy, param)


def broken() -> Refusal:
    """500 without detail: what happened is in the log."""
    return Refusal(500, "backend", "the model could not compute this", "try again; the server's log has more")
