"""Rows that contrast: one query under two instructions, each with a document that is wrong for the other.

They teach that an instruction decides what is right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lingxi.train.store import Store

# Rows of the same query that are looked at for one partner.
_TRIES = 16


def contrast_partners(
    store: Store, numbers: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """For each row another with the same query and task, another instruction and another positive, or −1.

    Its positive is a hard negative of the other row (arXiv 2409.11136: instructed negatives).
    """
    return np.array([_partner(store, int(number), rng) for number in numbers], np.int64)


def _partner(store: Store, number: int, rng: np.random.Generator) -> int:
    hashes, rows = store.columns["contrast_hashes"], store.columns["contrast_rows"]
    sought = store.columns["query_hashes"][number]
    start, end = np.searchsorted(hashes, [sought, sought + np.uint64(1)])
    for place in rng.permutation(end - start)[:_TRIES]:
        other = int(rows[start + place])
        if _contrasts(store, number, other):
            return other
    return -1


def _contrasts(store: Store, number: int, other: int) -> bool:
    one, two = (store.strata[store.columns["strata"][each]] for each in (number, other))
    if one.task != two.task or one.instruction == two.instruction:
        return False
    ours, theirs = (store.positives.of(each) for each in (number, other))
    known: set[object] = {each.id for each in ours} | {each.text for each in ours}
    return not any(each.id in known or each.text in known for each in theirs)


def with_partners(
    store: Store, numbers: NDArray[np.int64], rng: np.random.Generator, size: int
) -> NDArray[np.int64]:
    """Rows, each followed by its partner where it has one, up to `size`; else no two of one group."""
    groups = store.columns["groups"]
    kept: list[int] = []
    seen: set[int] = set()
    for number, partner in zip(numbers, contrast_partners(store, numbers, rng), strict=True):
        row, other = int(groups[number]), int(groups[partner])
        if row not in seen:
            kept.append(int(number))
            if partner >= 0 and other not in seen:
                kept.append(int(partner))
                seen.add(other)
            seen.add(row)
    return np.array(kept[:size], np.int64)
