"""Sequences laid end to end in one row of tokens, with no padding anywhere.

Equal lengths that stand side by side form a `Run`, so that attention is one call a run.
Callers sort by length first: then a batch has no more runs than it has distinct lengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch


@dataclass(frozen=True, slots=True)
class Run:
    """`count` neighbouring sequences of the same `length`, from token `start` and sequence `first`."""

    start: int
    first: int
    count: int
    length: int

    @property
    def tokens(self) -> slice:
        """Where the run's tokens stand in the packed row."""
        return slice(self.start, self.start + self.count * self.length)

    @property
    def sequences(self) -> slice:
        """Which sequences of the batch the run holds."""
        return slice(self.first, self.first + self.count)


@dataclass(frozen=True, slots=True, eq=False)
class Visual:
    """What pictures put in the place of token vectors: `vectors` [v, hidden] at `places` [v] of the row.

    `deep` [v, hidden] each are added there after the first layers (DeepStack, arXiv 2406.04334); `axes`
    [3, tokens] is where every token of the row stands in time, height and width.
    """

    places: torch.Tensor
    vectors: torch.Tensor
    deep: tuple[torch.Tensor, ...]
    axes: torch.Tensor


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch: `ids` [tokens], `positions` [tokens] (0 at each sequence's start), `last` [sequences].

    `starts` (int32 [sequences + 1]) is where each sequence begins, and the number of tokens at its end;
    `visual` is what its pictures say, where it has some.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    last: torch.Tensor
    starts: torch.Tensor
    runs: tuple[Run, ...]
    visual: Visual | None = None

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return max(run.length for run in self.runs)

    def bounds(self, *, one: bool) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[int, int]]:
        """Where sequences start, and the longest, of queries and of keys, as one call of attention is told.

        Queries are all tokens, or `one` of each sequence.
        """
        if not one:
            return (self.starts, self.starts), (self.longest, self.longest)
        each = torch.arange(len(self.starts), dtype=torch.int32, device=self.starts.device)
        return (each, self.starts), (1, self.longest)


def pack(sequences: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> Packed:
    """Lay non-empty sequences of ids end to end, in the order given; raises ValueError for an empty one."""
    lengths = [len(s) for s in sequences]
    if not lengths or min(lengths) == 0:
        raise ValueError("pack() needs at least one sequence, each of at least one token")
    flat = torch.tensor([i for s in sequences for i in s], dtype=torch.long)
    sizes = torch.tensor(lengths)
    last = sizes.cumsum(0) - 1
    starts = last - sizes + 1
    positions = torch.arange(len(flat)) - torch.repeat_interleave(starts, sizes)
    bounds = torch.cat((starts, sizes.sum()[None])).to(torch.int32)
    return Packed(
        flat.to(device), positions.to(device), last.to(device), bounds.to(device), tuple(_runs(lengths))
    )


def _runs(lengths: Sequence[int]) -> Iterator[Run]:
    start = first = 0
    for length, group in groupby(lengths):
        count = sum(1 for _ in group)
        yield Run(start, first, count, length)
        start += count * length
        first += count
