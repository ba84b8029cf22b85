"""Which rows the base embedder judges: a seeded sample of each task and pair of languages."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lingxi.curate.agreement import FEWEST, AgreementSettings, Scored, judge
from lingxi.records import Pair, drawn, read_pairs

Scores = dict[int, dict[str, float]]
"""Scores by the position of a row in its file."""

_Key = tuple[str, str, str, str]


def judged(
    settings: AgreementSettings, source: Path, reasons: Sequence[str | None], seed: int
) -> Iterator[tuple[list[int], Scored]]:
    """Positions and scores of the sampled rows of each stratum that has enough of them, largest first."""
    from lingxi.embedder import Embedder

    embedder = Embedder(settings.model)

    def encode(texts: Sequence[str], instruction: str | None) -> NDArray[np.float32]:
        short = [text[:_MOST] for text in texts]
        return np.asarray(
            embedder.encode(short, instruction=instruction, show_progress_bar=False), np.float32
        )

    for rows in _sampled(settings.rows, source, reasons, seed):
        yield [position for position, _ in rows], judge([row for _, row in rows], encode, settings, seed)


_JUDGED = ("bitext", "retrieval", "code")
# Characters of a side that are read: enough to know what it is about.
_MOST = 600


def scores_of(scored: Scored, place: int) -> dict[str, float]:
    """The scores of one row of a stratum, by name."""
    found = {
        "margin": scored.margin,
        "difficulty": scored.difficulty,
        "diversity": scored.diversity,
        "overlap": scored.overlap,
    }
    return {name: round(float(values[place]), 4) for name, values in found.items()}


def _sampled(
    most: int, source: Path, reasons: Sequence[str | None], seed: int
) -> Iterator[list[tuple[int, Pair]]]:
    """The kept rows with the smallest hashes of each stratum; only these are in memory."""
    heaps: dict[_Key, list[tuple[int, int, Pair]]] = defaultdict(list)
    for position, row in enumerate(read_pairs(source)):
        # Pairs with a similarity of their own, and labels, may well not mean the same.
        if reasons[position] is not None or row.task not in _JUDGED:
            continue
        heap = heaps[row.task, row.query_language, row.document_language, row.instruction]
        entry = (-drawn(seed, row.id), position, row)
        if len(heap) < most:
            heapq.heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapq.heapreplace(heap, entry)
    for _, heap in sorted(heaps.items(), key=lambda item: (-len(item[1]), item[0])):
        if len(heap) >= FEWEST:
            yield sorted((position, row) for _, position, row in heap)
