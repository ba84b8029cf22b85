"""Documents of one's own: rows of JSON Lines, Parquet or CSV with a column `text`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lingxi.collect.bounded import files_below
from lingxi.collect.origin import Origin, document, unless_refused
from lingxi.errors import InputError
from lingxi.records import Document, digest
from lingxi.tables import Row, field, is_table, numbered


def read_rows(path: Path, origin: Origin) -> Iterator[Document]:
    """Stream the documents of a table, or of every table of a folder.

    Columns: `text`; `title`, `language`, `licence`, `uri` and `id` where they are there, others are not read.
    Raises InputError naming file and row for a text that is missing or empty, and for what is no table.
    """
    if path.is_dir():
        for place, inner in files_below(path):
            if is_table(inner):
                yield from unless_refused(_documents(inner, place, origin), origin, inner)
        return
    if not is_table(path):
        raise InputError(f"{path} is no .jsonl, .parquet, .csv or .tsv", "convert it")
    yield from _documents(path, path.name, origin)


def _documents(path: Path, place: str, origin: Origin) -> Iterator[Document]:
    """The documents of a table; its place is in their ids, as two tables of a folder may number alike."""
    for number, row in numbered(path):
        text = field(row, "text", path, number).strip()
        if not text:
            raise InputError(f"{path}:{number}: the text is empty", "remove the row")
        yield _document(text, row, place, number, origin)


def _document(text: str, row: Row, place: str, number: int, origin: Origin) -> Document:
    said = {name: str(value) for name, value in row.items() if value not in (None, "")}
    found = document(
        origin,
        said.get("uri", f"{place}#{number}"),
        text,
        title=said.get("title"),
        language=said.get("language"),
        licence=said.get("licence"),
    )
    return replace(found, id=digest(origin.source, place, said["id"])) if "id" in said else found
