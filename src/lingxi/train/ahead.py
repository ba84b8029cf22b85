"""What the processor makes of a step while the device computes those before it.

A step's draw depends on the seed and its number alone, so it may be made at any time and anywhere: processes
forked for it draw the next few, and a run with them is the run without them.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

Prepare = Callable[[np.random.Generator], Any]


@runtime_checkable
class TwoHalves(Protocol):
    """A step whose first half needs no network, and can be sent from one process to another."""

    def prepare(self, rng: np.random.Generator) -> Any:
        """Draw, render and tokenize."""

    def compute(self, prepared: Any) -> Any:
        """Encode, compare and go back; the figures."""


def prepared(prepare: Prepare, seed: int, steps: range, processes: int, depth: int) -> Iterator[Any]:
    """What `prepare` makes of each step's random numbers, in order; up to `depth` wait for whoever asks.

    Raises what `prepare` raised, at the step that it was for.
    """
    waiting: deque[Future[Any]] = deque()
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("fork"), initializer=_take, initargs=(prepare, seed)
    )
    try:
        for number in steps:
            waiting.append(pool.submit(_made, number))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


# Of a forked process alone: what it inherited, which is never sent.
_inherited: dict[str, Any] = {}


def _take(prepare: Prepare, seed: int) -> None:
    # The tokenizer's threads were not forked with it: told to use them it would wait for ever.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    _inherited.update(prepare=prepare, seed=seed)


def _made(number: int) -> Any:
    return _inherited["prepare"](np.random.default_rng((_inherited["seed"], number)))
