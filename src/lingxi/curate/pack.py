"""A compact copy of curated rows that a training run elsewhere can carry: so many megabytes, evenly filled.

Each task and pair of languages gives its rows up to one cap, drawn by hash, so that what is rare stays whole
and what is plenty is thinned. Scores and the ids of passages are left out; `unpack` puts the ids back.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from lingxi.curate.evenly import Kind, even_cap, kind_of
from lingxi.errors import InputError
from lingxi.records import (
    Pair,
    drawn,
    pair_columns,
    pair_schema,
    passage,
    read_pairs,
    require_pyarrow,
    write_pairs,
)

_ROWS = 50_000
# Rows that stand for a stratum when its size is estimated.
_ESTIMATED = 300
_LEVEL = 19


@dataclass(frozen=True, slots=True)
class Packed:
    """What was packed: rows, strata, bytes, and the cap of a stratum."""

    rows: int
    strata: int
    bytes: int
    cap: int


def pack(curated: Path, out: Path, megabytes: float, seed: int = 0) -> Packed:
    """Write at most `megabytes` (of 1e6 bytes) of the kept rows of `curated` to the Parquet file `out`.

    Raises InputError where not even one row of each stratum fits.
    """
    hashes, weights = _survey(curated, seed)
    limit = megabytes * 1e6
    # zstd leaves about a third of such text.
    cap = even_cap(((len(own), weights[key] / 3 + 12) for key, own in hashes.items()), limit)
    while cap >= 1:
        rows = _write(curated, out, {key: sorted(own)[:cap] for key, own in hashes.items()}, seed)
        size = out.stat().st_size
        if size <= limit:
            return Packed(rows, len(hashes), size, cap)
        # The estimate was too low: take off what was too much, and a little more.
        cap = min(cap - 1, int(cap * limit / size * 0.97))
    out.unlink(missing_ok=True)
    raise InputError(f"{megabytes} MB do not hold one row of each of {len(hashes)} strata", "allow more")


def unpack(packed: Path, out: Path) -> int:
    """Write the rows of a packed file as pairs that every room reads; returns how many."""
    rows = (
        replace(row, positives=tuple(passage(item.text, item.score) for item in row.positives))
        for row in read_pairs(packed)
    )
    return write_pairs(rows, out)


def _survey(curated: Path, seed: int) -> tuple[dict[Kind, list[int]], dict[Kind, float]]:
    """The hashes of each stratum's rows, and how many bytes a row of it has before compression."""
    hashes: dict[Kind, list[int]] = defaultdict(list)
    lengths: dict[Kind, list[int]] = defaultdict(list)
    for row in read_pairs(curated):
        key = kind_of(row)
        hashes[key].append(drawn(seed, row.id))
        if len(lengths[key]) < _ESTIMATED:
            texts = (row.query, *(item.text for item in row.positives))
            lengths[key].append(sum(len(text.encode("utf-8", "replace")) for text in texts))
    return hashes, {key: sum(own) / len(own) for key, own in lengths.items()}


def _write(curated: Path, out: Path, chosen: dict[Kind, list[int]], seed: int) -> int:
    pa = require_pyarrow()
    import pyarrow.parquet as pq

    last = {key: own[-1] for key, own in chosen.items()}
    partial, count = out.with_name(out.name + ".part"), 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(partial, pair_schema(), compression="zstd", compression_level=_LEVEL) as writer:
        rows = (_light(row) for row in read_pairs(curated) if drawn(seed, row.id) <= last[kind_of(row)])
        while batch := list(islice(rows, _ROWS)):
            writer.write_batch(pa.record_batch(pair_columns(batch), schema=pair_schema()))
            count += len(batch)
    partial.replace(out)
    return count


def _light(row: Pair) -> Pair:
    # A graded similarity is a label, not a measurement.
    kept = {name: value for name, value in row.scores.items() if name == "similarity"}
    return replace(row, scores=kept, positives=tuple(replace(item, id="") for item in row.positives))
