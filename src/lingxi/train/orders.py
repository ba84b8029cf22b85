"""Orders of all rows that a store keeps: by stratum, and by queries that stand under two instructions.

Both are made chunk by chunk from columns on disk, so a hundred million rows need no more memory than one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1_000_000
# Rows whose query hashes are sorted at a time.
_PART = 2_000_000


def sorted_rows(
    strata: NDArray[np.uint32],
    order: Sequence[int],
    sizes: Sequence[int],
    target: NDArray[np.uint32],
    at_once: int = _CHUNK,
) -> None:
    """Write row numbers into `target`, stratum after stratum in `order`: a counting sort.

    `strata` [rows] are stratum numbers, `sizes` how many rows each has; `at_once` rows are read at a time.
    """
    place = np.zeros(len(sizes), np.int64)
    place[list(order)] = np.concatenate(([0], np.cumsum([sizes[number] for number in order])[:-1]))
    for start in range(0, len(strata), at_once):
        part = strata[start : start + at_once]
        sort = np.argsort(part, kind="stable")
        present, first, counts = np.unique(part[sort], return_index=True, return_counts=True)
        offsets = np.arange(len(part)) - np.repeat(first, counts)
        target[np.repeat(place[present], counts) + offsets] = sort + start
        place[present] += counts


def contrasts(
    hashes: NDArray[np.uint64],
    strata: NDArray[np.uint32],
    kinds: Sequence[tuple[str, ...]],
    at_once: int = _PART,
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Query hashes (rising) and rows of queries that a task has under more than one instruction.

    `kinds` holds (task, instruction) of each stratum; about `at_once` rows are sorted at a time.
    """
    tasks, kind = _numbers([task for task, _ in kinds]), _numbers(kinds)
    under = Counter(task for task, _ in set(kinds))
    many = np.array([under[task] > 1 for task, _ in kinds])
    parts = len(hashes) // at_once + 1 if many.any() else 0
    found = [_in_part(hashes, strata, (tasks, kind, many), part, parts) for part in range(parts)]
    none = np.empty(0, np.uint64), np.empty(0, np.int64)
    both = zip(*found, strict=True) if found else ([each] for each in none)
    joined_hashes, joined_rows = (np.concatenate(each) for each in both)
    return joined_hashes, joined_rows


def _numbers(names: Sequence[Hashable]) -> NDArray[np.int64]:
    """A number for each different name."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in names], np.int64)


def _in_part(
    hashes: NDArray[np.uint64],
    strata: NDArray[np.uint32],
    known: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]],
    part: int,
    parts: int,
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """As `contrasts`, of the hashes in one of `parts` ranges."""
    tasks, kind, many = known
    rows = _rows_of(hashes, strata, many, part, parts)
    order = np.lexsort((tasks[strata[rows]], hashes[rows]))
    rows = rows[order]
    found, task, kinds = hashes[rows], tasks[strata[rows]], kind[strata[rows]]
    if not len(rows):
        return found, rows
    new = np.flatnonzero(np.concatenate(([True], (found[1:] != found[:-1]) | (task[1:] != task[:-1]))))
    differing = np.minimum.reduceat(kinds, new) != np.maximum.reduceat(kinds, new)
    kept = np.repeat(differing, np.diff(new, append=len(rows)))
    return found[kept], rows[kept]


def _rows_of(
    hashes: NDArray[np.uint64], strata: NDArray[np.uint32], many: NDArray[np.bool_], part: int, parts: int
) -> NDArray[np.int64]:
    """Rows in one range of hashes whose task has many instructions."""
    first = np.uint64(part * 2**64 // parts)
    last = np.uint64((part + 1) * 2**64 // parts - 1)
    chosen = []
    for start in range(0, len(hashes), _CHUNK):
        here = hashes[start : start + _CHUNK]
        wanted = (here >= first) & (here <= last) & many[strata[start : start + _CHUNK]]
        chosen.append(np.flatnonzero(wanted) + start)
    return np.concatenate(chosen)
