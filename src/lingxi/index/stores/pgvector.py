"""Vectors in PostgreSQL by its extension pgvector: one table a collection, every write one transaction.

A binary first look compares signs by an expression (indexed where the look is ann) and orders by the full
vector in the same statement. pgvector has no int8.
"""

from __future__ import annotations

import re
from collections.abc import Collection as Many
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from lingxi.errors import InputError, MissingExtraError
from lingxi.index.stores.filters import Where
from lingxi.index.stores.layout import Floats, Found, Layout, Metadata, Rows, agreed, read, written
from lingxi.index.stores.seam import absent, closing, failing
from lingxi.index.stores.sql import clause, column, columns

_BATCH = 4096
_SEARCH_WIDTH = 128
# pgvector's own limit of an index over float32 vectors.
_WIDEST_INDEXED = 2000


class PgStore:
    """The table `lingxi_NAME` of a database, opened or made there."""

    def __init__(self, url: str, name: str, layout: Layout | None) -> None:
        # A password stands in the URL, and must not stand in a message.
        self.place = f"{re.sub(r':[^:@/]*@', '@', url)}#{name}"
        self._name = f"lingxi_{name}"
        psycopg = _library()
        self._error: type[Exception] = psycopg.Error
        with self._failing():
            self._rows = psycopg.connect(url, autocommit=True, connect_timeout=15)
        with self._failing(), closing(self._rows.close):
            self._rows.execute("CREATE EXTENSION IF NOT EXISTS vector")
            _library("pgvector.psycopg").register_vector(self._rows)
            self.layout = agreed(self.place, self._opened(layout), layout)
        self._fields = list(self.layout.fields)

    def put(self, rows: Rows, namespace: str) -> None:
        """Write rows in one transaction."""
        names = ["namespace", "id", "vector", *map(column, self._fields)]
        told = ", ".join(f"{name} = excluded.{name}" for name in names[2:])
        into = f"INSERT INTO {self._name} ({', '.join(names)}) SELECT * FROM coming "
        with self._failing(), self._rows.transaction(), self._rows.cursor() as cursor:
            cursor.execute(
                f"CREATE TEMP TABLE coming ON COMMIT DROP AS SELECT {', '.join(names)} "
                f"FROM {self._name} LIMIT 0"
            )
            with cursor.copy(f"COPY coming ({', '.join(names)}) FROM STDIN WITH (FORMAT BINARY)") as copy:
                copy.set_types(self._types())
                for row in zip(rows.ids, rows.vectors, rows.metadata, strict=True):
                    copy.write_row((namespace, row[0], row[1], *(row[2][field] for field in self._fields)))
            cursor.execute(f"{into} ON CONFLICT (namespace, id) DO UPDATE SET {told}")

    def remove(self, ids: Many[str], namespace: str) -> None:
        """Take rows out in one statement."""
        with self._failing():
            self._rows.execute(
                f"DELETE FROM {self._name} WHERE namespace = %s AND id = ANY(%s)", (namespace, list(ids))
            )

    def get(self, ids: Many[str], namespace: str) -> Rows:
        """The rows that are there of these ids."""
        with self._failing():
            found = self._rows.execute(
                f"{self._select()} WHERE namespace = %s AND id = ANY(%s)", (namespace, list(ids))
            ).fetchall()
        return self._read(found)

    def search(self, queries: Floats, k: int, where: Where | None, namespace: str) -> list[list[Found]]:
        """The nearest rows, by the index where the look is ann."""
        text, values = clause(where, "%s")
        asked = f"namespace = %s AND {text}"
        with self._failing(), self._rows.transaction():
            self._tune(k)
            return [self._nearest(query, k, asked, [namespace, *values]) for query in queries]

    def scan(self, namespace: str) -> Iterator[Rows]:
        """Every row, by id."""
        last = ""
        with self._failing():
            while found := self._rows.execute(
                f"{self._select()} WHERE namespace = %s AND id > %s ORDER BY id LIMIT {_BATCH}",
                (namespace, last),
            ).fetchall():
                last = found[-1][0]
                yield self._read(found)

    def count(self, where: Where | None, namespace: str) -> int:
        """How many rows meet the condition."""
        text, values = clause(where, "%s")
        with self._failing():
            asked = f"SELECT count(*) FROM {self._name} WHERE namespace = %s AND {text}"
            return int(self._rows.execute(asked, (namespace, *values)).fetchone()[0])

    def namespaces(self) -> Mapping[str, int]:
        """Rows of every namespace."""
        with self._failing():
            asked = f"SELECT namespace, count(*) FROM {self._name} GROUP BY namespace"
            return dict(self._rows.execute(asked).fetchall())

    def settle(self) -> None:
        """Make the approximate index where there is none yet, and clean the table."""
        with self._failing():
            if self.layout.look == "ann":
                self._rows.execute(
                    f"CREATE INDEX IF NOT EXISTS {self._name}_near ON {self._name} "
                    f"USING hnsw ({self._indexed()})"
                )
            self._rows.execute(f"VACUUM ANALYZE {self._name}")

    def bytes(self) -> int:
        """Bytes of the table, its indexes and what it keeps aside."""
        with self._failing():
            asked = "SELECT pg_total_relation_size(%s::regclass)"
            return int(self._rows.execute(asked, (self._name,)).fetchone()[0])

    def close(self) -> None:
        """Let go of the connection."""
        self._rows.close()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        with failing(self.place, self._error):
            yield

    def _opened(self, layout: Layout | None) -> Layout:
        self._rows.execute(
            "CREATE TABLE IF NOT EXISTS lingxi_made (name text PRIMARY KEY, layout text NOT NULL)"
        )
        asked = "SELECT layout FROM lingxi_made WHERE name = %s"
        found = self._rows.execute(asked, (self._name,)).fetchone()
        if found is None and layout is None:
            raise absent(self.place)
        if found is None and layout is not None:
            self._make(layout)
            found = self._rows.execute(asked, (self._name,)).fetchone()
        return read(self.place, found[0])

    def _make(self, layout: Layout) -> None:
        if layout.precision == "int8":
            raise InputError("pgvector has no int8 vectors", "choose float32 or binary")
        if layout.look == "ann" and layout.precision == "float32" and layout.dim > _WIDEST_INDEXED:
            raise InputError(
                f"pgvector indexes float32 vectors up to {_WIDEST_INDEXED}, not {layout.dim}",
                "choose a smaller dim, precision binary, or an exact look",
            )
        own = "".join(f", {said}" for said in columns(dict(layout.fields), "postgres"))
        with self._rows.transaction():
            self._rows.execute(
                f'CREATE TABLE {self._name} (namespace text NOT NULL, id text COLLATE "C" NOT NULL, '
                f"vector vector({layout.dim}) NOT NULL{own}, PRIMARY KEY (namespace, id))"
            )
            self._rows.execute("INSERT INTO lingxi_made VALUES (%s, %s)", (self._name, written(layout)))

    def _indexed(self) -> str:
        if self.layout.precision == "binary":
            return f"(binary_quantize(vector)::bit({self.layout.dim})) bit_hamming_ops"
        return "vector vector_ip_ops"

    def _tune(self, k: int) -> None:
        if self.layout.look == "exact":
            self._rows.execute("SET LOCAL enable_indexscan = off")
            return
        width = min(1000, max(_SEARCH_WIDTH, 2 * self.layout.candidates(k)))
        self._rows.execute(f"SET LOCAL hnsw.ef_search = {width}")
        # Goes on until enough rows meet the condition.
        self._rows.execute("SET LOCAL hnsw.iterative_scan = strict_order")

    def _nearest(self, query: Floats, k: int, asked: str, values: Sequence[Any]) -> list[Found]:
        names = f"id{''.join(f', {column(field)}' for field in self._fields)}"
        source, order = f"{self._name} WHERE {asked}", "vector <#> %s"
        given: list[Any] = list(values)
        if self.layout.precision == "binary":
            signs = f"binary_quantize(vector)::bit({self.layout.dim})"
            far = f"{signs} <~> binary_quantize(%s)::bit({self.layout.dim})"
            source = f"(SELECT * FROM {source} ORDER BY {far} LIMIT {self.layout.candidates(k)}) AS looked"
            given.append(query)
            order = order if self.layout.rescores else far
        text = f"SELECT -(vector <#> %s), {names} FROM {source} ORDER BY {order} LIMIT {k}"
        found = self._rows.execute(text, (query, *given, query)).fetchall()
        return [Found(name, float(score), self._metadata(own)) for score, name, *own in found]

    def _types(self) -> list[str]:
        kinds = {"text": "text", "path": "text", "whole": "int8", "number": "float8", "flag": "bool"}
        return ["text", "text", "vector", *(kinds[self.layout.fields[field]] for field in self._fields)]

    def _select(self) -> str:
        return f"SELECT id, vector{''.join(f', {column(field)}' for field in self._fields)} FROM {self._name}"

    def _read(self, found: Sequence[tuple[Any, ...]]) -> Rows:
        own = [_numbers(row[1]) for row in found]
        matrix = np.stack(own) if own else np.zeros((0, self.layout.dim), np.float32)
        return Rows([row[0] for row in found], matrix, [self._metadata(row[2:]) for row in found])

    def _metadata(self, own: Sequence[Any]) -> Metadata:
        return dict(zip(self._fields, own, strict=True))


def _numbers(vector: Any) -> Floats:
    return np.asarray(vector.to_numpy() if hasattr(vector, "to_numpy") else vector, np.float32)


def _library(module: str = "psycopg") -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise MissingExtraError(module.split(".")[0], "pgvector", "a store in PostgreSQL") from None
