"""What sequences begin with alike, as a tree: each shared run of ids is computed once, by the way to it.

A prompt begins all sequences, a query those of its documents. Sorted, sequences that begin alike stand
side by side, and how long neighbours agree says where the tree branches. A run is shared where that
saves more than it costs; the rest of a branch goes with its parent's sequences, so that batches stay large.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lingxi.engine.batches import Ids, by_budget

# Measured on one core, in tokens of a full batch: a pass of its own costs 17 (1024 wide) to 31 (384 wide)
# more than its tokens, and a shared run is one pass and one more batch that is not full.
_SAVING = 64
# A token of the prefix that is copied beside a sequence costs at most a twelfth of one that is computed.
_COPIES = 12
# Keys and values of a shared run are held while what is below it runs: so many, one after the other, at most.
_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Node:
    """The first `length` ids of sequence number `of`, which all sequences below the node begin with."""

    parent: Node | None
    of: int
    length: int

    def path(self) -> list[Node]:
        """From the root to this node."""
        return [*(self.parent.path() if self.parent else []), self]


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences (by number) that run together, after what `node` holds."""

    node: Node | None
    members: list[int]


def plan(sequences: Sequence[Ids], budget: int, *, share: bool = True) -> Iterator[Batch]:
    """Batches that hold each sequence once, depth first, so that one path of nodes lives at a time.

    A batch has at most `budget` tokens (one sequence at least), and so has a shared run.
    """
    if not share or len(sequences) < 2:
        yield from _batches(sequences, None, range(len(sequences)), budget)
        return
    ids = [list(s) for s in sequences]
    order = sorted(range(len(ids)), key=lambda i: ids[i])
    alike = [0, *(_agreement(ids[a], ids[b]) for a, b in pairwise(order))]
    yield from _Tree(ids, order, alike, budget).below(None, 0, len(order), 0)


@dataclass(frozen=True, slots=True)
class _Tree:
    """`order` sorts the sequences; `alike[i]` is how many ids the i-th shares with the one before it."""

    sequences: Sequence[Ids]
    order: list[int]
    alike: list[int]
    budget: int

    def below(self, parent: Node | None, low: int, high: int, depth: int) -> Iterator[Batch]:
        """Batches of the sequences low … high of the order, which all begin with what `parent` holds."""
        own: list[int] = []
        for first, last, length in self._branches(low, high, parent.length if parent else 0, depth):
            if length:
                node = Node(parent, self.order[first], length)
                yield from self.below(node, first, last, depth + 1)
            else:
                own += self.order[first:last]
        yield from _batches(self.sequences, parent, own, self.budget)

    def _branches(self, low: int, high: int, start: int, depth: int) -> Iterator[tuple[int, int, int]]:
        """Parts of the order, each with the length it is worth sharing (0: none)."""
        waiting = [(low, high)]
        while waiting:
            first, last = waiting.pop()
            length = self._shared(first, last)
            most = min(self.budget, max(self.alike[first + 1 : last], default=0))
            if depth == _DEPTH or _saved(most - start, last - first) < _SAVING:
                yield first, last, 0  # whatever is shared within, it saves too little
            elif _saved(length - start, last - first) >= _SAVING:
                yield first, last, length
            else:
                waiting += self._split(first, last)

    def _shared(self, first: int, last: int) -> int:
        """How many ids the part shares: each sequence keeps one of its own, or there is none to pool."""
        if last - first < 2:
            return 0
        shortest = min(len(self.sequences[i]) for i in self.order[first:last])
        return min(shortest - 1, self.budget, *self.alike[first + 1 : last])

    def _split(self, first: int, last: int) -> list[tuple[int, int]]:
        """The part, cut at each place where neighbours agree least."""
        least = min(self.alike[first + 1 : last])
        bounds = [first, *(i for i in range(first + 1, last) if self.alike[i] == least), last]
        return list(pairwise(bounds))


def _saved(length: int, members: int) -> float:
    """Tokens not computed, against those copied."""
    return length * (members - 1 - members / _COPIES)


def _agreement(a: list[int], b: list[int]) -> int:
    """How many ids two sequences begin with alike."""
    limit = min(len(a), len(b))
    if a[:limit] == b[:limit]:
        return limit
    low, high = 0, limit
    while low < high:  # a[:low] agrees, a[:high + 1] does not
        middle = (low + high) // 2
        if a[low : middle + 1] == b[low : middle + 1]:
            low = middle + 1
        else:
            high = middle
    return low


def _batches(
    sequences: Sequence[Ids], node: Node | None, members: Sequence[int], budget: int
) -> Iterator[Batch]:
    start = node.length if node else 0
    # Keys and values of the prefix are copied beside a sequence's own: a part of a token's memory.
    lengths = [len(sequences[i]) - start + start // 4 for i in members]
    for batch in by_budget(lengths, budget):
        yield Batch(node, [members[i] for i in batch])
