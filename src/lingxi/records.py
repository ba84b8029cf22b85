"""The rows every room shares: `Document` and `Pair`, their Arrow schemas, and streaming Parquet files.

A pair lists every known positive, so a known positive is never taken for a negative; `group` (message
key, page, sentence id) is what splits never cut; `dropped` holds the reason a row was left out, or None.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from lingxi.errors import InputError, MissingExtraError
from lingxi.lines import numbered_lines

Task = Literal["bitext", "retrieval", "code", "sts", "classification", "pair"]
# A batch ends at so many rows, or at so many characters of text.
BATCH_ROWS, BATCH_SIZE = 10_000, 32 * 2**20


@dataclass(frozen=True, slots=True)
class Document:
    """One text (and its picture or sound, by address in `media`) with where it came from."""

    id: str
    text: str
    title: str | None = None
    language: str | None = None
    source: str | None = None
    licence: str | None = None
    uri: str | None = None
    modality: str = "text"
    media: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """One positive or negative of a pair; `score` is a grade or a teacher's score where one is known."""

    id: str
    text: str
    media: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """One query with its positives and negatives; `licence` is kept as the source states it."""

    id: str
    group: str
    query: str
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...]
    instruction: str
    task: Task
    query_language: str
    document_language: str
    source: str
    licence: str
    scores: Mapping[str, float] = field(default_factory=dict)
    dropped: str | None = None


def digest(*parts: str) -> str:
    """A stable 20-character id of texts; the order and the borders of the parts count."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).hexdigest()[:20]


def stable_hash(text: str) -> int:
    """64 bits of a text that are the same in every process: for draws and for sets of what was seen."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def drawn(seed: int, key: str) -> int:
    """The number by which a row is drawn: the smallest are taken, whatever the order of the rows."""
    return stable_hash(f"{seed}\x1f{key}")


def passage(text: str, score: float | None = None) -> Passage:
    """A text passage named by its content, so equal texts have equal ids."""
    return Passage(digest(text), text, None, score)


@lru_cache(maxsize=1)
def document_schema() -> Any:
    """The Arrow schema of `Document` rows."""
    pa = require_pyarrow()
    return pa.schema([pa.field(item.name, pa.string()) for item in fields(Document)])


@lru_cache(maxsize=1)
def pair_schema() -> Any:
    """The Arrow schema of `Pair` rows: passages are list<struct{id, text, media, score}>, scores a map."""
    pa = require_pyarrow()
    passages = pa.list_(
        pa.struct(
            [("id", pa.string()), ("text", pa.string()), ("media", pa.string()), ("score", pa.float32())]
        )
    )
    special = {"positives": passages, "negatives": passages, "scores": pa.map_(pa.string(), pa.float32())}
    return pa.schema([(item.name, special.get(item.name, pa.string())) for item in fields(Pair)])


def write_pairs(rows: Iterable[Pair], path: Path) -> int:
    """Write pairs as zstd Parquet, one batch (`BATCH_ROWS`, `BATCH_SIZE`) in memory; returns how many.

    The file appears under its name only when complete.
    """
    return _write(rows, path, pair_schema(), pair_columns, _size_of_pair)


def write_documents(rows: Iterable[Document], path: Path) -> int:
    """Write documents as zstd Parquet in bounded memory; returns how many."""
    return _write(rows, path, document_schema(), _document_columns, lambda row: len(row.text))


def read_pairs(path: Path) -> Iterator[Pair]:
    """Stream the pairs of a Parquet file in file order.

    Raises InputError when the file is missing, damaged or lacks columns of the schema.
    """
    for batch in batches(path, pair_schema()):
        yield from pairs_of(batch)


def pairs_of(batch: Any) -> Iterator[Pair]:
    """The pairs of one Arrow record batch."""
    names = [item.name for item in fields(Pair)]
    columns = [batch.column(name).to_pylist() for name in names]
    for values in zip(*columns, strict=True):
        row = dict(zip(names, values, strict=True))
        row["positives"], row["negatives"] = _passages(row["positives"]), _passages(row["negatives"])
        yield Pair(**{**row, "scores": dict(row["scores"] or ())})


def read_documents(path: Path) -> Iterator[Document]:
    """Stream the documents of a Parquet file in file order; raises InputError as `read_pairs`."""
    for batch in batches(path, document_schema()):
        for row in batch.to_pylist():
            yield Document(**row)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Stream the objects of a JSON Lines file (.gz too); raises InputError naming the file or the line."""
    return (row for _, row in numbered_jsonl(path))


def numbered_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """As `read_jsonl`, each object with the number of its line."""
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as problem:
            reason = f"{path}:{number} is no JSON ({problem})"
            raise InputError(reason, "mend or remove the line") from problem
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number} is no JSON object", "mend or remove the line")
        yield number, row


def check_pairs(path: Path) -> None:
    """Raise InputError where `read_pairs` would: the file is missing, damaged or lacks columns."""
    for _ in batches(path, pair_schema()):
        return


def batches(path: Path, schema: Any) -> Iterator[Any]:
    """Arrow record batches of a Parquet file, columns in the order of the schema, each of `BATCH_SIZE` or so.

    Raises InputError when the file is missing, damaged or lacks columns of the schema.
    """
    require_pyarrow()
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowException

    if not path.is_file():
        raise InputError(f"no Parquet file at {path}", "run the stage that writes it, or correct the path")
    try:
        with pq.ParquetFile(path) as file:
            lacking = [name for name in schema.names if name not in file.schema_arrow.names]
            if lacking:
                raise InputError(
                    f"{path} lacks the columns {', '.join(lacking)}", "write it with lingxi.records"
                )
            for group in range(file.num_row_groups):
                rows = rows_at_once(file.metadata.row_group(group))
                yield from file.iter_batches(rows, row_groups=[group], columns=schema.names)
    except (ArrowException, OSError) as problem:
        raise InputError(f"{path} is no readable Parquet file ({problem})", "write it again") from problem


def rows_at_once(group: Any) -> int:
    """How many rows of a row group are read at a time: `BATCH_ROWS`, or fewer where they are large."""
    each = group.total_byte_size / max(group.num_rows, 1)
    return max(1, min(BATCH_ROWS, int(BATCH_SIZE // max(each, 1))))


def _batched(rows: Iterable[Any], size: Callable[[Any], int]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    room = BATCH_SIZE
    for row in rows:
        batch.append(row)
        room -= size(row)
        if room <= 0 or len(batch) >= BATCH_ROWS:
            yield batch
            batch, room = [], BATCH_SIZE
    if batch:
        yield batch


def _size_of_pair(row: Pair) -> int:
    return len(row.query) + sum(len(item.text) for item in (*row.positives, *row.negatives))


def _write(rows: Iterable[Any], path: Path, schema: Any, columns: Any, size: Callable[[Any], int]) -> int:
    pa = require_pyarrow()
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    partial, count = path.with_name(path.name + ".part"), 0
    with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for batch in _batched(rows, size):
            writer.write_batch(pa.record_batch(columns(batch), schema=schema))
            count += len(batch)
    partial.replace(path)
    return count


def pair_columns(batch: list[Pair]) -> list[list[Any]]:
    """The columns of pairs in the order of their schema."""
    return [
        [row.id for row in batch],
        [row.group for row in batch],
        [row.query for row in batch],
        [[_struct(item) for item in row.positives] for row in batch],
        [[_struct(item) for item in row.negatives] for row in batch],
        [row.instruction for row in batch],
        [row.task for row in batch],
        [row.query_language for row in batch],
        [row.document_language for row in batch],
        [row.source for row in batch],
        [row.licence for row in batch],
        [list(row.scores.items()) for row in batch],
        [row.dropped for row in batch],
    ]


def _document_columns(batch: list[Document]) -> list[list[Any]]:
    return [[getattr(row, item.name) for row in batch] for item in fields(Document)]


def _struct(item: Passage) -> dict[str, str | float | None]:
    return {"id": item.id, "text": item.text, "media": item.media, "score": item.score}


def _passages(items: list[dict[str, Any]] | None) -> tuple[Passage, ...]:
    return tuple(Passage(item["id"], item["text"], item["media"], item["score"]) for item in items or ())


def require_pyarrow() -> Any:
    """The library pyarrow; raises MissingExtraError where it is not installed."""
    try:
        import pyarrow
    except ImportError as absent:
        raise MissingExtraError("pyarrow", "train", "reading and writing Parquet rows") from absent
    return pyarrow
