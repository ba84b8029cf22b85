"""How many tokens a batch should have, found by trying some on this machine and network."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lingxi.engine.batches import Ids
from lingxi.engine.run import Network, pooled_states

_CPU_BUDGETS = (512, 1024, 2048, 4096, 8192)
_CUDA_BUDGETS = (8192, 16384, 32768, 65536, 131072)
# A larger batch takes more memory: it has to be this much faster than a smaller one.
_WORTH_IT = 0.03


@dataclass(frozen=True, slots=True)
class Tuning:
    """The tokens a batch that did best, and tokens a second of each that was tried."""

    budget: int
    speeds: dict[int, float]


def budgets_for(device: torch.device) -> tuple[int, ...]:
    """The tokens a batch worth trying on a device."""
    return _CPU_BUDGETS if device.type == "cpu" else _CUDA_BUDGETS


def tune(
    network: Network | Sequence[Network],
    sequences: Sequence[Ids],
    *,
    budgets: Sequence[int],
    rounds: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> Tuning:
    """Time all sequences under each budget, in turns, and take the smallest that is near the best.

    The best of `rounds` counts, since a busy machine only ever makes it slower. The sequences
    should be like those to come, and as many tokens as the largest budget; nothing is shared.
    """
    tokens = sum(map(len, sequences))
    fastest = dict.fromkeys(budgets, float("inf"))
    pooled_states(network, sequences[:8], share_prefix=False)
    for _ in range(rounds):
        for budget in budgets:
            began = clock()
            pooled_states(network, sequences, budget=budget, share_prefix=False)
            fastest[budget] = min(fastest[budget], clock() - began)
    least = min(fastest.values()) * (1 + _WORTH_IT)
    chosen = min(budget for budget, seconds in fastest.items() if seconds <= least)
    return Tuning(chosen, {budget: tokens / seconds for budget, seconds in fastest.items()})
