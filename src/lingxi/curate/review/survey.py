"""Which rows of a run stand in which stratum, and which of them are read: by numbers, no text is looked at.

Strata are source, languages and band of the margin (`by` source), or the task (`by` stage); of dropped rows
the reason why they were dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lingxi.curate.duplicates import ranks
from lingxi.curate.files import DROPPED_FILE
from lingxi.curate.kinds import kinds_of
from lingxi.curate.review.shown import GONE, band_of, group_name
from lingxi.records import drawn, stable_hash

By = Literal["source", "stage"]
Place = tuple[str, int]
"""The file of a row and its position there."""


@dataclass(frozen=True, slots=True)
class Stock:
    """The rows of one file: names of strata, the stratum [rows] of each, and an Arrow array of ids."""

    file: str
    names: list[str]
    strata: NDArray[np.int64]
    ids: Any


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows of a sample in order, those shown `again` last, with the name and size of their strata."""

    places: list[Place]
    again: frozenset[Place]
    stratum: dict[Place, str]
    rows: Counter[str]


def choose(
    stocks: Sequence[Stock], size: int, seed: int, judged: Collection[str], fresh: Collection[str]
) -> Chosen:
    """The judged rows that are `fresh`, one of each stratum in turn until there are `size`, then the others.

    Which strata come first is drawn by their names; one with judged rows waits until others have as many.
    """
    rows: Counter[str] = Counter()
    own: list[Place] = []
    again: list[Place] = []
    stratum: dict[Place, str] = {}
    known = [_judged(stock, judged) for stock in stocks]
    for stock, positions in zip(stocks, known, strict=True):
        rows.update(dict(zip(stock.names, np.bincount(stock.strata).tolist(), strict=True)))
        for place, name, shown in _at(stock, positions):
            stratum[place] = name
            (own if shown in fresh else again).append(place)
    had = Counter(stratum[place] for place in own)
    turns = []
    for stock, positions in zip(stocks, known, strict=True):
        for place, name, turn in _candidates(stock, size, seed, positions):
            stratum[place] = name
            turns.append((had[name] + turn, stable_hash(name), place))
    drawn_places = [place for *_, place in sorted(turns)[: max(0, size - len(own))]]
    return Chosen([*own, *drawn_places, *again], frozenset(again), stratum, rows)


def stock_of(curated: Path, file: str, by: By) -> Stock:
    """The rows of one file of a curated folder."""
    path = curated / file
    if file == DROPPED_FILE:
        kinds, labels = kinds_of([path], ("dropped",))
        names = [f"dropped: {reason.split(':')[0]}" for (reason,) in labels]
    elif by == "stage":
        kinds, labels = kinds_of([path], ("task",))
        names = [f"kept: {task}" for (task,) in labels]
    else:
        kinds, names = _by_source(path)
    # Reasons that differ in their details are one stratum.
    merged = sorted(set(names))
    numbers = {name: number for number, name in enumerate(merged)}
    places = np.array([numbers[name] for name in names], np.int64)
    return Stock(file, merged, places[kinds] if len(places) else kinds, _column(path, "id"))


def _by_source(path: Path) -> tuple[NDArray[np.int64], list[str]]:
    import pyarrow.compute as pc

    kinds, labels = kinds_of([path], ("source", "query_language", "document_language"))
    margins = pc.map_lookup(_column(path, "scores"), "margin", "first").to_numpy(zero_copy_only=False)
    bands = [band_of(None), band_of(0), band_of(np.inf)]
    band = np.where(np.isnan(margins), 0, np.where(_is_low(margins), 1, 2))
    found, kinds = np.unique(kinds * len(bands) + band, return_inverse=True)
    return kinds, [f"{group_name(*labels[one // 3])} {bands[one % 3]}" for one in found.tolist()]


def _is_low(margins: NDArray[np.float64]) -> NDArray[np.bool_]:
    values, where = np.unique(margins, return_inverse=True)
    return np.array([band_of(float(value)) == band_of(0) for value in values], bool)[where]


def _column(path: Path, name: str) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=[name]).column(name).combine_chunks()


def _judged(stock: Stock, judged: Collection[str]) -> NDArray[np.int64]:
    """Positions of the rows of a file that have a verdict."""
    import pyarrow as pa
    import pyarrow.compute as pc

    gone = stock.file == DROPPED_FILE
    ids = [one.removesuffix(GONE) for one in judged if one.endswith(GONE) == gone]
    found = pc.is_in(stock.ids, value_set=pa.array(sorted(ids), pa.string()))
    return np.flatnonzero(found.to_numpy(zero_copy_only=False))


def _candidates(
    stock: Stock, size: int, seed: int, judged: NDArray[np.int64]
) -> Iterator[tuple[Place, str, int]]:
    """Rows but those at `judged`, the first `size` of each stratum by their draws, with their turn in it."""
    open_rows = np.ones(len(stock.strata), bool)
    open_rows[judged] = False
    positions = np.flatnonzero(open_rows)
    draws = np.array([drawn(seed, one) for one in stock.ids.to_pylist()], np.uint64)[positions]
    turns = ranks(stock.strata[positions], draws)
    # With many strata few turns fill the sample.
    counts = np.bincount(stock.strata[positions], minlength=1)
    most = next((t for t in range(1, size) if np.minimum(counts, t).sum() >= size), size) + size // 10
    for index in np.flatnonzero(turns < most).tolist():
        position = int(positions[index])
        yield (stock.file, position), stock.names[stock.strata[position]], int(turns[index])


def _at(stock: Stock, positions: NDArray[np.int64]) -> Iterator[tuple[Place, str, str]]:
    mark = GONE if stock.file == DROPPED_FILE else ""
    for position in positions.tolist():
        shown = f"{stock.ids[position].as_py()}{mark}"
        yield (stock.file, position), stock.names[stock.strata[position]], shown
