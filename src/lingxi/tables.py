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
from lingxi.lines import MOST_LINE, numbered_lines
from lingxi.records import numbered_jsonl, numbered_parquet

Row = dict[str, Any]
Judged = dict[str, dict[str, float]]
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
