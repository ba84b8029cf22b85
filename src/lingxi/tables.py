"""Tables of others: rows of JSON Lines, Parquet or CSV with their numbers, and the files of the BEIR shape.

What is wrong is named with its file and row, whoever reads: `collect` for training, `evaluate` for measuring.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lingxi.errors import InputError
from lingxi.lines import MOST_LINE, most_unpacked, numbered_lines
from lingxi.records import numbered_jsonl, require_pyarrow, rows_at_once

Row = dict[str, Any]
Judged = dict[str, dict[str, float]]
# Bytes that are made rows at a time, and the largest row; cells that a file of any size may have.
_MOST_PART, _MOST_CELLS = 4 * MOST_LINE, 2**24
# What a corpus calls the id of a document: BEIR, ours, Tevatron.
_IDS = ("_id", "id", "docid")
_SUFFIXES = (".jsonl", ".ndjson", ".parquet", ".csv", ".tsv", ".jsonl.gz", ".csv.gz", ".tsv.gz")


def is_table(path: Path) -> bool:
    """Whether a file is one that `numbered` reads, by its name."""
    return path.name.lower().endswith(_SUFFIXES)


def numbered(path: Path) -> Iterator[tuple[int, Row]]:
    """Stream the rows of a file by its kind, from 1: Parquet, CSV or TSV with a header, else JSON Lines.

    Raises InputError naming the file or the row at fault.
    """
    if path.suffix == ".parquet":
        return numbered_parquet(path)
    kind = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    return _numbered_csv(path, kind) if kind in (".csv", ".tsv") else numbered_jsonl(path)


def numbered_parquet(path: Path) -> Iterator[tuple[int, Row]]:
    """Stream the rows of any Parquet file with their numbers; raises InputError as `numbered`.

    A text that a column repeats is written once, so a file of a few hundred bytes may hold gigabytes: what
    rows would unpack to is counted before they are.
    """
    require_pyarrow()
    from pyarrow.lib import ArrowException

    if not path.is_file():
        raise InputError(f"no file at {path}", "correct the path")
    number = 0
    try:
        for part in _parts(path):
            for row in part.to_pylist():
                number += 1
                yield number, row
    except (ArrowException, OSError) as problem:
        raise InputError(f"{path} is no readable Parquet file ({problem})", "write it again") from problem


def _check_claims(path: Path, said: Any) -> None:
    """Raise InputError for a file that says that it unpacks to more than text or its cells would."""
    groups = [said.row_group(number) for number in range(said.num_row_groups)]
    # Cells by the width of those that all have the same.
    widths = [max(said.schema.column(n).length or 0, 1) for n in range(said.num_columns)]
    cells = sum(group.column(n).num_values * width for group in groups for n, width in enumerate(widths))
    room = most_unpacked(path)
    _check_room(path, room - sum(group.total_byte_size for group in groups))
    _check_room(path, max(room // 4, _MOST_CELLS) - cells)


def _check_room(path: Path, left: int) -> None:
    if left < 0:
        raise InputError(
            f"{path} unpacks to far more than its size", "write it as JSON Lines, if it is to be trusted"
        )


def _parts(path: Path) -> Iterator[Any]:
    """The rows of a file a little at a time; raises InputError where they are more than its size can hold."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        _check_claims(path, file.metadata)
        groups = file.num_row_groups
    room, before = most_unpacked(path), 0
    for group in range(groups):
        rows, packed = _plan(path, group)
        with pq.ParquetFile(path, read_dictionary=packed) as file:
            for batch in file.iter_batches(rows, row_groups=[group]):
                for part in _parted(batch, path, before):
                    before, room = before + part.num_rows, room - _unpacked_in(part)
                    _check_room(path, room)
                    yield part


def _plan(path: Path, group: int) -> tuple[int, list[str]]:
    """How many rows of a row group are read at a time, and which columns as the numbers of their texts.

    Those whose rows hold lists, of which one may be as long as the column: where the longest text that it
    repeats, so often, would be too much.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        said = file.metadata.row_group(group)
        columns = [file.schema.column(n) for n in range(len(file.schema))]
    texts = [n for n, column in enumerate(columns) if column.physical_type == "BYTE_ARRAY"]
    with pq.ParquetFile(path, read_dictionary=[columns[n].path for n in texts]) as file:
        first = next(file.iter_batches(1, row_groups=[group]), None)
    found = [] if first is None else [each for column in first.columns for each in _repeated(column)]
    plain, inside = (max((size for listed, size in found if listed is of), default=0) for of in (False, True))
    listed = [n for n in texts if columns[n].max_repetition_level]
    packed = [columns[n].path for n in listed if inside * said.column(n).num_values > _MOST_PART]
    flat = plain * (len(texts) - len(listed))
    return min(rows_at_once(said), max(1, _MOST_PART // max(flat, 1))), packed


def _repeated(array: Any, listed: bool = False) -> Iterator[tuple[bool, int]]:
    """Whether in lists, and the bytes of the longest: of each of the texts' columns in a column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type):
        # What lists repeat is not known before one of them has an item.
        unknown = _MOST_PART if listed and not len(array.dictionary) else 0
        yield listed, int(pc.max(_lengths(array.dictionary)).as_py() or unknown)
    alone = pa.types.is_struct(array.type) or isinstance(array, pa.ExtensionArray)
    for each in _inside(array):
        yield from _repeated(each, listed or not alone)


def _inside(array: Any) -> list[Any]:
    """The columns inside of a column: those of a struct, the items of lists, of these rows alone.

    They are cut out of those of all rows, not copied.
    """
    import pyarrow as pa

    if isinstance(array, pa.ExtensionArray):
        return [array.storage]
    if isinstance(array, pa.FixedSizeListArray):
        size = array.type.list_size
        return [array.values.slice(array.offset * size, len(array) * size)]
    if isinstance(array, (pa.ListArray, pa.LargeListArray)):
        start, end = array.offsets[0].as_py(), array.offsets[-1].as_py()
        items = (array.keys, array.items) if pa.types.is_map(array.type) else (array.values,)
        return [each.slice(start, end - start) for each in items]
    return list(array.flatten()) if pa.types.is_struct(array.type) else []


def _lengths(texts: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if (
        pa.types.is_string(texts.type)
        or pa.types.is_binary(texts.type)
        or pa.types.is_large_string(texts.type)
    ):
        return pc.binary_length(texts).cast(pa.int64())
    return pa.array([texts.nbytes // max(len(texts), 1)] * len(texts), pa.int64())


def _parted(batch: Any, path: Path, before: int) -> Iterator[Any]:
    """Parts of a batch, each of which unpacks to little; raises InputError for a row that does not."""
    if _unpacked_in(batch) <= _MOST_PART:
        yield batch
        return
    if batch.num_rows == 1:
        raise InputError(f"{path}:{before + 1} is a row of many megabytes", "remove the row")
    half = batch.num_rows // 2
    yield from _parted(batch.slice(0, half), path, before)
    yield from _parted(batch.slice(half), path, before + half)


def _unpacked_in(batch: Any) -> int:
    return sum(map(_unpacked, batch.columns))


def _unpacked(array: Any) -> int:
    """The bytes that a column takes without its dictionary."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type):
        return int(pc.sum(_lengths(array.dictionary).take(array.indices)).as_py() or 0)
    inside = _inside(array)
    return sum(map(_unpacked, inside)) if inside else int(array.nbytes)


def _numbered_csv(path: Path, kind: str) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(MOST_LINE)
    lines = (f"{line}\n" for _, line in numbered_lines(path))
    tabs = kind == ".tsv"
    rows = csv.DictReader(lines, dialect=_Tabs if tabs else csv.excel)
    try:
        for row in rows:
            if None in row:
                raise InputError(f"{path}:{rows.line_num} has more cells than columns", "mend the line")
            yield rows.line_num, row
    except csv.Error as problem:
        raise InputError(f"{path}:{rows.line_num} is no table ({problem})", "write it again") from problem


class _Tabs(csv.excel_tab):
    """Tab by tab, quotes are text."""

    quoting = csv.QUOTE_NONE


def field(row: Row, key: str, path: Path, number: int, kind: type = str) -> Any:
    """A field of a row; raises InputError naming file and line where it is missing or of another type."""
    value = row.get(key)
    if value is None or not isinstance(value, kind):
        said = "is missing" if value is None else f"is {type(value).__name__}"
        raise InputError(f"{path}:{number}: the field {key!r} {said}", "mend or remove the line")
    return value


def number_of(value: Any, what: str, path: Path, number: int) -> float:
    """A number of a row; raises InputError naming file and line where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(
            f"{path}:{number}: {what} is {value!r}, no number", "mend or remove the line"
        ) from None


def table(folder: Path, name: str) -> Path:
    """The file of a folder that holds a table: `name`.jsonl, or .parquet where only that is there."""
    parquet = folder / f"{name}.parquet"
    return parquet if parquet.is_file() else folder / f"{name}.jsonl"


def keyed_texts(path: Path) -> dict[str, str]:
    """Texts (with their titles) by id; raises InputError for a row without, or an id that is there twice."""
    texts: dict[str, str] = {}
    for number, row in numbered(path):
        key = str(field(row, next((name for name in _IDS if name in row), "id"), path, number, object))
        if key in texts:
            raise InputError(
                f"{path}:{number}: the id {key!r} is there twice", "give every row an id of its own"
            )
        body = "document_text" if "text" not in row and "document_text" in row else "text"
        title, text = str(row.get("title") or ""), field(row, body, path, number)
        texts[key] = f"{title}\n{text}" if title else text
    if not texts:
        raise InputError(
            f"{path} has no rows", "an empty corpus or an empty list of queries measures nothing"
        )
    return texts


def read_judgements(path: Path, binary: bool = False) -> Judged:
    """Grades by query and document of a qrels file of three columns, or TREC's four.

    Raises InputError for a broken line.
    """
    judged: Judged = defaultdict(dict)
    for number, line in numbered_lines(path):
        parts = line.split("\t")
        if not line or (number == 1 and parts[-1] in ("score", "grade")):
            continue
        try:
            query, document, grade = parts if len(parts) == 3 else (parts[0], *parts[2:])
            value = float(grade)
        except ValueError:
            raise InputError(
                f"{path}:{number} is not query, document and grade, tab by tab", "mend or remove the line"
            ) from None
        judged[query][document] = float(value > 0) if binary else value
    return judged
