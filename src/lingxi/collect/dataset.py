"""Training data of one's own or of the Hub, in the shapes that trainers know (`shapes`), and in BEIR's.

A file of JSON Lines, JSON, Parquet or CSV, or a folder: its `train` files, a `corpus` that their ids name, or
corpus, queries and judgements. Judgements and files of other splits are for measuring, and are not read; nor
is a bare `qrels.tsv`, which does not say its split, unless it is named itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from lingxi.collect.bounded import files_below, read_whole
from lingxi.collect.examples import Example, Where
from lingxi.collect.instructions import SEARCH
from lingxi.collect.origin import Origin, code_of, unless_refused
from lingxi.collect.shapes import read_row, similarity_of, squad
from lingxi.errors import InputError
from lingxi.records import Pair, Passage, digest
from lingxi.tables import Row, is_table, keyed_texts, number_of, numbered, read_judgements, table

_MOST_JSON = 512 * 2**20
JUDGEMENTS = "qrels.tsv"
_SPLIT = re.compile(
    r"(?:^|[^a-z])(train(?:ing)?|dev(?:el|elopment)?|val(?:id|idation)?|tests?|testing|eval(?:uation)?)(?:set)?"
    r"(?![a-z])",
    re.I,
)
_TRAIN = ("train", "training")
_BESIDE = re.compile(r"(corpus|queries|qrels|answers)\b")
_ABOUT = re.compile(r"(dataset_(infos?|dict)|state)\.json")


def read_dataset(path: Path, origin: Origin) -> Iterator[Pair]:
    """Stream the pairs of a dataset, its passages with the ids and scores it gives them.

    Raises InputError for rows of no known shape, ids that the corpus lacks, rows that do not say their
    language where the source does not either, and where nothing is for training.
    """
    if path.name == JUDGEMENTS and path.is_file():
        yield from _beir(path.parent, path, origin)
        return
    if not path.is_dir():
        yield from _file(path, None, origin)
        return
    came = False
    for row in chain(_judged(path, origin), _tables(path, origin)):
        came = True
        yield row
    if not came and not origin.left_out:
        raise InputError(f"{path} holds no rows for training", "give a file, or a folder of train files")


def set_of(path: Path) -> Path:
    """The folder whose files a path is read with: that of judgements named themselves, else the path."""
    return path.parent if path.name == JUDGEMENTS else path


def _tables(folder: Path, origin: Origin) -> Iterator[Pair]:
    """The rows of every file for training; what is left out is named."""
    corpus = keyed_texts(table(folder, "corpus")) if table(folder, "corpus").is_file() else None
    for place, inner in files_below(folder):
        if not (is_table(inner) or inner.suffix == ".json") or _ABOUT.fullmatch(inner.name):
            continue
        if place.startswith("qrels/") or ("/" not in place and _BESIDE.match(place)):
            continue
        if (split := _split_of(place)) not in (None, *_TRAIN):
            origin.left_out.append(f"{place}: of the split {split}, which is for measuring")
        elif _BESIDE.match(inner.name):
            origin.left_out.append(f"{place}: part of another set; give its folder as a path of its own")
        else:
            yield from unless_refused(_file(inner, corpus, origin), origin, inner)


def _split_of(place: str) -> str | None:
    """The split that a file, or a folder above it, names, innermost first; one for measuring before train."""
    for part in reversed(place.split("/")):
        named = [str(found).lower() for found in _SPLIT.findall(part)]
        if named:
            return next((split for split in named if split not in _TRAIN), named[0])
    return None


def _file(path: Path, corpus: Mapping[str, str] | None, origin: Origin) -> Iterator[Pair]:
    """The pairs of a file; raises InputError where it has none."""
    came = False
    for row in _pairs(path, corpus, origin):
        came = True
        yield row
    if not came:
        raise InputError(f"{path} gives no row", "check that it is whole, or leave it out")


def _pairs(path: Path, corpus: Mapping[str, str] | None, origin: Origin) -> Iterator[Pair]:
    document: Any = _json(path) if path.suffix == ".json" else None
    listed = document.get("data") if isinstance(document, dict) else None
    if isinstance(listed, list):
        if any(isinstance(article, dict) and "paragraphs" in article for article in listed):
            for example in squad(document, Where(path, 1)):
                yield _pair(example, document, Where(path, 1), origin)
            return
        document = listed
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


def _judged(folder: Path, origin: Origin) -> Iterator[Pair]:
    """The pairs of a folder with queries, corpus and judgements for training; none without judgements.

    Raises InputError where judgements are for measuring, or do not say what for.
    """
    if not (table(folder, "queries").is_file() and table(folder, "corpus").is_file()):
        return
    if (folder / "qrels" / "train.tsv").is_file():
        yield from _beir(folder, folder / "qrels" / "train.tsv", origin)
    elif (folder / "qrels").is_dir():
        raise InputError(f"{folder}/qrels has no train.tsv: its judgements are for measuring", "leave it out")
    elif (folder / JUDGEMENTS).is_file():
        raise InputError(
            f"{folder / JUDGEMENTS} does not say whether it is for training or for measuring",
            "if it is for training, name it in paths, or move it to qrels/train.tsv",
        )


def _beir(folder: Path, judgements: Path, origin: Origin) -> Iterator[Pair]:
    """Every judged query with its documents: a grade of 0 is a negative, one above is a positive's score."""
    where = Where(folder, 1)
    judged = read_judgements(judgements)
    queries, corpus = keyed_texts(table(folder, "queries")), keyed_texts(table(folder, "corpus"))
    for query, grades in judged.items():
        for key in chain([query] if query not in queries else [], (k for k in grades if k not in corpus)):
            raise InputError(f"{folder}: the judgements name {key!r}, which is not there", "take one set")
        found = [(grade, Passage(key, corpus[key], None, grade)) for key, grade in grades.items()]
        right = tuple(item for grade, item in found if grade > 0)
        wrong = tuple(item for grade, item in found if grade <= 0)
        example = Example(queries[query], right, wrong, "retrieval", SEARCH, query)
        yield _pair(example, {}, where, origin)


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
    return code_of(said)
