"""Spread independent work over processes or machines: one code path from a laptop to a cluster, by Daft.

Work is a function from a short text (what to do) to a short text (what came of it); what it makes it writes
to files of its own, in one step. So work that was cut off is done again, and nothing is done by halves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

from lingxi.errors import MissingExtraError

# A lost worker takes the whole query with it; what was finished is on disk and not done again.
_ATTEMPTS = 3
Runner = Literal["here", "native", "ray"]
Work = Callable[[str], str]


def spread(
    work: Work, items: Sequence[str], runner: Runner = "here", processes: int | None = None
) -> list[str]:
    """What came of each item, in order: in this process, in several (`native`), or on a Ray cluster (`ray`).

    `work` must be importable or picklable. Raises MissingExtraError where the runner is not installed, and
    what work raises.
    """
    if runner == "here" or not items:
        return [work(item) for item in items]
    daft = _daft()
    if runner == "ray":
        daft.set_runner_ray(noop_if_initialized=True)
    for _ in range(_ATTEMPTS - 1):
        try:
            return _spread(daft, work, items, runner, processes)
        except Exception as problem:
            if runner != "ray" or not _is_loss(problem):
                raise
    return _spread(daft, work, items, runner, processes)


def _spread(daft: Any, work: Work, items: Sequence[str], runner: Runner, processes: int | None) -> list[str]:
    count = processes or os.cpu_count() or 1
    doing = daft.cls(_Doing, max_concurrency=count, use_process=runner == "native")(work)
    frame = daft.from_pydict({"item": list(items)}).into_batches(1)
    if runner == "ray":
        frame = frame.into_partitions(min(len(items), 4 * count))
    done = frame.select(frame["item"], doing(frame["item"]).alias("done")).to_pydict()
    came = dict(zip(done["item"], done["done"], strict=True))
    return [came[item] for item in items]


def _is_loss(problem: BaseException) -> bool:
    """Whether a worker or its machine was lost, so that the work is to be done again."""
    return any(
        word in repr(problem) for word in ("ActorDied", "WorkerCrashed", "NodeDied", "ActorUnavailable")
    )


class _Doing:
    """Work as Daft calls it, one item at a time."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __call__(self, item: str) -> str:
        return self._work(item)


def _daft() -> Any:
    try:
        import daft
    except ImportError:
        raise MissingExtraError("daft", "collect", "spreading work over processes") from None
    return daft
