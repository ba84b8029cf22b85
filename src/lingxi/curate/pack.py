"""A compact copy of curated rows that a training run elsewhere can carry: so many megabytes, evenly filled.

Each task and pair of languages gives its rows up to one cap, drawn by hash, so that what is rare stays whole
and what is plenty is thinned. Scores and the ids of passages are left out: training names passages by their
texts where they have none, and `unpack` puts the ids back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.curate.evenly import NAMES, Kind, even_cap, kinds_of
from lingxi.errors import InputError
from lingxi.records import (
    Pair,
    Passage,
    batches,
    drawn,
    pair_columns,
    pair_schema,
    pairs_of,
    passage,
    read_pairs,
    require_pyarrow,
    write_pairs,
)

_ROWS = 50_000
_LEVEL = 19


@dataclass(frozen=True, slots=True)
class Packed:
    """What was packed: rows, strata, bytes, and the cap of a stratum."""

    rows: int
    strata: int
    bytes: int
    cap: int


def pack(
    curated: Path, out: Path, megabytes: float, seed: int = 0, *, characters: int | None = None
) -> Packed:
    """Write at most `megabytes` (of 1e6 bytes) of the kept rows of `curated` to the Parquet file `out`.

    `characters` cuts every text, for a training that reads no more of them. Raises InputError where not even
    one row of each stratum fits.
    """
    hashes, weights = _survey(curated, seed, characters)
    limit = megabytes * 1e6
    # zstd leaves about a third of such text.
    cap = even_cap(((len(own), weights[key] / 3 + 12) for key, own in hashes.items()), limit)
    while cap >= 1:
        chosen = {key: _last(own, cap) for key, own in hashes.items()}
        rows = _write(curated, out, chosen, seed, characters)
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


def _survey(
    curated: Path, seed: int, characters: int | None
) -> tuple[dict[Kind, NDArray[np.uint64]], dict[Kind, float]]:
    """The hashes of each stratum's rows, and how many bytes a row of it has before compression."""
    import pyarrow as pa

    hashes: dict[Kind, list[int]] = defaultdict(list)
    lengths: dict[Kind, int] = defaultdict(int)
    schema = pa.schema([pair_schema().field(name) for name in ("id", *NAMES, "query", "positives")])
    for batch in batches(curated, schema):
        rows = zip(kinds_of(batch), batch.column("id").to_pylist(), _bytes(batch, characters), strict=True)
        for key, name, length in rows:
            hashes[key].append(drawn(seed, name))
            lengths[key] += length
    found = {key: np.array(own, np.uint64) for key, own in hashes.items()}
    return found, {key: lengths[key] / len(own) for key, own in found.items()}


def _last(hashes: NDArray[np.uint64], cap: int) -> int:
    """The largest of the `cap` smallest hashes."""
    place = min(cap, len(hashes)) - 1
    return int(np.partition(hashes, place)[place])


def _bytes(batch: Any, characters: int | None) -> list[int]:
    """Bytes of the query and the positives of each row, as cut."""
    import pyarrow.compute as pc

    def sized(texts: Any) -> NDArray[np.int64]:
        short = texts if characters is None else pc.utf8_slice_codeunits(texts, 0, characters)
        return np.asarray(pc.fill_null(pc.binary_length(short), 0), np.int64)

    column = batch.column("positives")
    texts = pc.struct_field(pc.list_flatten(column), "text")
    owners = np.asarray(pc.list_parent_indices(column), np.int64)
    beside = np.bincount(owners, sized(texts), minlength=batch.num_rows).astype(np.int64)
    found: list[int] = (sized(batch.column("query")) + beside).tolist()
    return found


def _write(curated: Path, out: Path, last: dict[Kind, int], seed: int, characters: int | None) -> int:
    """Write the rows whose hash is at most the `last` of their kind."""
    pa = require_pyarrow()
    import pyarrow.parquet as pq

    partial, count = out.with_name(out.name + ".part"), 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(partial, pair_schema(), compression="zstd", compression_level=_LEVEL) as writer:
        rows = (_light(row, characters) for row in _chosen(curated, last, seed))
        while batch := list(islice(rows, _ROWS)):
            writer.write_batch(pa.record_batch(pair_columns(batch), schema=pair_schema()))
            count += len(batch)
    partial.replace(out)
    return count


def _chosen(curated: Path, last: dict[Kind, int], seed: int) -> Iterator[Pair]:
    import pyarrow as pa

    for batch in batches(curated, pair_schema()):
        keys = zip(kinds_of(batch), batch.column("id").to_pylist(), strict=True)
        taken = pa.array([drawn(seed, name) <= last[key] for key, name in keys])
        yield from pairs_of(batch.filter(taken))


def _light(row: Pair, characters: int | None) -> Pair:
    # A graded similarity is a label, not a measurement.
    kept = {name: value for name, value in row.scores.items() if name == "similarity"}

    def short(items: tuple[Passage, ...]) -> tuple[Passage, ...]:
        return tuple(replace(item, text=item.text[:characters]) for item in items)

    return replace(
        row,
        query=row.query[:characters],
        scores=kept,
        positives=tuple(replace(item, id="") for item in short(row.positives)),
        negatives=short(row.negatives),
    )
