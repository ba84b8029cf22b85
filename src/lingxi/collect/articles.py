"""Scientific articles from JSON Lines: arXiv's metadata, and rows as Semantic Scholar gives them; .gz too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lingxi.collect.bounded import files_below
from lingxi.collect.origin import Origin, document, unless_refused
from lingxi.errors import InputError
from lingxi.records import Document, numbered_jsonl

Row = dict[str, Any]
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz")
_IDS = ("paperId", "paper_id", "corpusid", "corpusId", "id")
_CREATIVE = re.compile(r"creativecommons\.org/licenses/([a-z-]+)/(\d\.\d)")
_PUBLIC = re.compile(r"creativecommons\.org/publicdomain/(zero|mark)/")
# arXiv begins the paragraphs of an abstract with two spaces, and breaks its lines.
_PARAGRAPH = re.compile(r"\n(?=[ \t]{2,}\S)|\n[ \t]*\n")


def read_articles(path: Path, origin: Origin) -> Iterator[Document]:
    """Stream the articles of a file, or of every file of a folder: the abstract, and the text if there.

    The licence is a row's own where it states one. Raises InputError for a row of another shape, and as
    `lines.numbered_lines`.
    """
    if path.is_dir():
        for place, inner in files_below(path):
            if inner.name.endswith(_SUFFIXES):
                yield from unless_refused(_articles(inner, place, origin), origin, inner)
        return
    yield from _articles(path, path.name, origin)


def _articles(path: Path, place: str, origin: Origin) -> Iterator[Document]:
    empty = 0
    for number, row in numbered_jsonl(path):
        found = _article(row, path, number, place, origin)
        empty += found is None
        if found is not None:
            yield found
    if empty:
        origin.left_out.append(f"{place}: {empty:,} rows have neither abstract nor text")


def _article(row: Row, path: Path, number: int, place: str, origin: Origin) -> Document | None:
    key = next((row[name] for name in _IDS if row.get(name) is not None), None)
    if key is None or not isinstance(row.get("title"), str):
        raise InputError(
            f"{path}:{number} is no article: an id ({', '.join(_IDS)}) and a title are missing",
            "give rows as arXiv or Semantic Scholar write them, or read them with the reader rows",
        )
    parts = [_paragraphs(str(row.get("abstract") or "")), _body(row)]
    text = "\n\n".join(part for part in parts if part)
    if not text:
        return None
    title = " ".join(row["title"].split())
    said = {"title": title, "language": _language(row), "licence": _licence(row)}
    return document(origin, f"{place}#{key}", text, **said)


def _body(row: Row) -> str:
    """The text of the whole article, where the row has it: `text`, or `content.text` as in S2ORC."""
    content = row.get("content")
    text = row.get("text") or (content.get("text") if isinstance(content, dict) else None)
    return text.strip() if isinstance(text, str) else ""


def _language(row: Row) -> str | None:
    said = row.get("language") or row.get("lang")
    return said if isinstance(said, str) else None


def _licence(row: Row) -> str | None:
    """What a row states, or says of its open copy; Creative Commons' addresses by their short name."""
    places = [row, *(row[name] for name in ("openAccessPdf", "openaccessinfo", "content") if name in row)]
    for place in places:
        said = (place.get("license") or place.get("licence")) if isinstance(place, dict) else None
        if isinstance(said, str) and said.strip():
            return _named(said.strip())
    return None


def _named(licence: str) -> str:
    if found := _CREATIVE.search(licence):
        return f"CC-{found[1].upper()}-{found[2]}"
    if found := _PUBLIC.search(licence):
        return "CC0-1.0" if found[1] == "zero" else "public domain"
    return licence


def _paragraphs(text: str) -> str:
    joined = (" ".join(part.split()) for part in _PARAGRAPH.split(text.strip()))
    return "\n\n".join(part for part in joined if part)
