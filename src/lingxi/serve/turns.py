"""Whose turn it is: the jobs that wait for one model, in the order that is fair to clients and to requests.

The next sequence is always that of the client that has had the fewest tokens, and of its jobs of the one
that has had fewest: a large job is taken piece by piece between small ones, a client with many jobs is one
client. Who comes new, or again, begins where the least served one stands (start-time fair queueing, Goyal et
al. 1996).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from typing import Any

from lingxi.serve.contract import Caller


@dataclass(slots=True, eq=False)
class Job:
    """What one request wants computed: items of one kind, their tokens, and the rows that came so far.

    `order` holds the items not taken yet, the next one last; of a job that is `over` no row is wanted.
    `entered` and `begun` (its first batch) are monotonic times, `computed` the seconds of its batches.
    """

    kind: str
    items: Sequence[Any]
    lengths: Sequence[int]
    caller: Caller
    future: asyncio.Future[list[Any]]
    order: list[int]
    rows: list[Any]
    missing: int
    over: bool = False
    entered: float = 0.0
    begun: float = 0.0
    computed: float = 0.0


Taken = list[tuple[Job, int]]


def job_of(
    kind: str, items: Sequence[Any], lengths: Sequence[int], caller: Caller, future: asyncio.Future[list[Any]]
) -> Job:
    """A job whose longest items are taken first, equal ones side by side."""
    alike = all(isinstance(item, list) for item in items)
    order = sorted(range(len(items)), key=lambda i: (lengths[i], items[i] if alike else i))
    return Job(kind, items, lengths, caller, future, order, [None] * len(items), len(items))


@dataclass(slots=True)
class _Line:
    """A client's jobs by the tokens each has had, the tokens that wait, and those the client has had."""

    client: str
    had: float
    jobs: list[tuple[float, int, Job]] = field(default_factory=list)
    tokens: int = 0


class Turns:
    """Lines of clients. Not safe for threads: its queue holds the lock."""

    def __init__(self) -> None:
        self.tokens = 0
        self.sequences = 0
        self._lines: dict[str, _Line] = {}
        self._gone: dict[str, float] = {}
        self._numbers = count()

    def __bool__(self) -> bool:
        return self.sequences > 0

    def clients(self) -> int:
        """How many clients have something that waits."""
        return len(self._lines)

    def waiting(self, client: str) -> int:
        """Tokens of a client that wait."""
        line = self._lines.get(client)
        return line.tokens if line else 0

    def jobs(self) -> Iterator[Job]:
        """Jobs with something that waits."""
        for line in self._lines.values():
            yield from (job for _, _, job in line.jobs if job.order)

    def enter(self, job: Job) -> None:
        """Put a job in its client's line."""
        client = job.caller.client
        line = self._lines.get(client)
        if line is None:
            least = min((other.had for other in self._lines.values()), default=0.0)
            # What a client had ahead of the others still counts when it comes again.
            self._gone = {name: had for name, had in self._gone.items() if had > least and self._lines}
            line = self._lines[client] = _Line(client, self._gone.pop(client, least))
        had = line.jobs[0][0] if line.jobs else 0.0
        heappush(line.jobs, (had, next(self._numbers), job))
        self._waits(line, sum(job.lengths[i] for i in job.order), len(job.order))

    def leave(self, job: Job) -> None:
        """What is left of a job is not computed, and of what runs no row is kept."""
        job.over = True
        if job.order:
            line = self._lines[job.caller.client]
            self._waits(line, -sum(job.lengths[i] for i in job.order), -len(job.order))
            job.order.clear()
            self._tidy(line)

    def take(self, room: int, now: float) -> tuple[Taken, list[Job]]:
        """The sequences of a batch of at most `room` tokens (one at least), and jobs found too late."""
        taken: Taken = []
        late: list[Job] = []
        lines = [(line.had, number, line) for number, line in enumerate(self._lines.values())]
        heapify(lines)
        while lines:
            _, number, line = lines[0]
            had, _, job = line.jobs[0]
            if job.caller.deadline is not None and job.caller.deadline < now:
                late.append(job)
                self.leave(job)
            else:
                length = job.lengths[job.order[-1]]
                if taken and length > room:
                    break
                taken.append((job, job.order.pop()))
                room -= length
                line.had += length
                self._waits(line, -length, -1)
                heapreplace(line.jobs, (had + length, next(self._numbers), job))
                self._tidy(line)
            if line.jobs:
                heapreplace(lines, (line.had, number, line))
            else:
                heappop(lines)
        return taken, late

    def _waits(self, line: _Line, tokens: int, sequences: int) -> None:
        line.tokens += tokens
        self.tokens += tokens
        self.sequences += sequences

    def _tidy(self, line: _Line) -> None:
        """Jobs of which nothing waits go from the front of a line, and a line without jobs goes."""
        while line.jobs and not line.jobs[0][2].order:
            heappop(line.jobs)
        if not line.jobs:
            del self._lines[line.client]
            self._gone[line.client] = line.had
