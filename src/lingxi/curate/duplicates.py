"""Rows seen before, and too many of one kind: duplicates by hash, a seeded cap per source and languages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from hashlib import blake2b

from lingxi.curate.rules import folded
from lingxi.records import Pair


def duplicate_rule() -> Callable[[Pair], str | None]:
    """A rule that remembers: a later row of the same task, query and positives is a duplicate."""
    seen: set[int] = set()

    def rule(row: Pair) -> str | None:
        key = _hash(
            "\x1f".join((row.task, folded(row.query), *(folded(item.text) for item in row.positives)))
        )
        if key in seen:
            return "duplicate"
        seen.add(key)
        return None

    return rule


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
        self._members[_bucket(row)].append((_hash(f"{self.seed}\x1f{row.id}"), position))

    def losers(self) -> Iterator[int]:
        """Positions of the rows that do not fit under the cap."""
        for members in self._members.values():
            if len(members) > self.most:
                yield from (position for _, position in sorted(members)[self.most :])


def _bucket(row: Pair) -> tuple[str, str, str, str]:
    return row.source, row.task, row.query_language, row.document_language


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")
