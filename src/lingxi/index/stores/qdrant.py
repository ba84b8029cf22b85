"""Vectors in Qdrant: in this process (the client's local mode) or on a server.

int8 and binary are the server's quantization, which orders by the full vector itself. Local mode reads the
full vectors whatever is asked for, and keeps every row in memory.
"""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Collection as Many
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any as Anything

import numpy as np

from lingxi.errors import MissingExtraError
from lingxi.index.stores import filters
from lingxi.index.stores.filters import All, Compare, Not, OneOf, Op, Where, ancestors
from lingxi.index.stores.layout import Floats, Found, Layout, Metadata, Rows, Value, agreed, read, written
from lingxi.index.stores.seam import absent, closing, failing
from lingxi.index.stores.sql import column

# Points have ids of their own kind; ours stand in the payload, and theirs are made of them.
_OURS = uuid.UUID("6c696e67-7869-4000-8000-000000000000")
_BATCH = 512
_SEARCH_WIDTH = 128


class QdrantStore:
    """A collection in a folder (held by this process alone) or on a server, opened or made there."""

    def __init__(self, place: str, name: str, layout: Layout | None) -> None:
        client, self._models, self._errors = _library()
        self._is_local = "://" not in place
        self.place = f"qdrant:{place}" if self._is_local else f"{place}#{name}"
        self._name = name
        with self._failing():
            # The server's version is asked for on a thread, whose complaint nobody could hear.
            far: dict[str, Anything] = {"url": place, "timeout": 60, "check_compatibility": False}
            self._client = client(path=place) if self._is_local else client(**far)
        with self._failing(), closing(self._client.close):
            said = self._made()
            if said is None:
                if layout is None:
                    raise absent(self.place)
                self._make(layout)
                said = written(layout)
            self.layout = agreed(self.place, read(self.place, said), layout)

    def put(self, rows: Rows, namespace: str) -> None:
        """Write rows, some hundred in a request."""
        points = [
            self._models.PointStruct(id=_point(namespace, name), vector=vector.tolist(), payload=payload)
            for name, vector, payload in zip(
                rows.ids, rows.vectors, self._payloads(rows, namespace), strict=True
            )
        ]
        with self._failing():
            for start in range(0, len(points), _BATCH):
                self._client.upsert(self._name, points[start : start + _BATCH], wait=True)

    def remove(self, ids: Many[str], namespace: str) -> None:
        """Take rows out."""
        with self._failing():
            points = self._models.PointIdsList(points=[_point(namespace, name) for name in ids])
            self._client.delete(self._name, points, wait=True)

    def get(self, ids: Many[str], namespace: str) -> Rows:
        """The rows that are there of these ids."""
        points = [_point(namespace, name) for name in ids]
        with self._failing():
            found = self._client.retrieve(self._name, points, with_payload=True, with_vectors=True)
        return self._read(found)

    def search(self, queries: Floats, k: int, where: Where | None, namespace: str) -> list[list[Found]]:
        """The nearest rows; an exact look asks the server for one."""
        condition = self._filter(where, namespace)
        with self._failing():
            return [self._nearest(query, k, condition) for query in queries]

    def scan(self, namespace: str) -> Iterator[Rows]:
        """Every row, a batch at a time."""
        after = None
        with self._failing():
            while True:
                found, after = self._client.scroll(
                    self._name, self._filter(None, namespace), limit=_BATCH, offset=after,
                    with_payload=True, with_vectors=True,
                )  # fmt: skip
                if found:
                    yield self._read(found)
                if after is None:
                    return

    def count(self, where: Where | None, namespace: str) -> int:
        """How many rows meet the condition."""
        with self._failing():
            asked = self._filter(where, namespace)
            return int(self._client.count(self._name, count_filter=asked, exact=True).count)

    def namespaces(self) -> Mapping[str, int]:
        """Rows of every namespace."""
        counts: dict[str, int] = {}
        after = None
        with self._failing():
            while True:
                found, after = self._client.scroll(
                    self._name, limit=4096, offset=after, with_payload=["namespace"], with_vectors=False
                )
                for point in found:
                    name = point.payload["namespace"]
                    counts[name] = counts.get(name, 0) + 1
                if after is None:
                    return counts

    def settle(self) -> None:
        """Nothing is to be done: a server optimises by itself."""

    def bytes(self) -> int:
        """Bytes in the folder; of a server, what its vectors take at least."""
        if not self._is_local:
            with self._failing():
                rows = self._client.count(self._name, exact=True).count
            return int(rows * self.layout.bytes()[1])
        from pathlib import Path

        place = Path(self.place.removeprefix("qdrant:"))
        return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())

    def close(self) -> None:
        """Let go of the folder or the connection."""
        self._client.close()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        with failing(self.place, *self._errors), warnings.catch_warnings():
            # Local mode says so from 20,000 rows on, and again for each payload index it has no need of.
            warnings.filterwarnings("ignore", module="qdrant_client")
            warnings.filterwarnings("ignore", message=".*[Ll]ocal.*")
            yield

    def _made(self) -> str | None:
        if not self._client.collection_exists(self._name):
            return None
        told = self._client.get_collection(self._name).config.metadata or {}
        return str(told.get("lingxi", ""))

    def _make(self, layout: Layout) -> None:
        models = self._models
        kinds = {
            "int8": models.ScalarQuantization(
                scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
            ),
            "binary": models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True)),
        }
        self._client.create_collection(
            self._name,
            vectors_config=models.VectorParams(
                size=layout.dim, distance=models.Distance.DOT, on_disk=layout.precision != "float32"
            ),
            quantization_config=kinds.get(layout.precision),
            metadata={"lingxi": written(layout)},
        )
        of_kind = {
            "text": "keyword",
            "path": "keyword",
            "whole": "integer",
            "number": "float",
            "flag": "bool",
        }
        for field, kind in {"namespace": "keyword", **layout.fields}.items():
            name = field if field == "namespace" else column(field)
            if not self._is_local:
                self._client.create_payload_index(self._name, name, of_kind.get(kind, kind))

    def _payloads(self, rows: Rows, namespace: str) -> Iterator[dict[str, Anything]]:
        paths = [field for field, kind in self.layout.fields.items() if kind == "path"]
        for name, own in zip(rows.ids, rows.metadata, strict=True):
            told = {column(field): value for field, value in own.items()}
            places = {f"{column(field)}_in": ancestors(str(own[field])) for field in paths}
            yield {"namespace": namespace, "id": name, **told, **places}

    def _nearest(self, query: Floats, k: int, condition: Anything) -> list[Found]:
        models, layout = self._models, self.layout
        coded = layout.precision != "float32"
        quantization = models.QuantizationSearchParams(
            ignore=False, rescore=layout.rescores, oversampling=float(max(1, layout.rescore))
        )
        parameters = models.SearchParams(
            hnsw_ef=max(_SEARCH_WIDTH, 2 * k), exact=layout.look == "exact" and not coded,
            quantization=quantization if coded else None,
        )  # fmt: skip
        found = self._client.query_points(
            self._name, query=query.tolist(), limit=k, query_filter=condition, search_params=parameters
        ).points
        return [Found(p.payload["id"], float(p.score), self._metadata(p.payload)) for p in found]

    def _read(self, found: Sequence[Anything]) -> Rows:
        vectors = [np.asarray(point.vector, np.float32) for point in found]
        matrix = np.stack(vectors) if vectors else np.zeros((0, self.layout.dim), np.float32)
        told = [self._metadata(point.payload) for point in found]
        return Rows([point.payload["id"] for point in found], matrix, told)

    def _metadata(self, payload: Mapping[str, Anything]) -> Metadata:
        kinds = self.layout.fields
        # JSON knows no difference between 2.0 and 2.
        return {
            field: float(payload[column(field)]) if kind == "number" else payload[column(field)]
            for field, kind in kinds.items()
        }

    def _filter(self, where: Where | None, namespace: str) -> Anything:
        models = self._models
        own = models.FieldCondition(key="namespace", match=models.MatchValue(value=namespace))
        return models.Filter(must=[own] if where is None else [own, self._condition(where)])

    def _condition(self, where: Where) -> Anything:
        models = self._models
        match where:
            case Compare(field, op, value):
                return self._comparison(field, op, value)
            case OneOf(field, values):
                return models.Filter(
                    should=[self._comparison(field, "=", value) for value in values]
                ) if values else self._never()  # fmt: skip
            case All(parts):
                return models.Filter(must=[self._condition(part) for part in parts])
            case filters.Any(parts):
                found = [self._condition(part) for part in parts]
                return models.Filter(should=found) if found else self._never()
            case Not(part):
                return models.Filter(must_not=[self._condition(part)])

    def _comparison(self, field: str, op: Op, value: Value) -> Anything:
        models, key = self._models, column(field)
        if op == "!=":
            return models.Filter(must_not=[self._comparison(field, "=", value)])
        if op == "below":
            return models.FieldCondition(key=f"{key}_in", match=models.MatchValue(value=value))
        if isinstance(value, float) and op == "=":
            return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))
        if op == "=":
            return models.FieldCondition(key=key, match=models.MatchValue(value=value))
        bound = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}[op]
        return models.FieldCondition(key=key, range=models.Range(**{bound: value}))

    def _never(self) -> Anything:
        return self._models.HasIdCondition(has_id=[])


def _point(namespace: str, name: str) -> str:
    return str(uuid.uuid5(_OURS, f"{namespace}\x1f{name}"))


def _library() -> tuple[Anything, Anything, tuple[type[Exception], ...]]:
    try:
        from qdrant_client import QdrantClient, models
        from qdrant_client.http.exceptions import ApiException
    except ImportError:
        raise MissingExtraError("qdrant_client", "qdrant", "a store in Qdrant") from None
    return QdrantClient, models, (ApiException, RuntimeError, ValueError)
