"""Vectors in Milvus: in this process (milvus-lite) or on a server, version 2.3 or later.

Neither takes parameters beside an expression, so values are written into it by `_literal`, in the one way
both read. An int8 first look is the index IVF_SQ8; its candidates are ordered here by their full vectors.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Collection as Many
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any as Anything

import numpy as np

from lingxi.errors import InputError, MissingExtraError
from lingxi.index.stores import filters
from lingxi.index.stores.filters import All, Compare, Not, OneOf, Where
from lingxi.index.stores.layout import Floats, Found, Layout, Metadata, Rows, Value, agreed, read, written
from lingxi.index.stores.seam import absent, closing, failing
from lingxi.index.stores.sql import column

# A row's key is its namespace and id; a unit separator is in neither.
_BETWEEN = "\x1f"
_BATCH = 1000
_LISTS, _PROBED = 128, 24
_LINKS, _BUILD_WIDTH, _SEARCH_WIDTH = 16, 100, 128
_LONGEST = 65_535


class MilvusStore:
    """A collection in a file's folder (held by this process alone) or on a server, opened or made there."""

    def __init__(self, place: str, name: str, layout: Layout | None) -> None:
        self._milvus, self._errors = _library()
        self._is_local = "://" not in place
        self.place = f"milvus:{place}" if self._is_local else f"{place}#{name}"
        self._name = name
        if self._is_local and not place.endswith(".db"):
            raise InputError(f"{place}: not the name of a Milvus file", "end it with .db")
        with self._failing():
            if self._is_local:
                Path(place).parent.mkdir(parents=True, exist_ok=True)
            self._client = self._milvus.MilvusClient(uri=place, timeout=60)
        with self._failing(), closing(self._client.close):
            if not self._client.has_collection(name):
                if layout is None:
                    raise absent(self.place)
                self._make(layout)
            told = self._client.describe_collection(name)
            # A server keeps the description, milvus-lite the properties.
            said = told.get("description") or told.get("properties", {}).get("lingxi")
            self.layout = agreed(self.place, read(self.place, said), layout)
            self._client.load_collection(name)
        self._columns = [column(field) for field in self.layout.fields]

    def put(self, rows: Rows, namespace: str) -> None:
        """Write rows, a thousand in a request."""
        told = [
            {"key": _key(namespace, name), "namespace": namespace, "vector": vector}
            | {column(field): value for field, value in own.items()}
            for name, vector, own in zip(rows.ids, rows.vectors, rows.metadata, strict=True)
        ]
        with self._failing():
            for start in range(0, len(told), _BATCH):
                self._client.upsert(self._name, told[start : start + _BATCH])

    def remove(self, ids: Many[str], namespace: str) -> None:
        """Take rows out."""
        keys = [_key(namespace, name) for name in ids]
        with self._failing():
            for start in range(0, len(keys), _BATCH):
                self._client.delete(self._name, ids=keys[start : start + _BATCH])

    def get(self, ids: Many[str], namespace: str) -> Rows:
        """The rows that are there of these ids."""
        keys = [_key(namespace, name) for name in ids]
        found: list[Anything] = []
        with self._failing():
            for start in range(0, len(keys), _BATCH):
                asked = f"key in [{', '.join(map(_literal, keys[start : start + _BATCH]))}]"
                found += self._query(asked, ["key", "vector", *self._columns])
        return self._read(found)

    def search(self, queries: Floats, k: int, where: Where | None, namespace: str) -> list[list[Found]]:
        """The nearest rows; those of codes are ordered by their full vectors."""
        rescores = self.layout.rescores
        names = ["key", *self._columns, *(["vector"] if rescores else [])]
        found: list[list[Found]] = []
        with self._failing():
            for query in queries:
                hits = self._client.search(
                    self._name, [query], filter=_expression(where, namespace), output_fields=names,
                    limit=min(self.layout.candidates(k), 16_384), anns_field="vector",
                    search_params={"metric_type": "IP", "params": self._width(k)}, consistency_level="Strong",
                )[0]  # fmt: skip
                told = [self._found(hit, query if rescores else None) for hit in hits]
                found.append(sorted(told, key=lambda one: -one.score)[:k])
        return found

    def scan(self, namespace: str) -> Iterator[Rows]:
        """Every row, a batch at a time."""
        names = ["key", "vector", *self._columns]
        with self._failing():
            for found in self._batches(_expression(None, namespace), names):
                yield self._read(found)

    def count(self, where: Where | None, namespace: str) -> int:
        """How many rows meet the condition."""
        with self._failing():
            return int(self._query(_expression(where, namespace), ["count(*)"])[0]["count(*)"])

    def namespaces(self) -> Mapping[str, int]:
        """Rows of every namespace."""
        with self._failing():
            parts = self._batches('key != ""', ["namespace"])
            return dict(Counter(row["namespace"] for found in parts for row in found))

    def settle(self) -> None:
        """Write what is in memory down, so that it is indexed."""
        with self._failing():
            self._client.flush(self._name)

    def bytes(self) -> int:
        """Bytes in the folder; of a server, what its vectors take at least."""
        if not self._is_local:
            with self._failing():
                rows = int(self._query('key != ""', ["count(*)"])[0]["count(*)"])
            return rows * self.layout.bytes()[1]
        place = Path(self.place.removeprefix("milvus:"))
        return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())

    def close(self) -> None:
        """Let go of the file or the connection."""
        self._client.close()

    def _failing(self) -> Anything:
        return failing(self.place, *self._errors)

    def _make(self, layout: Layout) -> None:
        if layout.precision == "binary":
            raise InputError("the Milvus store has no binary look", "choose float32 or int8")
        if layout.precision == "int8" and self._is_local:
            raise InputError(
                "milvus-lite holds int8 rows against a condition after it searched, and loses some",
                "choose float32, or a Milvus server",
            )
        kinds = self._milvus.DataType
        schema = self._milvus.MilvusClient.create_schema(
            auto_id=False, enable_dynamic_field=False, description=written(layout)
        )
        schema.add_field("key", kinds.VARCHAR, is_primary=True, max_length=1024)
        schema.add_field("namespace", kinds.VARCHAR, max_length=256)
        schema.add_field("vector", kinds.FLOAT_VECTOR, dim=layout.dim)
        of_kind = {"whole": kinds.INT64, "number": kinds.DOUBLE, "flag": kinds.BOOL}
        for field, kind in layout.fields.items():
            length = {"max_length": _LONGEST} if kind in ("text", "path") else {}
            schema.add_field(column(field), of_kind.get(kind, kinds.VARCHAR), **length)
        indexes = self._client.prepare_index_params()
        name, parameters = _index(layout)
        indexes.add_index("vector", index_type=name, metric_type="IP", params=parameters)
        self._client.create_collection(
            self._name, schema=schema, index_params=indexes, **self._properties(layout)
        )

    def _properties(self, layout: Layout) -> dict[str, Anything]:
        return {"properties": {"lingxi": written(layout)}} if self._is_local else {}

    def _width(self, k: int) -> dict[str, int]:
        if self.layout.precision == "int8":
            return {"nprobe": _PROBED if self.layout.look == "ann" else 1}
        width = max(_SEARCH_WIDTH, 2 * self.layout.candidates(k))
        return {"ef": width} if self.layout.look == "ann" else {}

    def _query(self, asked: str, names: Sequence[str]) -> list[Anything]:
        return list(
            self._client.query(
                self._name, filter=asked, output_fields=list(names), consistency_level="Strong"
            )
        )

    def _batches(self, asked: str, names: Sequence[str]) -> Iterator[list[Anything]]:
        """Rows by key, a batch after another."""
        going = self._client.query_iterator(
            self._name, batch_size=_BATCH, filter=asked, output_fields=list(names), consistency_level="Strong"
        )
        try:
            while found := going.next():
                yield list(found)
        finally:
            going.close()

    def _found(self, hit: Anything, query: Floats | None) -> Found:
        own = hit["entity"]
        key = own.get("key") or hit.get("key") or hit.get("id")
        score = float(hit["distance"]) if query is None else float(np.asarray(own["vector"]) @ query)
        return Found(_name_of(key), score, self._metadata(own))

    def _read(self, found: Sequence[Anything]) -> Rows:
        vectors = [np.asarray(row["vector"], np.float32) for row in found]
        matrix = np.stack(vectors) if vectors else np.zeros((0, self.layout.dim), np.float32)
        return Rows([_name_of(row["key"]) for row in found], matrix, [self._metadata(row) for row in found])

    def _metadata(self, own: Mapping[str, Anything]) -> Metadata:
        return {field: own[column(field)] for field in self.layout.fields}


def _index(layout: Layout) -> tuple[str, dict[str, int]]:
    if layout.precision == "int8":
        # One list holds all rows: every code is read.
        return "IVF_SQ8", {"nlist": _LISTS if layout.look == "ann" else 1}
    if layout.look == "ann":
        return "HNSW", {"M": _LINKS, "efConstruction": _BUILD_WIDTH}
    return "FLAT", {}


def _key(namespace: str, name: str) -> str:
    return f"{namespace}{_BETWEEN}{name}"


def _name_of(key: str) -> str:
    return key.partition(_BETWEEN)[2]


def _literal(value: Value) -> str:
    """A value as it stands in an expression: only these escapes are known to both."""
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    return json.dumps(value)


def _expression(where: Where | None, namespace: str) -> str:
    own = f"namespace == {_literal(namespace)}"
    return own if where is None else f"{own} and ({_condition(where)})"


def _condition(where: Where) -> str:
    match where:
        case Compare(field, "below", value):
            name, inside = column(field), f"{value}/"
            # From `folder/` up to what follows it: `0` is the character after `/`.
            ends = f"{name} >= {_literal(inside)} and {name} < {_literal(inside[:-1] + '0')}"
            return f"({name} == {_literal(value)} or ({ends}))"
        case Compare(field, op, value):
            return f"{column(field)} {'==' if op == '=' else op} {_literal(value)}"
        case OneOf(field, values):
            return " or ".join(f"({column(field)} == {_literal(value)})" for value in values) or _NEVER
        case All(parts):
            return " and ".join(f"({_condition(part)})" for part in parts) or _ALWAYS
        case filters.Any(parts):
            return " or ".join(f"({_condition(part)})" for part in parts) or _NEVER
        case Not(part):
            return f"not ({_condition(part)})"


_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_ALWAYS, _NEVER = 'key != ""', 'key == ""'


def _library() -> tuple[Anything, tuple[type[Exception], ...]]:
    try:
        import pymilvus
    except ImportError:
        raise MissingExtraError("pymilvus", "milvus", "a store in Milvus") from None
    # It reports every refusal on its own logger as well; what matters is raised.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    # It tells of starts and stops, the last when Python ends and nobody listens any more.
    logging.getLogger("milvus_lite").setLevel(logging.WARNING)
    return pymilvus, (pymilvus.MilvusException, RuntimeError, ValueError)
