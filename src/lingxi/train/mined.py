"""Rows with hard negatives, mined by an embedder: the data of a supervised phase and of the reranker."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from lingxi.encoding import Encode
from lingxi.errors import InputError
from lingxi.generate.negatives import mine_negatives
from lingxi.generate.settings import NegativeSettings
from lingxi.records import Pair, drawn, read_pairs, write_pairs
from lingxi.train.phases import MiningSettings, MixtureSettings


def mined_pairs(
    pairs: Path, mixture: MixtureSettings, settings: MiningSettings, encode: Encode, out: Path
) -> Path:
    """Write rows of the mixture's tasks and sources, each with mined negatives behind its own; returns `out`.

    Up to `rows` of each task and instruction are drawn by seed, whatever their order; rows of one query are
    drawn together, so that those that contrast keep their partners. Negatives are other drawn rows' positives
    that no row of the file says are right. A file that is there is kept. Raises InputError where the mixture
    has no rows.
    """
    if out.exists():
        return out
    chosen = _drawn_evenly(_wanted(read_pairs(pairs), mixture), settings)
    if not chosen:
        raise InputError(
            f"{pairs}: no rows of {', '.join(mixture.tasks)} from {', '.join(mixture.sources)}",
            "name tasks and sources that the pairs have",
        )
    search = NegativeSettings(**settings.model_dump(exclude={"rows"}))
    write_pairs(mine_negatives(chosen, encode, search, known_from=pairs), out)
    return out


def _wanted(rows: Iterable[Pair], mixture: MixtureSettings) -> Iterator[Pair]:
    for row in rows:
        named = any(fnmatchcase(row.source, pattern) for pattern in mixture.sources)
        if named and mixture.tasks.get(row.task, 0) > 0 and row.dropped is None and row.positives:
            yield row


def _drawn_evenly(rows: Iterable[Pair], settings: MiningSettings) -> list[Pair]:
    """Up to `rows` of each kind, those with the smallest hashes; no others are held."""
    heaps: dict[tuple[str, str], list[tuple[int, int, Pair]]] = defaultdict(list)
    for number, row in enumerate(rows):
        heap = heaps[row.task, row.instruction]
        entry = (-drawn(settings.seed, row.query), -number, row)
        if len(heap) < settings.rows:
            heapq.heappush(heap, entry)
        elif entry[:2] > heap[0][:2]:
            heapq.heapreplace(heap, entry)
    # In the order of the file.
    held = sorted((entry for heap in heaps.values() for entry in heap), key=lambda entry: -entry[1])
    return [row for _, _, row in held]
