"""Training data of one's own or of the Hub, in the shapes that trainers know (`shapes`), and in BEIR's.

A file of JSON Lines, JSON, Parquet or CSV, or a folder: its `train` files, a `corpus` that their ids name, or
corpus, queries and judgements. Judgements and files of other splits are for measuring, and are not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from lingxi import languages
from lingxi.collect.bounded import files_below, read_whole
from lingxi.collect.examples import Example, Where
from lingxi.collect.instructions import SEARCH
from lingxi.collect.origin import Origin, unless_refused
from lingxi.collect.shapes import read_row, similarity_of, squad
from lingxi.errors import InputError
from lingxi.parse.code import LANGUAGES
from lingxi.records import Pair, Passage, digest
from lingxi.tables import Judged, Row, is_table, keyed_texts, number_of, numbered, read_judgements, table

_MOST_JSON = 512 * 2**20
_SPLIT = re.compile(r"(train|dev|development|valid|validation|val|test|eval)(?![a-z])", re.I)
_BESIDE = re.compile(r"(corpus|queries|qrels|answers)\b|dataset_(infos?|dict)\.json$|state\.json$")


def read_dataset(path: Path, origin: Origin) -> Iterator[Pair]:
    """Stream the pairs of a dataset, its passages with the ids and scores it gives them.

    Raises InputError for rows of no known shape, ids that the corpus lacks, and rows that do not say their
    language where the source does not either.
    """
    if not path.is_dir():
        yield from _file(path, None, origin)
        return
    if table(path, "queries").is_file() and table(path, "corpus").is_file():
        yield from _beir(path, origin)
    corpus = keyed_texts(table(path, "corpus")) if table(path, "corpus").is_file() else None
    for place, inner in files_below(path):
        if (is_table(inner) or inner.suffix == ".json") and not _BESIDE.match(inner.name):
            if (split := _split_of(place)) not in (None, "train"):
                origin.left_out.append(f"{place}: of the split {split}, which is for measuring")
            else:
                yield from unless_refused(_file(inner, corpus, origin), origin)


def _split_of(place: str) -> str | None:
    """The split that a file, or the folder above it, names."""
    for part in reversed(place.split("/")[-2:]):
        if found := _SPLIT.match(part):
            return found[1].lower()
    return None


def _file(path: Path, corpus: Mapping[str, str] | None, origin: Origin) -> Iterator[Pair]:
    document = _json(path) if path.suffix == ".json" else None
    if isinstance(document, dict) and isinstance(document.get("data"), list):
        for example in squad(document, Where(path, 1)):
            yield _pair(example, document, Where(path, 1), origin)
        return
    top = max((_similarity(row, path, n) for n, row in _rows(path, document)), default=0.0)
    for number, row in _rows(path, document):
        where = Where(path, number, corpus, top)
        for example in read_row(row, where):
            yield _pair(example, row, where, origin)


def _similarity(row: Row, path: Path, number: int) -> float:
    """What a row adds to the scale of its file: similarities are of 0 to 1, or of 0 to 5."""
    value = similarity_of(row)
    return 0.0 if value is None else number_of(value, "the score", path, number)


def _rows(path: Path, document: Any) -> Iterator[tuple[int, Row]]:
    if document is None:
        return numbered(path)
    listed = document if isinstance(document, list) else [document]
    if not all(isinstance(row, dict) for row in listed):
        raise InputError(f"{path} is no list of objects", "write one object a row, as JSON Lines")
    return enumerate(listed, 1)


def _json(path: Path) -> Any:
    """The JSON of a file; None where it holds one object a line."""
    try:
        text = read_whole(path, _MOST_JSON).decode("utf-8-sig")
        return json.loads(text)
    except UnicodeDecodeError as problem:
        reason = f"{path} is not UTF-8 ({problem.reason})"
        raise InputError(reason, "convert the file, for example with iconv") from problem
    except (ValueError, RecursionError) as problem:
        if str(problem).startswith("Extra data"):
            return None
        raise InputError(f"{path} is no JSON ({problem})", "write it again") from problem


def _beir(folder: Path, origin: Origin) -> Iterator[Pair]:
    """Every judged query with its documents: a grade of 0 is a negative, one above is a positive's score."""
    where = Where(folder, 1)
    judged = _judgements(folder)
    if judged is None:
        return
    queries, corpus = keyed_texts(table(folder, "queries")), keyed_texts(table(folder, "corpus"))
    for query, grades in judged.items():
        for key in chain([query] if query not in queries else [], (k for k in grades if k not in corpus)):
            raise InputError(f"{folder}: the judgements name {key!r}, which is not there", "take one set")
        found = [(grade, Passage(key, corpus[key], None, grade)) for key, grade in grades.items()]
        right = tuple(item for grade, item in found if grade > 0)
        wrong = tuple(item for grade, item in found if grade <= 0)
        example = Example(queries[query], right, wrong, "retrieval", SEARCH, query)
        yield _pair(example, {}, where, origin)


def _judgements(folder: Path) -> Judged | None:
    """Those for training; None where rows say what is right. Raises InputError for test ones alone."""
    for path in (folder / "qrels" / "train.tsv", folder / "qrels.tsv"):
        if path.is_file():
            return read_judgements(path)
    if (folder / "qrels").is_dir():
        raise InputError(f"{folder}/qrels has no train.tsv: its judgements are for measuring", "leave it out")
    return None


def _pair(example: Example, row: Mapping[str, Any], where: Where, origin: Origin) -> Pair:
    sides = [_language(row, name, where, origin) for name in ("query_language", "document_language")]
    licence = row.get("licence") or row.get("license")
    ids = (item.id for item in (*example.positives, *example.negatives))
    return Pair(
        id=digest(origin.source, example.task, example.query, *ids),
        group=f"{origin.source}:{example.group or digest(example.query)}",
        query=example.query,
        positives=example.positives,
        negatives=example.negatives,
        instruction=example.instruction,
        task=example.task,
        query_language=sides[0],
        document_language=sides[1],
        source=origin.source,
        licence=licence if isinstance(licence, str) else origin.licence,
        scores=example.scores,
    )


def _language(row: Mapping[str, Any], name: str, where: Where, origin: Origin) -> str:
    said = row.get(name) or row.get("language") or row.get("lang") or origin.language
    if not isinstance(said, str):
        raise InputError(
            f"{where.path}:{where.number}: the row does not say its language",
            'set it for the source, for example language = "en", or add a column `language`',
        )
    return said if said in LANGUAGES else languages.of_locale(said)
