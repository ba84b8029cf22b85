"""Rows seen before, and too many of one kind: duplicates by hash, a seeded cap per source and languages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.curate.rules import folded
from lingxi.errors import MissingExtraError
from lingxi.records import Pair, stable_hash

# Rows of these tasks are too short to be nearly equal by chance or by copying.
SENTENCES = frozenset({"bitext"})
# The seed is the one that rensa's deduplicator asks for.
_PERMUTATIONS, _BANDS, _SEED = 64, 16, 42


def repeated(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which rows [n] have the key of an earlier one."""
    again = np.ones(len(keys), bool)
    again[np.unique(keys, return_index=True)[1]] = False
    return again


def over_cap(kinds: NDArray[np.int64], draws: NDArray[np.uint64], most: int) -> NDArray[np.bool_]:
    """Which rows [n] do not fit where each kind has room for `most`, those of the smallest draws.

    The choice does not depend on the order of the rows, and a larger cap keeps all that a smaller one kept.
    """
    return ranks(kinds, draws) >= most


def ranks(kinds: NDArray[np.int64], draws: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The place [n], from 0, of each row among those of its kind by their draws."""
    order = np.lexsort((draws, kinds))
    sorted_kinds = kinds[order]
    places = np.empty(len(kinds), np.int64)
    places[order] = np.arange(len(kinds)) - np.searchsorted(sorted_kinds, sorted_kinds, "left")
    return places


def near_duplicate_rule(least: int = 200, alike: float = 0.85) -> Callable[[Pair], str | None]:
    """A rule that remembers long positives by MinHash (Broder 1997): a later one that is `alike` is a copy.

    Texts shorter than `least` characters are not looked at. `alike` is the Jaccard similarity of their
    three-word shingles. Raises MissingExtraError without the library rensa.
    """
    rensa = _rensa()
    # The same passage may answer questions of another kind: only rows that ask alike are copies.
    seen: dict[str, Any] = {}
    said: dict[tuple[str, int], str | None] = {}

    def rule(row: Pair) -> str | None:
        """The reason for a row whose long answer was seen before with small changes, or None."""
        text = row.positives[0].text if row.positives else ""
        if row.task in SENTENCES or len(text) < least:
            return None
        # Several questions may have one answer: what was said of a text holds for it again.
        key = (row.instruction, stable_hash(folded(text)))
        if key not in said:
            words = folded(text).split()
            sketch = rensa.RMinHash(_PERMUTATIONS, _SEED)
            sketch.update([" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))])
            if row.instruction not in seen:
                seen[row.instruction] = rensa.RMinHashDeduplicator(alike, _PERMUTATIONS, True, _BANDS)
            said[key] = None if seen[row.instruction].add(row.id, sketch) else "near duplicate"
        return said[key]

    return rule


def _rensa() -> Any:
    try:
        import rensa
    except ImportError:
        raise MissingExtraError("rensa", "curate", "finding near duplicates") from None
    return rensa
