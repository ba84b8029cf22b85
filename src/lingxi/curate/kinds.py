"""Rows of a pairs file by what they are, and rows by their position, without reading the texts of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi.records import Pair, pair_schema, pairs_of

Label = tuple[str, ...]


def kinds_of(pairs: Path, names: Sequence[str]) -> tuple[NDArray[np.int64], list[Label]]:
    """The kind of every row [rows], a number into the list of kinds: the values of the named columns."""
    import pyarrow.parquet as pq

    table = pq.read_table(pairs, columns=list(names), read_dictionary=list(names))
    kinds: NDArray[np.int64] = np.zeros(table.num_rows, np.int64)
    labels: list[Label] = [()]
    for name in names:
        coded = _coded(table.column(name))
        values = coded.dictionary.to_pylist()
        both = kinds * len(values) + coded.indices.to_numpy(zero_copy_only=False)
        found, kinds = np.unique(both, return_inverse=True)
        labels = [(*labels[pair // len(values)], values[pair % len(values)]) for pair in found.tolist()]
    return kinds, labels


def rows_at(pairs: Path, positions: NDArray[np.int64]) -> Iterator[tuple[int, Pair]]:
    """The rows at these positions (sorted, in file order), each with its position; others are not parsed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    start = 0
    with pq.ParquetFile(pairs) as file:
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            low, high = np.searchsorted(positions, (start, end))
            if low < high:
                table = file.read_row_group(group, columns=pair_schema().names)
                own = table.take(pa.array(positions[low:high] - start)).to_batches()
                rows = (row for batch in own for row in pairs_of(batch))
                yield from zip(positions[low:high].tolist(), rows, strict=True)
            start = end


def _coded(column: Any) -> Any:
    """A column as one dictionary array."""
    return column.unify_dictionaries().combine_chunks()
