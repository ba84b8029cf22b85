"""Rows seen before, and too many of one kind: duplicates by hash, a seeded cap per source and languages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from lingxi.curate.rules import folded
from lingxi.errors import MissingExtraError
from lingxi.records import Pair, drawn, stable_hash

# The seed is the one that rensa's deduplicator asks for.
_PERMUTATIONS, _BANDS, _SEED = 64, 16, 42


def duplicate_rule() -> Callable[[Pair], str | None]:
    """A rule that remembers: a later row of the same task, query and positives is a duplicate."""
    seen: set[int] = set()

    def rule(row: Pair) -> str | None:
        key = stable_hash(
            "\x1f".join((row.task, folded(row.query), *(folded(item.text) for item in row.positives)))
        )
        if key in seen:
            return "duplicate"
        seen.add(key)
        return None

    return rule


def near_duplicate_rule(least: int = 200, alike: float = 0.85) -> Callable[[Pair], str | None]:
    """A rule that remembers long positives by MinHash (Broder 1997): a later one that is `alike` is a copy.

    Texts shorter than `least` characters are not looked at. `alike` is the Jaccard similarity of their
    three-word shingles. Raises MissingExtraError without the library rensa.
    """
    rensa = _rensa()
    # The same passage may answer questions of another kind: only rows that ask alike are copies.
    seen: dict[str, Any] = {}
    exact: set[tuple[str, int]] = set()

    def rule(row: Pair) -> str | None:
        text = row.positives[0].text if row.positives else ""
        if row.task == "bitext" or len(text) < least:
            return None
        words = folded(text).split()
        sketch = rensa.RMinHash(_PERMUTATIONS, _SEED)
        sketch.update([" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))])
        # Several questions may have one answer; what is looked for is a passage with small changes.
        key = (row.instruction, stable_hash(folded(text)))
        if key in exact:
            return None
        exact.add(key)
        if row.instruction not in seen:
            seen[row.instruction] = rensa.RMinHashDeduplicator(alike, _PERMUTATIONS, True, _BANDS)
        return None if seen[row.instruction].add(row.id, sketch) else "near duplicate"

    return rule


def _rensa() -> Any:
    try:
        import rensa
    except ImportError:
        raise MissingExtraError("rensa", "curate", "finding near duplicates") from None
    return rensa


class Cap:
    """At most `most` rows of one source, task and pair of languages, chosen by the hash of id and seed.

    The choice does not depend on the order of the rows, and a larger cap keeps all that a smaller one kept.
    """

    def __init__(self, most: int, seed: int) -> None:
        self.most = most
        self.seed = seed
        self._members: dict[tuple[str, str, str, str], list[tuple[int, int]]] = defaultdict(list)

    def enter(self, row: Pair, position: int) -> None:
        """Let a row take part in the draw under the position it has in its file."""
        self._members[_bucket(row)].append((drawn(self.seed, row.id), position))

    def losers(self) -> Iterator[int]:
        """Positions of the rows that do not fit under the cap."""
        for members in self._members.values():
            if len(members) > self.most:
                yield from (position for _, position in sorted(members)[self.most :])


def _bucket(row: Pair) -> tuple[str, str, str, str]:
    return row.source, row.task, row.query_language, row.document_language
