"""Token-budget batches sorted by length, and the longest common run of ids.

Sorting puts equal lengths side by side, which the decoder attends to in one call; the budget
keeps memory steady whatever the lengths are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Ids = Sequence[int]


def by_budget(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of `lengths`, longest first, in batches of at most `budget` tokens (at least one each).

    Longest first, so that a batch that does not fit fails at the start and not after an hour.
    """
    order = sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True)
    batch: list[int] = []
    tokens = 0
    for index in order:
        if batch and tokens + lengths[index] > budget:
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += lengths[index]
    if batch:
        yield batch


def common_prefix(sequences: Sequence[Ids]) -> int:
    """Length of the longest run of ids all sequences begin with, leaving each at least one id of its own."""
    first = sequences[0]
    limit = min(map(len, sequences)) - 1
    for sequence in sequences[1:]:
        length = 0
        while length < limit and sequence[length] == first[length]:
            length += 1
        limit = length
        if limit == 0:
            break
    return max(limit, 0)
