"""Articles and documents of one's own: rows become documents, what is wrong is named, memory is bounded."""

import gzip
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lingxi import tables
from lingxi.collect import CollectSettings, collect_pairs
from lingxi.collect.articles import read_articles
from lingxi.collect.dataset import read_dataset
from lingxi.collect.origin import Origin
from lingxi.collect.own import read_rows
from lingxi.errors import InputError
from lingxi.records import digest, read_documents

ARXIV = {
    "id": "0704.0001",
    "title": "Calculation of prompt diphoton\n  production",
    "abstract": "  A fully differential calculation\nis presented.\n  It agrees with data.\n",
    "categories": "hep-ph",
    "license": "http://creativecommons.org/licenses/by-sa/4.0/",
}
SCHOLAR = {
    "corpusid": 7,
    "title": "Tea",
    "abstract": None,
    "content": {"text": "Tea is a drink.\n\n# Methods\n\nWe drank it."},
    "openaccessinfo": {"license": "CCBY"},
}


def origin(**more: Any) -> Origin:
    return Origin("source", "not stated", **more)


def lines(path: Path, rows: list[Any]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_articles_of_both_shapes(tmp_path: Path) -> None:
    arxiv, scholar = read_articles(lines(tmp_path / "a.jsonl.gz", [ARXIV, SCHOLAR]), origin(language="en"))
    assert (arxiv.title, arxiv.licence) == ("Calculation of prompt diphoton production", "CC-BY-SA-4.0")
    assert arxiv.text == "A fully differential calculation is presented.\n\nIt agrees with data."
    assert (arxiv.uri, arxiv.language) == ("a.jsonl.gz#0704.0001", "en")
    assert arxiv.id == digest("source", str(arxiv.uri), arxiv.text)
    assert scholar.licence == "CCBY" and scholar.text.endswith("# Methods\n\nWe drank it.")


def test_articles_without_text_are_counted(tmp_path: Path) -> None:
    said = origin()
    rows = [{"paperId": "x", "title": "Withdrawn", "abstract": None}, ARXIV]
    assert len(list(read_articles(lines(tmp_path / "a.jsonl", rows), said))) == 1
    assert said.left_out == ["a.jsonl: 1 rows have neither abstract nor text"]


def test_one_s_own_documents(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"text": "Chai", "title": "T", "language": "sw", "licence": "MIT", "uri": "u", "id": 1}]
    lines(tmp_path / "a.jsonl", rows)
    pq.write_table(pa.table({"text": ["Kahawa"], "other": [3]}), tmp_path / "b.parquet")
    (tmp_path / "c.csv").write_text('text,title\n"Maji,\nbaridi",\n')
    (tmp_path / "d.tsv").write_text('title\ttext\nT\t"Maziwa\n')
    (tmp_path / "README.md").write_text("no table")
    one, two, three, four = read_rows(tmp_path, origin(language="en"))
    assert (one.title, one.language, one.licence, one.uri, one.id) == (
        "T",
        "sw",
        "MIT",
        "u",
        digest("source", "a.jsonl", "1"),
    )
    assert (two.text, two.language, two.licence, two.uri) == ("Kahawa", "en", "not stated", "b.parquet#1")
    assert (three.text, three.title, four.text) == ("Maji,\nbaridi", None, '"Maziwa')


Read = Callable[[Path, Origin], Iterator[Any]]


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.seek(2 * 2**30)
        file.write(b"\n")


GOOD = json.dumps({**ARXIV, "text": "a", "query": "q", "positive": "p"}).encode() + b"\n"


def _packed_bomb(path: Path) -> None:
    block = gzip.compress(GOOD * (2**20 // len(GOOD)) + b" " * 2**24 + b"\n")
    path.write_bytes(block * 5)


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "long.jsonl": (_sparse, r"long\.jsonl:1 is a line of many megabytes"),
    "bomb.jsonl.gz": (_packed_bomb, "is a line of many megabytes|unpacks to more than 200 times its size"),
    "torn.jsonl.gz": (
        lambda p: p.write_bytes(gzip.compress(GOOD * 99)[:-9]),
        "torn.*cannot be read",
    ),
    "latin.jsonl": (
        lambda p: p.write_bytes('{"text": "olé"}\n'.encode("latin-1")),
        "latin.jsonl:1 is not UTF-8",
    ),
    "deep.jsonl": (lambda p: p.write_text("[" * 100_000), r"deep\.jsonl:1 is no JSON"),
    "list.jsonl": (lambda p: p.write_text("[1]\n"), r"list\.jsonl:1 is no JSON object"),
}


@pytest.mark.parametrize("read", [read_articles, read_rows, read_dataset])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_little_memory(read: Read, name: str, tmp_path: Path) -> None:
    make, words = HOSTILE[name]
    make(tmp_path / name)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=words):
            for _ in read(tmp_path / name, origin(language="en")):
                pass
        assert tracemalloc.get_traced_memory()[1] < 120 * 2**20
    finally:
        tracemalloc.stop()


def test_a_bomb_of_many_lines_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress((json.dumps(ARXIV) + "\n").encode() * 300_000, 9))
    with pytest.raises(InputError, match="unpacks to more than 200 times its size"):
        for _ in tables.numbered(path):
            pass


@pytest.mark.parametrize(
    ("read", "row", "words"),
    [
        (read_articles, {"text": "no id"}, "a.jsonl:1 is no article"),
        (read_rows, {"title": "no text"}, "a.jsonl:1: the field 'text' is missing"),
        (read_rows, {"text": " "}, "a.jsonl:1: the text is empty"),
        (read_rows, {"text": 3}, "a.jsonl:1: the field 'text' is int"),
    ],
)
def test_rows_that_lack_something_are_named(read: Read, row: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        list(read(lines(tmp_path / "a.jsonl", [row]), origin()))


def test_tables_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,title\na,b,c\n")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "a.bin").write_bytes(b"\0")
    for name, words in (
        ("csv", "more cells than columns"),
        ("parquet", "no readable Parquet"),
        ("bin", "is no .jsonl"),
    ):
        with pytest.raises(InputError, match=words):
            list(read_rows(tmp_path / f"a.{name}", origin()))


def test_documents_are_collected_beside_pairs(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    lines(tmp_path / "good" / "a.jsonl", [{"text": "one"}, {"text": "two"}])
    lines(tmp_path / "good" / "bad.jsonl", [{"title": "no text"}])
    lines(tmp_path / "pairs.jsonl", [{"query": "q", "positive": "p"}])
    sources = [
        {"reader": "rows", "paths": [tmp_path / "good"], "licence": "MIT", "language": "sw"},
        {"reader": "dataset", "paths": [tmp_path / "pairs.jsonl"], "language": "en"},
    ]
    settings = CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=sources)
    report = collect_pairs(settings, tmp_path / "out")
    assert (report.rows, report.documents) == (1, 2)
    found = list(read_documents(tmp_path / "out" / "documents.parquet"))
    assert [(d.text, d.language, d.licence, d.source) for d in found] == [
        ("one", "sw", "MIT", "good"),
        ("two", "sw", "MIT", "good"),
    ]
    (said,) = report.skipped
    assert said.startswith("good: ") and "bad.jsonl:1: the field 'text' is missing" in said
    assert collect_pairs(settings, tmp_path / "out") == report, "what was read is not read again"
    fewer = settings.model_copy(update={"sources": settings.sources[1:]})
    assert collect_pairs(fewer, tmp_path / "out").documents == 0
    assert not (tmp_path / "out" / "documents.parquet").exists()
