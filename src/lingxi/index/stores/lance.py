"""Vectors in LanceDB: one table in a folder or an object store, every write one commit of it.

int8 and binary first looks are its IVF indexes of scalar codes and of RaBitQ codes, which read every list
where the layout's look is exact; rows not yet in the index are compared by their full vectors.
"""

from __future__ import annotations

from collections.abc import Collection as Many
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any as Anything

import numpy as np

from lingxi.errors import MissingExtraError, StoreError
from lingxi.index.stores import filters
from lingxi.index.stores.filters import All, Compare, Not, OneOf, Op, Where
from lingxi.index.stores.layout import Floats, Found, Kind, Layout, Rows, Value, agreed, read, written
from lingxi.index.stores.seam import absent, failing
from lingxi.index.stores.sql import column

_NAME = "vectors"
_META = b"lingxi"
_IDS_A_STATEMENT = 500
# Smaller tables are compared row by row faster than an index is made.
_LEAST_INDEXED = 5_000
# Lists of the index that are read: some, or as many as there are.
_PROBED, _ALL_LISTS = 24, 1 << 20
_KEEP = timedelta(minutes=10)


class LanceVectors:
    """A store in a folder or at an object store's URL, opened or made there."""

    def __init__(self, place: str, layout: Layout | None) -> None:
        self.place = place
        with failing(place, RuntimeError, ValueError):
            self._table = _table(place, layout)
            said = (self._table.schema.metadata or {}).get(_META)
        self.layout = agreed(place, read(place, said), layout)
        self._columns = [column(name) for name in self.layout.fields]

    def put(self, rows: Rows, namespace: str) -> None:
        """Write rows in one commit."""
        with self._failing():
            merge = self._table.merge_insert(["namespace", "id"])
            merge.when_matched_update_all().when_not_matched_insert_all().execute(
                self._arrow(rows, namespace)
            )

    def remove(self, ids: Many[str], namespace: str) -> None:
        """Take rows out, some hundred in a commit."""
        with self._failing():
            for condition in self._of(list(ids), namespace):
                self._table.delete(condition)

    def get(self, ids: Many[str], namespace: str) -> Rows:
        """The rows that are there of these ids."""
        with self._failing():
            self._table.checkout_latest()
            found = [
                self._read(self._table.search().where(condition).limit(_IDS_A_STATEMENT).to_arrow())
                for condition in self._of(list(ids), namespace)
            ]
        vectors = [part.vectors for part in found] or [np.zeros((0, self.layout.dim), np.float32)]
        return Rows(
            [name for part in found for name in part.ids],
            np.concatenate(vectors),
            [own for part in found for own in part.metadata],
        )

    def search(self, queries: Floats, k: int, where: Where | None, namespace: str) -> list[list[Found]]:
        """The nearest rows by the index there is, and by comparing rows that are not in it."""
        with self._failing():
            self._table.checkout_latest()
            condition = _expression(where, namespace)
            return [self._nearest(query, k, condition) for query in queries]

    def scan(self, namespace: str) -> Iterator[Rows]:
        """Every row of one version, a batch at a time."""
        with self._failing():
            self._table.checkout_latest()
            batches = self._table.search().where(_expression(None, namespace)).to_batches(4096)
            for batch in batches:
                yield self._read(batch)

    def count(self, where: Where | None, namespace: str) -> int:
        """How many rows meet the condition."""
        with self._failing():
            self._table.checkout_latest()
            return int(self._table.count_rows(_expression(where, namespace).to_sql()))

    def namespaces(self) -> Mapping[str, int]:
        """Rows of every namespace."""
        with self._failing():
            self._table.checkout_latest()
            named = self._table.search().select(["namespace"]).to_arrow()["namespace"]
        return {str(entry["values"]): int(entry["counts"]) for entry in named.value_counts().to_pylist()}

    def settle(self) -> None:
        """Make the index where the layout has one and the rows are many, else bring new rows into it."""
        with self._failing():
            wants = self.layout.look == "ann" or self.layout.precision != "float32"
            if wants and not self._table.list_indices() and self._table.count_rows() >= _LEAST_INDEXED:
                self._table.create_index("vector", config=_index(self.layout))
            self._table.optimize(cleanup_older_than=_KEEP)

    def bytes(self) -> int:
        """Bytes in the folder, or of the table's data where it is no folder."""
        if "://" in self.place:
            return int(self._table.stats().total_bytes)
        return sum(file.stat().st_size for file in Path(self.place).rglob("*") if file.is_file())

    def close(self) -> None:
        """Nothing is held."""

    def _failing(self) -> Anything:
        return failing(self.place, RuntimeError, ValueError)

    def _nearest(self, query: Floats, k: int, condition: Anything) -> list[Found]:
        asked = self._table.search(query, vector_column_name="vector").distance_type("dot")
        asked = asked.where(condition, prefilter=True).select(["id", *self._columns, "_distance"])
        asked = asked.nprobes(_PROBED if self.layout.look == "ann" else _ALL_LISTS)
        if self.layout.rescores:
            asked = asked.refine_factor(self.layout.rescore)
        found = asked.limit(k).to_arrow().to_pydict()
        return [
            Found(name, 1 - distance, self._told(found, at))
            for at, (name, distance) in enumerate(zip(found["id"], found["_distance"], strict=True))
        ]

    def _told(self, values: Mapping[str, Sequence[Anything]], at: int) -> dict[str, Anything]:
        return {name: values[column(name)][at] for name in self.layout.fields}

    def _read(self, table: Anything) -> Rows:
        flat = _flat(table.column("vector"))
        values = table.select(["id", *self._columns]).to_pydict()
        told = [self._told(values, at) for at in range(len(values["id"]))]
        return Rows(values["id"], np.asarray(flat, np.float32).reshape(-1, self.layout.dim), told)

    def _of(self, ids: Sequence[str], namespace: str) -> Iterator[Anything]:
        from lancedb.expr import col

        for start in range(0, len(ids), _IDS_A_STATEMENT):
            own = col("id").isin(ids[start : start + _IDS_A_STATEMENT])
            yield _expression(None, namespace) & own

    def _arrow(self, rows: Rows, namespace: str) -> Anything:
        import pyarrow as pa

        values: dict[str, Anything] = {
            "namespace": [namespace] * len(rows),
            "id": list(rows.ids),
            "vector": pa.FixedSizeListArray.from_arrays(
                pa.array(rows.vectors.astype(np.float32, copy=False).ravel()), self.layout.dim
            ),
        }
        values |= {column(name): [own[name] for own in rows.metadata] for name in self.layout.fields}
        return pa.table(values, schema=_schema(self.layout))


def _flat(vectors: Anything) -> Anything:
    import pyarrow as pa

    whole = vectors.combine_chunks() if isinstance(vectors, pa.ChunkedArray) else vectors
    return whole.flatten().to_numpy(zero_copy_only=False)


def _table(place: str, layout: Layout | None) -> Anything:
    try:
        import lancedb
    except ImportError:
        raise MissingExtraError("lancedb", "search", "a store of vectors") from None
    is_folder = "://" not in place
    is_there = (Path(place) / f"{_NAME}.lance").exists() if is_folder else None
    if (
        is_folder
        and not is_there
        and (Path(place).is_file() or (Path(place).is_dir() and any(Path(place).iterdir())))
    ):
        raise StoreError(f"{place}: not a store of vectors", "name one, or a place that is empty")
    if not is_there and layout is None and is_folder:
        raise absent(place)
    connection = lancedb.connect(place)
    if is_there or (is_there is None and _NAME in connection.table_names()):
        return connection.open_table(_NAME)
    if layout is None:
        raise absent(place)
    return connection.create_table(_NAME, schema=_schema(layout), exist_ok=True)


def _schema(layout: Layout) -> Anything:
    import pyarrow as pa

    types: dict[Kind, Anything] = {
        "text": pa.string(), "path": pa.string(), "whole": pa.int64(), "number": pa.float64(),
        "flag": pa.bool_(),
    }  # fmt: skip
    named = {"namespace": pa.string(), "id": pa.string(), "vector": pa.list_(pa.float32(), layout.dim)}
    named |= {column(name): types[kind] for name, kind in layout.fields.items()}
    return pa.schema(list(named.items()), metadata={_META: written(layout).encode()})


def _index(layout: Layout) -> Anything:
    from lancedb.index import IvfFlat, IvfRq, IvfSq

    made = {"float32": IvfFlat, "int8": IvfSq, "binary": IvfRq}[layout.precision]
    return made(distance_type="dot")


def _expression(where: Where | None, namespace: str) -> Anything:
    from lancedb.expr import col, lit

    own = col("namespace") == lit(namespace)
    return own if where is None else own & _of_condition(where)


def _of_condition(where: Where) -> Anything:
    from lancedb.expr import col, lit

    match where:
        case Compare(field, op, value):
            return _of_comparison(col(column(field)), op, value)
        case OneOf(field, values):
            return col(column(field)).isin(list(values)) if values else lit(False)
        case All(parts):
            return _joined([_of_condition(part) for part in parts], all_of=True)
        case filters.Any(parts):
            return _joined([_of_condition(part) for part in parts], all_of=False)
        case Not(part):
            return ~_of_condition(part)


def _of_comparison(own: Anything, op: Op, value: Value) -> Anything:
    from lancedb.expr import lit

    if op == "below":
        inside = f"{value}/"
        # From `folder/` up to what follows it: `0` is the character after `/`.
        return (own == lit(value)) | ((own >= lit(inside)) & (own < lit(inside[:-1] + "0")))
    signs = {"=": own.eq, "!=": own.ne, "<": own.lt, "<=": own.lte, ">": own.gt, ">=": own.gte}
    return signs[op](lit(value))


def _joined(parts: Sequence[Anything], all_of: bool) -> Anything:
    from lancedb.expr import lit

    if not parts:
        return lit(all_of)
    whole = parts[0]
    for part in parts[1:]:
        whole = whole & part if all_of else whole | part
    return whole
