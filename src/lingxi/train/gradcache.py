"""Batches larger than memory, with exact gradients (GradCache: Gao et al. 2021, arXiv 2101.06983).

A contrastive loss needs the states of the whole batch, but its gradient reaches the network only
through them. So: encode in chunks without gradients, compute the loss and its gradient at the
states, then encode each chunk again and hand it its part of that gradient. Where one chunk holds
the batch, the first pass is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from lingxi.engine.batches import by_budget, common_prefix
from lingxi.train.encoders import Encode
from lingxi.train.parallel import ALONE, Ranks, gather

Figures = Mapping[str, float]
Step = Callable[[np.random.Generator], Figures]

# Sequences are taken together when they begin with this many equal ids or more, and computing
# those once saves at least so many tokens: each group costs a pass through the network.
_PREFIX = 8
_PREFIX_SAVING = 256


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's texts and what is made of them.

    `sequences` are token ids, prompts and end token included. `loss` takes their states
    [sequences, hidden], in this order and not normalised, to a scalar and figures for the log. It
    may read parameters of the network itself: their gradients add up.
    """

    sequences: list[list[int]]
    loss: Callable[[torch.Tensor], tuple[torch.Tensor, Figures]]


Objective = Callable[[np.random.Generator], Batch]


@runtime_checkable
class DrawnFirst(Protocol):
    """An objective in two halves: what is drawn needs no network and goes from process to process."""

    def draw(self, rng: np.random.Generator) -> Any:
        """What a batch is made of."""

    def batch(self, drawn: Any) -> Batch:
        """The batch."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Sequences that one pass encodes: `members` of the batch, whose first `shared` ids are equal.

    Without members, `stand_in` is encoded and dropped: every rank makes the same number of passes.
    """

    members: list[int]
    shared: int
    stand_in: int


def plain_step(encode: Encode, objective: Objective, ranks: Ranks = ALONE) -> Step:
    """A step that encodes the whole batch at once (queries and texts apart, where that saves tokens)."""
    return cached_step(encode, objective, None, ranks)


def cached_step(encode: Encode, objective: Objective, chunk_tokens: int | None, ranks: Ranks = ALONE) -> Step:
    """A step that keeps the activations of at most `chunk_tokens` tokens, or of one longer sequence.

    Exact: loss and gradients equal those of the whole batch at once. None sets no limit. The
    figures are the loss's own, with `loss` and `tokens` (of the whole batch, shared ones counted in
    every sequence). Where the objective is in two halves, so is the step (`ahead.TwoHalves`).
    """

    def compute(batch: Batch, seed: int) -> Figures:
        plan = plan_of(batch.sequences, chunk_tokens, ranks.size)
        work = _Work(encode, batch, plan, ranks, seed)
        once = len(plan[0]) == 1 or _fits(plan, batch.sequences, chunk_tokens)
        loss, figures = work.at_once() if once else work.in_two_passes()
        tokens = sum(map(len, batch.sequences))
        return {"loss": float(loss.detach()), **figures, "tokens": float(tokens)}

    if isinstance(objective, DrawnFirst):
        return _Halves(objective, compute)
    return lambda rng: compute(objective(rng), _seed(rng))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


@dataclass(frozen=True, slots=True)
class _Halves:
    """A step whose batch may be drawn before it."""

    objective: DrawnFirst
    step: Callable[[Batch, int], Figures]

    def __call__(self, rng: np.random.Generator) -> Figures:
        """Both halves."""
        return self.compute(self.prepare(rng))

    def prepare(self, rng: np.random.Generator) -> tuple[Any, int]:
        """What is drawn, and the step's seed of dropout."""
        return self.objective.draw(rng), _seed(rng)

    def compute(self, prepared: tuple[Any, int]) -> Figures:
        """The figures of the step."""
        drawn, seed = prepared
        return self.step(self.objective.batch(drawn), seed)


def plan_of(sequences: Sequence[list[int]], chunk_tokens: int | None, ranks: int) -> list[list[Chunk]]:
    """The chunks of each rank, equally many; each sequence is in one of them.

    Every rank makes the same plan, since all have drawn the same batch.
    """
    plan: list[list[Chunk]] = [[] for _ in range(ranks)]
    for shared, group in _groups(sequences):
        order = sorted(group, key=lambda i: len(sequences[i]), reverse=True)
        # Dealt like cards, so that the ranks have about equal work.
        shares = [order[rank::ranks] for rank in range(ranks)]
        chunks = [list(_chunks(sequences, share, shared, chunk_tokens)) for share in shares]
        most = max(map(len, chunks))
        for own, of_rank in zip(chunks, plan, strict=True):
            own += [[]] * (most - len(own))
            of_rank += [Chunk(members, shared, order[-1]) for members in own]
    return plan


def _groups(sequences: Sequence[list[int]]) -> Iterator[tuple[int, list[int]]]:
    """Sequences that begin alike, with the number of ids they share; all others together, with 0."""
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, sequence in enumerate(sequences):
        alike[tuple(sequence[:_PREFIX])].append(index)
    rest: list[int] = []
    for members in alike.values():
        shared = common_prefix([sequences[i] for i in members])
        if shared >= _PREFIX and shared * (len(members) - 1) >= _PREFIX_SAVING:
            yield shared, members
        else:
            rest += members
    if rest:
        yield 0, rest


def _chunks(
    sequences: Sequence[list[int]], share: list[int], shared: int, limit: int | None
) -> Iterator[list[int]]:
    lengths = [_cost(len(sequences[i]), shared) for i in share]
    room = sum(lengths) if limit is None else max(1, limit - shared)
    return ([share[i] for i in chunk] for chunk in by_budget(lengths, room))


def _cost(length: int, shared: int) -> int:
    # Beside its own tokens a sequence holds a copy of the shared keys and values: a part of a token's.
    return length - shared + shared // 4


def _fits(plan: list[list[Chunk]], sequences: Sequence[list[int]], limit: int | None) -> bool:
    """Whether every rank's chunks, taken together, are no more than one may hold."""
    if limit is None:
        return True
    needed = [
        sum(c.shared + sum(_cost(len(sequences[i]), c.shared) for i in c.members) for c in chunks)
        for chunks in plan
    ]
    return max(needed) <= limit


@dataclass(frozen=True, slots=True)
class _Work:
    """One batch, planned, on this rank."""

    encode: Encode
    batch: Batch
    plan: list[list[Chunk]]
    ranks: Ranks
    seed: int

    def at_once(self) -> tuple[torch.Tensor, Figures]:
        """The whole batch with its gradients, where it fits."""
        loss, figures = self.batch.loss(self._all_states())
        loss.backward()  # type: ignore[no-untyped-call]
        return loss, figures

    def in_two_passes(self) -> tuple[torch.Tensor, Figures]:
        """States without gradients, the loss, then each chunk again with its part of the gradient."""
        with torch.no_grad():
            states = self._all_states()
        states.requires_grad_()
        loss, figures = self.batch.loss(states)
        loss.backward()  # type: ignore[no-untyped-call]
        grad = torch.zeros_like(states) if states.grad is None else states.grad
        for number, chunk in enumerate(self.plan[self.ranks.rank]):
            # Times the ranks, as in `gather`: FSDP will divide by them.
            own = grad[chunk.members] * self.ranks.size
            self._encoded(number).backward(own)  # type: ignore[no-untyped-call]
        return loss, figures

    def _all_states(self) -> torch.Tensor:
        """States of the whole batch, gathered from all ranks, in the batch's order."""
        own = torch.cat([self._encoded(number) for number in range(len(self.plan[0]))])
        of_rank = [[i for chunk in chunks for i in chunk.members] for chunks in self.plan]
        order = torch.tensor([i for members in of_rank for i in members], device=own.device)
        return gather(own, [len(members) for members in of_rank], self.ranks)[order.argsort()]

    def _encoded(self, number: int) -> torch.Tensor:
        """States of this rank's chunk of that number."""
        chunk = self.plan[self.ranks.rank][number]
        # Dropout, where an adapter has it, must fall alike in both passes.
        torch.manual_seed(self.seed + number * self.ranks.size + self.ranks.rank)
        members = chunk.members or [chunk.stand_in]
        states = self.encode([self.batch.sequences[i] for i in members], chunk.shared)
        return states[: len(chunk.members)]
