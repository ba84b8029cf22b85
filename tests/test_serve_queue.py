"""The queue: every job gets its own rows, clients are served evenly, what is not wanted is not computed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingxi.serve.contract import Caller
from lingxi.serve.queue import Limits, Queue
from lingxi.serve.refusal import Refusal
from lingxi.serve.turns import Job, Turns, job_of

POISON = 13
WIDE = Limits(batch_tokens=64, waiting_tokens=10_000, batch_s=1.0)


def row(ids: Sequence[int]) -> list[float]:
    return [len(ids), float(sum(ids)), float(ids[0]), float(ids[-1])]


class Engine:
    """Rows by a formula; keeps what it was given, can be held, and fails where it meets the poison."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, ...]]] = []
        self.open = threading.Event()
        self.open.set()
        self.at_work = threading.Event()

    def __call__(self, kind: str, items: Sequence[Any], lane: int) -> Sequence[Any]:
        self.batches.append([tuple(item) for item in items])
        self.at_work.set()
        assert self.open.wait(10)
        if any(POISON in item for item in items):
            raise ValueError("poison")
        return np.array([row(item) for item in items], np.float32)

    @property
    def computed(self) -> Counter[tuple[int, ...]]:
        return Counter(item for batch in self.batches for item in batch)


def with_queue(
    test: Callable[[Queue, Engine], Awaitable[None]], limits: Limits = WIDE, lanes: int = 1
) -> Engine:
    engine = Engine()

    async def main() -> None:
        queue = Queue("toy", engine, limits, lanes)
        try:
            async with asyncio.timeout(20):
                await test(queue, engine)
        finally:
            engine.open.set()
            await asyncio.to_thread(queue.close)

    asyncio.run(main())
    return engine


async def ask(
    queue: Queue, items: list[list[int]], client: str = "a", deadline: float | None = None
) -> list[Any]:
    found = await queue.rows("pooled", items, list(map(len, items)), Caller(client, "r", deadline))
    return found.rows


async def held(queue: Queue, engine: Engine) -> asyncio.Task[list[Any]]:
    """A job under way that ends when the engine is opened."""
    engine.open.clear()
    engine.at_work.clear()
    task = asyncio.create_task(ask(queue, [[1]], "first"))
    await asyncio.to_thread(engine.at_work.wait, 5)
    return task


ids = st.lists(st.integers(0, 12), min_size=1, max_size=30)
jobs = st.lists(st.tuples(st.sampled_from("abc"), st.lists(ids, max_size=12)), max_size=12)


@settings(max_examples=25, deadline=None)
@given(jobs=jobs, lanes=st.integers(1, 3))
def test_every_job_gets_its_own_rows(jobs: list[tuple[str, list[list[int]]]], lanes: int) -> None:
    async def test(queue: Queue, engine: Engine) -> None:
        found = await asyncio.gather(*(ask(queue, items, client) for client, items in jobs))
        for (_, items), rows in zip(jobs, found, strict=True):
            assert [list(r) for r in rows] == [row(item) for item in items]
        assert queue.load().waiting == queue.load().waiting_tokens == 0

    engine = with_queue(test, lanes=lanes)
    assert all(sum(map(len, batch)) <= 64 for batch in engine.batches)


def test_a_batch_takes_what_waits_from_all_clients_and_equal_texts_once() -> None:
    async def test(queue: Queue, engine: Engine) -> None:
        first = await held(queue, engine)
        rest = [asyncio.create_task(ask(queue, [[7, 7], [8, n]], f"c{n}")) for n in range(4)]
        await asyncio.sleep(0.05)
        engine.open.set()
        await asyncio.gather(first, *rest)

    engine = with_queue(test)
    assert len(engine.batches) == 2
    assert sorted(engine.batches[1]) == [(7, 7), (8, 0), (8, 1), (8, 2), (8, 3)]


def _job(client: str, lengths: Sequence[int]) -> Job:
    items = [[n] * length for n, length in enumerate(lengths)]
    future: Any = None
    return job_of("pooled", items, lengths, Caller(client, "r"), future)


def _tokens(taken: list[tuple[Job, int]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for job, i in taken:
        counts[job.caller.client] += job.lengths[i]
    return counts


def test_a_large_job_does_not_keep_others_waiting() -> None:
    turns = Turns()
    turns.enter(_job("bulk", [10] * 10_000))
    turns.take(100, 0.0)
    turns.enter(_job("one query", [8]))
    assert _tokens(turns.take(100, 0.0)[0])["one query"] == 8


def test_a_small_request_of_the_same_client_does_not_wait_for_its_large_one() -> None:
    turns = Turns()
    turns.enter(_job("a", [10] * 1000))
    turns.take(100, 0.0)
    small = _job("a", [8])
    turns.enter(small)
    assert small in [job for job, _ in turns.take(100, 0.0)[0]]


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.lists(st.integers(1, 50), min_size=20, max_size=25), min_size=2, max_size=5))
def test_clients_with_a_backlog_get_equal_tokens(lengths: list[list[int]]) -> None:
    turns = Turns()
    for number, own in enumerate(lengths):
        turns.enter(_job(f"client {number}", own))
    had: Counter[str] = Counter()
    while turns.clients() == len(lengths):
        before = had.copy()
        had += _tokens(turns.take(60, 0.0)[0])
    assert max(before.values(), default=0) - min(before.values(), default=0) <= 50


def test_coming_again_and_again_gives_no_more_than_a_fair_share() -> None:
    turns = Turns()
    turns.enter(_job("steady", [10] * 500))
    had: Counter[str] = Counter()
    for _ in range(100):
        # One request at a time, each as large as a batch.
        if not turns.waiting("again"):
            turns.enter(_job("again", [10] * 4))
        had += _tokens(turns.take(40, 0.0)[0])
    assert abs(had["steady"] - had["again"]) <= 100


def test_who_waited_long_ago_has_no_credit() -> None:
    turns = Turns()
    turns.enter(_job("late", [10]))
    turns.take(100, 0.0)
    turns.enter(_job("steady", [10] * 500))
    for _ in range(20):
        turns.take(40, 0.0)
    turns.enter(_job("late", [10] * 100))
    assert _tokens(turns.take(40, 0.0)[0]) == {"steady": 20, "late": 20}


def test_what_is_cancelled_is_never_computed() -> None:
    async def test(queue: Queue, engine: Engine) -> None:
        first = await held(queue, engine)
        gone = asyncio.create_task(ask(queue, [[5, 5], [6]]))
        stays = asyncio.create_task(ask(queue, [[9]]))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0.05)
        assert queue.load().waiting == 1
        engine.open.set()
        await asyncio.gather(first, stays)
        assert gone.cancelled()

    engine = with_queue(test)
    assert set(engine.computed) == {(1,), (9,)}


def test_what_is_late_is_refused_in_time_and_never_computed() -> None:
    async def test(queue: Queue, engine: Engine) -> None:
        first = await held(queue, engine)
        began = time.monotonic()
        with pytest.raises(Refusal) as refused:
            await ask(queue, [[5]], deadline=began + 0.1)
        assert (refused.value.status, refused.value.kind) == (504, "late")
        assert time.monotonic() - began < 2
        engine.open.set()
        await first

    assert (5,) not in with_queue(test).computed


def test_turns_drop_what_is_late() -> None:
    turns, late = Turns(), _job("a", [5])
    late.caller = Caller("a", "r", deadline=1.0)
    turns.enter(late)
    turns.enter(_job("a", [7]))
    taken, found = turns.take(100, 2.0)
    assert found == [late] and _tokens(taken) == {"a": 7} and not turns


def test_too_much_is_refused_with_the_time_to_wait() -> None:
    limits = Limits(batch_tokens=10, waiting_tokens=100, batch_s=1.0)

    async def test(queue: Queue, engine: Engine) -> None:
        await ask(queue, [[2]])
        first = await held(queue, engine)
        kept = [asyncio.create_task(ask(queue, [[3] * 10] * 5, client)) for client in "ab"]
        await asyncio.sleep(0.05)
        for client in "ac":
            with pytest.raises(Refusal) as refused:
                await ask(queue, [[4]], client)
            assert refused.value.status == 429 and 1 <= (refused.value.retry_after or 0) <= 120
        with pytest.raises(Refusal):
            queue.admit("c")
        assert queue.load().refused == 3
        engine.open.set()
        await asyncio.gather(first, *kept)
        queue.admit("c")

    with_queue(test, limits)


def test_one_client_has_half_the_room() -> None:
    limits = Limits(batch_tokens=10, waiting_tokens=100, batch_s=1.0)

    async def test(queue: Queue, engine: Engine) -> None:
        first = await held(queue, engine)
        kept = [asyncio.create_task(ask(queue, [[3] * 10] * 5, "a"))]
        await asyncio.sleep(0.05)
        with pytest.raises(Refusal):
            await ask(queue, [[4]], "a")
        kept.append(asyncio.create_task(ask(queue, [[4]], "b")))
        engine.open.set()
        await asyncio.gather(first, *kept)

    with_queue(test, limits)


def test_a_batch_that_fails_fails_for_the_job_at_fault_alone() -> None:
    async def test(queue: Queue, engine: Engine) -> None:
        first = await held(queue, engine)
        good = asyncio.create_task(ask(queue, [[5], [6]], "b"))
        bad = asyncio.create_task(ask(queue, [[7], [POISON], [8] * 60, [9] * 60], "c"))
        await asyncio.sleep(0.05)
        engine.open.set()
        rows = await asyncio.gather(first, good)
        assert [list(r) for r in rows[1]] == [row([5]), row([6])]
        with pytest.raises(Refusal) as refused:
            await bad
        assert (refused.value.status, refused.value.kind) == (500, "backend")
        assert "poison" not in str(refused.value)
        assert [list(r) for r in await ask(queue, [[3]])] == [row([3])]
        assert queue.load().failures == 1 and queue.load().waiting == 0

    with_queue(test)


def test_numbers_that_are_none_are_a_failure() -> None:
    async def main() -> None:
        def broken(kind: str, items: Sequence[Any], lane: int) -> Sequence[Any]:
            return np.full((len(items), 2), np.nan, np.float32)

        queue = Queue("toy", broken, WIDE)
        with pytest.raises(Refusal):
            await ask(queue, [[1]])
        await asyncio.to_thread(queue.close)

    asyncio.run(main())


def test_draining_finishes_what_waits_and_takes_no_more() -> None:
    async def test(queue: Queue, engine: Engine) -> None:
        first = await held(queue, engine)
        waits = asyncio.create_task(ask(queue, [[5]] * 50))
        await asyncio.sleep(0.05)
        queue.drain()
        with pytest.raises(Refusal) as refused:
            await ask(queue, [[6]])
        assert (refused.value.status, refused.value.kind) == (503, "unready")
        assert not await queue.idle(0.05)
        engine.open.set()
        assert await queue.idle(5)
        assert len(await waits) == 50 and first.done()

    with_queue(test)


def test_closing_refuses_what_still_waits() -> None:
    async def test(queue: Queue, engine: Engine) -> None:
        first = await held(queue, engine)
        waits = asyncio.create_task(ask(queue, [[5]]))
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(asyncio.to_thread(queue.close))
        with pytest.raises(Refusal):
            await waits
        engine.open.set()
        await closing
        assert len(await first) == 1 and not queue.alive()

    with_queue(test)


def test_batches_become_smaller_where_they_take_long() -> None:
    limits = Limits(batch_tokens=100_000, waiting_tokens=10**7, batch_s=0.05)

    async def main() -> list[int]:
        sizes: list[int] = []

        def slow(kind: str, items: Sequence[Any], lane: int) -> Sequence[Any]:
            sizes.append(sum(map(len, items)))
            time.sleep(sizes[-1] / 20_000)
            return np.ones((len(items), 1), np.float32)

        queue = Queue("toy", slow, limits)
        for _ in range(2):
            await ask(queue, [[n, *[0] * 99] for n in range(50)])
        await asyncio.to_thread(queue.close)
        return sizes

    sizes = asyncio.run(main())
    assert sizes[0] == 5000 and max(sizes[1:]) <= 1100
