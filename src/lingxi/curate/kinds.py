"""Rows of pairs files by what they are, and rows by their position, without reading the texts of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.records import Pair, pair_schema, pairs_of

Label = tuple[str, ...]


def kinds_of(files: Sequence[Path], names: Sequence[str]) -> tuple[NDArray[np.int64], list[Label]]:
    """The kind of every row [rows], a number into the list of kinds: the values of the named columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns, coded = list(names), list(names)
    table = pa.concat_tables(pq.read_table(path, columns=columns, read_dictionary=coded) for path in files)
    kinds: NDArray[np.int64] = np.zeros(table.num_rows, np.int64)
    labels: list[Label] = [()]
    for name in names:
        column = table.column(name).unify_dictionaries().combine_chunks()
        values = column.dictionary.to_pylist()
        both = kinds * len(values) + column.indices.to_numpy(zero_copy_only=False)
        found, kinds = np.unique(both, return_inverse=True)
        labels = [(*labels[pair // len(values)], values[pair % len(values)]) for pair in found.tolist()]
    return kinds, labels


def rows_at(files: Sequence[Path], positions: NDArray[np.int64]) -> Iterator[tuple[int, Pair]]:
    """The rows at these positions (sorted, through all files), each with its own; others are not parsed."""
    import pyarrow as pa

    start = 0
    for file, group in _row_groups(files):
        end = start + file.metadata.row_group(group).num_rows
        low, high = np.searchsorted(positions, (start, end))
        if low < high:
            table = file.read_row_group(group, columns=pair_schema().names)
            own = table.take(pa.array(positions[low:high] - start)).to_batches()
            rows = (row for batch in own for row in pairs_of(batch))
            yield from zip(positions[low:high].tolist(), rows, strict=True)
        start = end


def _row_groups(files: Sequence[Path]) -> Iterator[tuple[Any, int]]:
    import pyarrow.parquet as pq

    for path in files:
        with pq.ParquetFile(path) as file:
            yield from ((file, group) for group in range(file.num_row_groups))
