"""Logs: a line of JSON a request and an event. No texts, no paths of files, no keys, unless asked for texts.

Messages of other libraries may quote what a client sent or where a file lies: of those the wording without
its arguments is written, and of an exception its class and the functions it passed, not its message.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from traceback import walk_tb
from types import TracebackType
from typing import Any, TextIO

from lingxi.serve.account import Account

_OURS = "lingxi"
_FRAMES = 5


def configure(*, texts: bool = False, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Let all loggers of this process write JSON lines to a stream (stderr unless given)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Lines(texts))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"
    # What it says of every start and end is in our own lines.
    logging.getLogger("uvicorn.error").setLevel("WARNING")


class Lines(logging.Formatter):
    """A record as one line of JSON; `texts` True writes messages as they are."""

    def __init__(self, texts: bool = False) -> None:
        super().__init__()
        self._texts = texts

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record; what stands in `record.fields` is put in as it is."""
        values: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": self._event(record),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            values["error"] = record.exc_info[0].__name__
            values["in"] = _frames(record.exc_info[2])
            if self._texts:
                values["says"] = str(record.exc_info[1])
        return json.dumps(values, ensure_ascii=False, default=str)

    def _event(self, record: logging.LogRecord) -> str:
        if self._texts or record.name.split(".")[0] == _OURS:
            return record.getMessage()
        return str(record.msg).split("\n")[0]


def _frames(traceback: TracebackType | None) -> list[str]:
    """The functions an exception passed last, by module: no path of a file."""
    found = [
        f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_name}:{line}"
        for frame, line in walk_tb(traceback)
    ]
    return found[-_FRAMES:]


def request_lines(*, texts: bool = False, quiet: frozenset[str] = frozenset()) -> Callable[[Account], None]:
    """What writes a line for every request; of `quiet` paths (probes) only where they fail."""
    log = logging.getLogger("lingxi.serve.requests")

    def tell(account: Account) -> None:
        if account.path in quiet and account.status < 400:
            return
        log.info("request", extra={"fields": fields(account, texts=texts)})

    return tell


def fields(account: Account, *, texts: bool = False) -> dict[str, Any]:
    """What is logged of a request."""
    spent = account.spent
    values: dict[str, Any] = {
        "request": account.request,
        "client": account.client,
        "method": account.method,
        "path": account.path,
        "status": account.status,
        "seconds": round(account.seconds, 6),
        "received": account.received,
        "sent": account.sent,
    }
    if spent:
        values |= {
            "model": spent[-1].model,
            "texts": sum(len(one.lengths) for one in spent),
            "tokens": sum(sum(one.lengths) for one in spent),
            "tokenized": round(sum(one.tokenized for one in spent), 6),
            "waited": round(sum(one.waited for one in spent), 6),
            "computed": round(sum(one.computed for one in spent), 6),
        }
    if texts:
        values["body"] = account.body.decode("utf-8", "replace")
    return values
