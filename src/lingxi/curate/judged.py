"""Which rows the base embedder judges: a seeded sample of each task and pair of languages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lingxi.curate.agreement import FEWEST, AgreementSettings, Scored, judge
from lingxi.curate.duplicates import over_cap
from lingxi.curate.kinds import kinds_of, rows_at
from lingxi.curate.rowwise import Columns
from lingxi.encoding import encoder

_JUDGED = ("bitext", "retrieval", "code")
# Characters of a side that are read: enough to know what it is about.
_MOST = 600
# Rows in memory at a time, and so in one pass over the files.
_HELD = 100_000

Scores = dict[int, dict[str, float]]
"""Scores by the position of a row in its file."""


def judged(
    settings: AgreementSettings, files: Sequence[Path], columns: Columns, seed: int
) -> Iterator[tuple[list[int], Scored]]:
    """Positions and scores of the sampled rows of each stratum that has enough of them, largest first."""
    from lingxi.embedder import Embedder

    encode = encoder(Embedder(settings.model), _MOST)
    for group in grouped(_sampled(settings.rows, files, columns), _HELD):
        rows = dict(rows_at(files, np.sort(np.concatenate(group))))
        for positions in group:
            chosen = [int(position) for position in positions]
            yield chosen, judge([rows[position] for position in chosen], encode, settings, seed)


def grouped(strata: Sequence[NDArray[np.int64]], most: int) -> Iterator[list[NDArray[np.int64]]]:
    """The strata in their order, so many together as have `most` rows or fewer, or one that has more."""
    group: list[NDArray[np.int64]] = []
    for positions in strata:
        if group and sum(map(len, group)) + len(positions) > most:
            yield group
            group = []
        group.append(positions)
    if group:
        yield group


def scores_of(scored: Scored, place: int) -> dict[str, float]:
    """The scores of one row of a stratum, by name."""
    return {name: round(float(values[place]), 4) for name, values in scored.scores.items()}


def _sampled(most: int, files: Sequence[Path], columns: Columns) -> list[NDArray[np.int64]]:
    """Positions of the kept rows with the smallest draws of each stratum that has enough, largest first."""
    names = ("task", "query_language", "document_language", "instruction")
    kinds, labels = kinds_of(files, names)
    alive = columns.alive()
    # Pairs with a similarity of their own, and labels, may well not mean the same.
    alive = alive[np.array([label[0] in _JUDGED for label in labels], bool)[kinds[alive]]]
    chosen = alive[~over_cap(kinds[alive], columns.draw[alive], most)]
    order = np.argsort(kinds[chosen], kind="stable")
    chosen = chosen[order]
    parts = np.split(chosen, np.flatnonzero(np.diff(kinds[chosen])) + 1)
    enough = [part for part in parts if len(part) >= FEWEST]
    return sorted(enough, key=lambda part: (-len(part), labels[kinds[part[0]]]))
