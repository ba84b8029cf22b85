"""Continuous batches: one model's work by turns, on a thread a device, asked from event loops.

A thread takes a batch whenever it is free, and never waits for one to fill. What a caller no longer wants is
not computed, what cannot wait is refused, what fails in a batch is tried job by job: each fails for itself.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lingxi.serve.contract import Caller, Load
from lingxi.serve.logged import told
from lingxi.serve.refusal import Refusal, broken
from lingxi.serve.turns import Job, Taken, Turns, job_of
from lingxi.serve.watch import Dropped, Unwatched, Watch

# (kind, items, lane) -> a row for each item
Compute = Callable[[str, Sequence[Any], int], Sequence[Any]]
# A batch is not made smaller than this for the sake of time: below, a pass costs more than its tokens.
_LEAST_BATCH = 256
# What the speed measured before counts beside a new batch.
_SMOOTH = 0.8
_LONGEST_RETRY_S = 120


@dataclass(frozen=True, slots=True)
class Limits:
    """Tokens a batch, tokens that may wait, and the seconds that a batch should not exceed."""

    batch_tokens: int
    waiting_tokens: int
    batch_s: float


@dataclass(frozen=True, slots=True)
class Rows:
    """A row for each item, the seconds until the first batch began, and those of all batches."""

    rows: list[Any]
    waited: float
    computed: float


class Queue:
    """What waits for one model, and the threads that compute it.

    `watch` is told of batches and of what is dropped; its `waiting` is of this queue alone.
    """

    def __init__(
        self, name: str, compute: Compute, limits: Limits, lanes: int = 1, watch: Watch | None = None
    ) -> None:
        self._name = name
        self._compute = compute
        self._limits = limits
        self._watch: Watch = watch or Unwatched()
        self._turns = Turns()
        self._changed = threading.Condition()
        self._running: Counter[int] = Counter()
        self._counts: Counter[str] = Counter()
        self._seconds = 0.0
        self._rate = 0.0
        self._draining = self._ended = False
        names = [f"lingxi-{name}-{lane}" for lane in range(lanes)]
        self._threads = [
            threading.Thread(target=self._work, args=(lane,), name=name, daemon=True)
            for lane, name in enumerate(names)
        ]
        for thread in self._threads:
            thread.start()

    async def rows(self, kind: str, items: Sequence[Any], lengths: Sequence[int], caller: Caller) -> Rows:
        """A row for each item, in order; a caller that is cancelled takes its work out.

        Raises Refusal: 429 where too much waits, 503 while draining, 504 past the caller's deadline, 500
        where the model failed.
        """
        if not items:
            return Rows([], 0.0, 0.0)
        loop = asyncio.get_running_loop()
        job = job_of(kind, items, lengths, caller, loop.create_future())
        self._enter(job)
        end = caller.deadline
        alarm = loop.call_later(end - time.monotonic(), _settle, job, _late()) if end is not None else None
        dropped: Dropped = "gone"
        try:
            rows = await job.future
            return Rows(rows, job.begun - job.entered, job.computed)
        except Refusal as refusal:
            dropped = "late" if refusal.kind == "late" else "failed"
            raise
        finally:
            if alarm is not None:
                alarm.cancel()
            self._leave(job, dropped)

    def _leave(self, job: Job, why: Dropped) -> None:
        with self._changed:
            self._turns.leave(job)
            self._tell_waiting()
        if job.missing:
            self._watch.dropped(why, job.missing)

    def _tell_waiting(self) -> None:
        self._watch.waiting(self._turns.sequences, self._turns.tokens)

    def admit(self, client: str) -> None:
        """Raise the Refusal that awaits anything more of a client, before work is put into it."""
        with self._changed:
            self._check(client, 1)

    def _check(self, client: str, tokens: int) -> None:
        if self._draining or self._ended:
            raise _closing()
        over = self._over(client, tokens)
        if over > 0:
            self._counts["refused"] += 1
            raise _overloaded(over / self._rate if self._rate else 1)

    def _enter(self, job: Job) -> None:
        tokens = sum(job.lengths)
        with self._changed:
            self._check(job.caller.client, tokens)
            job.entered = time.monotonic()
            self._turns.enter(job)
            self._tell_waiting()
            self._changed.notify()

    def _over(self, client: str, tokens: int) -> int:
        """Tokens that must be computed before there is room for so many more; one client has half the room.

        A request alone has room whatever its size: requests have a limit of their own.
        """
        room, all_, own = self._limits.waiting_tokens, self._turns.tokens, self._turns.waiting(client)
        return max(
            min(all_, all_ + tokens - room),
            min(own, own + tokens - room // 2),
        )

    def _work(self, lane: int) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._turns or self._ended)
                if self._ended:
                    return
                taken, late = self._turns.take(self._room(), time.monotonic())
                self._running[lane] = sum(job.lengths[i] for job, i in taken)
                self._tell_waiting()
            failed = self._run(taken, lane) if taken else []
            done = {id(job): job for job, _ in taken if not job.missing}
            _resolve([(job, None) for job in done.values()])
            _resolve([*((job, _late()) for job in late), *((job, broken()) for job in failed)])
            with self._changed:
                self._running[lane] = 0
                self._changed.notify_all()

    def _room(self) -> int:
        """Tokens of the next batch: fewer than usual where those would take long."""
        usual = self._limits.batch_tokens
        return min(usual, max(_LEAST_BATCH, int(self._rate * self._limits.batch_s))) if self._rate else usual

    def _run(self, taken: Taken, lane: int) -> list[Job]:
        """Compute a batch and return the jobs that failed."""
        began = time.monotonic()
        jobs = list({id(job): job for job, _ in taken}.values())
        failed: list[Job] = []
        try:
            self._fill(taken, lane)
        except Exception as error:
            told(error)
            failed = self._failing(taken, jobs, lane)
        seconds = time.monotonic() - began
        for job in jobs:
            job.begun = job.begun or began
            job.computed += seconds
        self._count(taken, failed, seconds)
        return failed

    def _failing(self, taken: Taken, jobs: list[Job], lane: int) -> list[Job]:
        """Compute each job of a batch that failed alone; those that fail again."""
        failed = jobs if len(jobs) == 1 else []
        for job in jobs if len(jobs) > 1 else []:
            try:
                self._fill([(j, i) for j, i in taken if j is job and job.rows[i] is None], lane)
            except Exception:
                failed.append(job)
        with self._changed:
            for job in failed:
                self._turns.leave(job)
        return failed

    def _fill(self, taken: Taken, lane: int) -> None:
        """Compute and hand out rows; equal items of one kind are computed once."""
        kinds: dict[str, dict[Hashable, Taken]] = {}
        for job, i in taken:
            if not job.over:
                kinds.setdefault(job.kind, {}).setdefault(_key(job.items[i]), []).append((job, i))
        for kind, places in kinds.items():
            items = [job.items[i] for job, i in (those[0] for those in places.values())]
            rows = self._compute(kind, items, lane)
            if not _finite(rows):
                raise FloatingPointError("the model made numbers that are none")
            for row, those in zip(rows, places.values(), strict=True):
                for job, i in those:
                    job.rows[i] = row
                    job.missing -= 1

    def _count(self, taken: Taken, failed: Sequence[Job], seconds: float) -> None:
        tokens = sum(job.lengths[i] for job, i in taken if job.rows[i] is not None)
        self._watch.batch(self._name, len(taken), tokens, seconds)
        with self._changed:
            self._counts.update(batches=1, sequences=len(taken), tokens=tokens, failures=len(failed))
            self._seconds += seconds
            if tokens and not failed:
                rate = tokens / max(seconds, 1e-6)
                self._rate = _SMOOTH * self._rate + (1 - _SMOOTH) * rate if self._rate else rate

    def drain(self) -> None:
        """Take no more; what waits is still computed."""
        with self._changed:
            self._draining = True

    async def idle(self, seconds: float) -> bool:
        """Wait until nothing waits and nothing runs, at most so long; whether that is so."""

        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(
                    lambda: not self._turns and not sum(self._running.values()), seconds
                )

        return await asyncio.to_thread(wait)

    def close(self) -> None:
        """End the threads after the batch they are at; what waits is refused with 503."""
        with self._changed:
            self._ended = True
            left = list(self._turns.jobs())
            self._changed.notify_all()
        _resolve([(job, _closing()) for job in left])
        for thread in self._threads:
            thread.join()

    def alive(self) -> bool:
        """Whether all threads are at work or ready for it."""
        return all(thread.is_alive() for thread in self._threads)

    def load(self) -> Load:
        """What there is to do, and what was done."""
        with self._changed:
            counts, turns = self._counts, self._turns
            return Load(
                waiting=turns.sequences,
                waiting_tokens=turns.tokens,
                clients=turns.clients(),
                running_tokens=sum(self._running.values()),
                batches=counts["batches"],
                sequences=counts["sequences"],
                tokens=counts["tokens"],
                failures=counts["failures"],
                refused=counts["refused"],
                seconds=self._seconds,
                rate=self._rate,
            )


def _key(item: Any) -> Hashable:
    return tuple(item) if isinstance(item, list) else id(item)


def _finite(rows: Any) -> bool:
    if isinstance(rows, np.ndarray):
        return bool(np.isfinite(rows).all())
    return all(np.isfinite(row).all() for row in rows)


def _resolve(told: Iterable[tuple[Job, Refusal | None]]) -> None:
    """Give each job its rows, or its refusal, in the loop that waits for it."""
    for job, refusal in told:
        loop = job.future.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, job, refusal)


def _settle(job: Job, refusal: Refusal | None) -> None:
    if job.future.done():
        return
    if refusal is None:
        job.future.set_result(job.rows)
    else:
        job.future.set_exception(refusal)


def _closing() -> Refusal:
    return Refusal(503, "unready", "the server is shutting down", "ask again soon", retry_after=5)


def _late() -> Refusal:
    return Refusal(504, "late", "the answer was not ready in time", "send fewer texts, or ask again later")


def _overloaded(seconds: float) -> Refusal:
    wait = min(max(math.ceil(seconds), 1), _LONGEST_RETRY_S)
    return Refusal(429, "overloaded", "too much is waiting", f"ask again in {wait} s", retry_after=wait)
