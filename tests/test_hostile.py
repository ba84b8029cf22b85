"""What means harm, or is misread in silence: bombs, licences of others, full disks, files of one name."""

import errno
import json
import os
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polib
import pytest

from lingxi.collect import CollectReport, CollectSettings, archives, bounded, collect_pairs, sources
from lingxi.collect.epub import chapters
from lingxi.collect.gettext import read_catalogs
from lingxi.collect.origin import Origin, code_of, document, licence_of, unless_refused
from lingxi.collect.own import read_rows
from lingxi.collect.parallel import read_parallel
from lingxi.collect.registries import fetched_indices, fetched_source
from lingxi.collect.sources import Piece, SourceSettings, pieces, read_piece
from lingxi.collect.wiki import read_dump
from lingxi.errors import InputError
from lingxi.generate.passages import plain
from lingxi.parse.rst import rst_as_markdown
from lingxi.records import Document, read_documents, read_pairs
from lingxi.tables import numbered

ORIGIN = Origin("source", "MIT")


def collect(out: Path, *given: dict[str, Any], **more: Any) -> CollectReport:
    settings = CollectSettings(mediawiki="none", cache=out / "cache", sources=given, **more)
    return collect_pairs(settings, out / "out")


# --- bombs ---------------------------------------------------------------------------------------


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table(columns), path, compression="zstd", store_schema=False)
    return path


def repeated(text: str, times: int) -> Any:
    """A column that says one text again and again: once in the file."""
    pa = pytest.importorskip("pyarrow")
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([text]))


def in_one_row(values: Any, before: int = 0) -> Any:
    pa = pytest.importorskip("pyarrow")
    return pa.ListArray.from_arrays(pa.array([0] * (before + 1) + [len(values)], pa.int32()), values)


def test_tables_that_unpack_without_end_are_refused(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    zeros = pa.nulls(2**25, pa.int8()).fill_null(0)
    for name, column, words in (
        ("rows", repeated("0" * 300_000, 10_000), "unpacks to far more than its size"),
        ("list", in_one_row(repeated("0" * 300_000, 10_000), 1), "list.parquet:2 is a row of many megabytes"),
        ("row", in_one_row(repeated("0" * 300_000, 10_000)), "row.parquet:1 is a row of many megabytes"),
        ("cells", in_one_row(zeros), "unpacks to far more than its size"),
        ("wide", pa.array([b"0" * 300_000] * 300, pa.binary(300_000)), "unpacks to far more than its size"),
    ):
        path = parquet(tmp_path / f"{name}.parquet", {"text": column})
        assert path.stat().st_size < 2000
        before = pa.total_allocated_bytes()
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match=words):
                for _ in numbered(path):
                    assert pa.total_allocated_bytes() - before < 150 * 2**20
            assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
        finally:
            tracemalloc.stop()


def test_tables_of_every_type_are_read_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.Table.from_pylist(
        [
            {
                "s": "a",
                "b": b"x",
                "l": ["a", None, ""],
                "o": {"k": "v", "m": ["x"]},
                "i": 3,
                "d": [["a"], []],
            },
            {"s": None, "b": None, "l": None, "o": None, "i": None, "d": None},
        ]
    )
    maps = pa.array([[("k", "v")], None], pa.map_(pa.string(), pa.string()))
    large = pa.array(["x", "y"], pa.large_string())
    table = table.append_column("map", maps).append_column("large", large)
    table = table.append_column("category", large.dictionary_encode())
    table = table.append_column("pair", pa.array([["o", None], ["p", "q"]], pa.list_(pa.string(), 2)))
    table = table.append_column("json", pa.array(["{}", None], pa.json_()))
    for size in (1, 2):
        pq.write_table(table, tmp_path / "a.parquet", row_group_size=size)
        assert [row for _, row in numbered(tmp_path / "a.parquet")] == table.to_pylist()
        # As where a text is too long to be repeated: in parts of one row.
        monkeypatch.setattr("lingxi.tables._MOST_PART", 120)
    pq.write_table(table.slice(0, 0), tmp_path / "a.parquet")
    assert not list(numbered(tmp_path / "a.parquet"))


def test_large_rows_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    texts = pa.array([os.urandom(500_000).hex() for _ in range(80)])
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    tracemalloc.start()
    try:
        for number, row in numbered(tmp_path / "a.parquet"):
            assert row["text"] == texts[number - 1].as_py()
        assert tracemalloc.get_traced_memory()[1] < 60 * 2**20
    finally:
        tracemalloc.stop()


def test_a_spine_names_a_chapter_once(tmp_path: Path) -> None:
    items = "".join(f'<item id="{n}" href="./one.xhtml" media-type="text/html"/>' for n in range(3))
    spine = "".join(f'<itemref idref="{n % 3}"/>' for n in range(5000))
    package = f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}</manifest><spine>{spine}</spine></package>'
    named = 'xmlns="urn:oasis:names:tc:opendocument:xmlns:container"'
    container = f'<container {named}><rootfile full-path="b.opf"/></container>'
    with zipfile.ZipFile(tmp_path / "b.epub", "w") as book:
        book.writestr("META-INF/container.xml", container)
        book.writestr("b.opf", package)
        book.writestr("one.xhtml", "<html/>")
    assert [chapter.place for chapter in chapters(tmp_path / "b.epub", "b")] == ["b#one.xhtml"]


@pytest.mark.parametrize("size", ["-60", "-1", "+8", "1_0", "x"])
def test_a_member_of_no_size_ends_a_debian_package(size: str, tmp_path: Path) -> None:
    header = f"{'debian-binary':<16}{0:<12}{0:<6}{0:<6}{100644:<8}{size:<10}`\n"
    (tmp_path / "a.deb").write_bytes(b"!<arch>\n" + header.encode() + b"2.0\n")
    with (
        pytest.raises(InputError, match=r"holds no data\.tar"),
        archives.unpacked(tmp_path / "a.deb", tmp_path),
    ):
        pass


UNITS = [
    ":a",
    "`",
    " `",
    ":a:` ",
    "` ",
    "<",
    ":a:`<",
    "[",
    "[](",
    "![",
    "`a <",
    ".. _a:",
    "::  ",
    "``",
    "|",
    "=",
]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("read", [rst_as_markdown, plain])
def test_marks_without_an_end_cost_their_number(read: Any, unit: str) -> None:
    start = time.monotonic()
    read(unit * (100_000 // len(unit)))
    read(unit + " " * 100_000 + "x")
    assert time.monotonic() - start < 2


ENTITIES = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_found_behind_a_long_comment(encoding: str, tmp_path: Path) -> None:
    before = '<?xml version="1.0"?>' + f"<!-- {'x' * 70_000} -->" + ENTITIES
    (tmp_path / "a.tmx").write_text(before + "<tmx><body>&b;</body></tmx>", encoding)
    (tmp_path / "a.xml").write_text(before + "<mediawiki>&b;</mediawiki>", encoding)
    for read, name in ((read_parallel, "a.tmx"), (read_dump, "a.xml")):
        with pytest.raises(InputError, match=f"{name} declares XML entities"):
            list(read(tmp_path / name, ORIGIN))
    with pytest.raises(InputError, match="declares XML entities"):
        bounded.refuse_entities(before.encode(encoding), "x")


@pytest.mark.parametrize(
    "data",
    ['<!DOCTYPE tmx SYSTEM "tmx14.dtd"><tmx/>', "<!DOCTYPE html><html><p>x", "<p>&lt;!ENTITY a></p>", "", "x",
     '<?xml version="1.0" encoding="what"?><a/>', "<a>" + ENTITIES],
)  # fmt: skip
def test_what_declares_nothing_passes(data: str) -> None:
    bounded.refuse_entities(data.encode(), "x")


def test_a_comment_without_end_is_no_xml() -> None:
    with pytest.raises(InputError, match="x does not begin as XML"):
        bounded.refuse_entities(b"<!--" + b"x" * 2**21, "x")


# --- whose word counts ---------------------------------------------------------------------------


def test_packages_that_lie_deeper_speak_for_themselves(tmp_path: Path) -> None:
    for deep in ("docs/theme", "src/other-1.dist-info"):
        (tmp_path / deep).mkdir(parents=True)
        (tmp_path / deep / "package.json").write_text('{"license": "GPL-3.0"}')
        (tmp_path / deep / "METADATA").write_text("License: GPL-3.0\n")
    assert licence_of(tmp_path, "MIT") == "MIT"
    (tmp_path / "tea-1.dist-info").mkdir()
    (tmp_path / "tea-1.dist-info" / "METADATA").write_text("License: ISC\n")
    assert licence_of(tmp_path, "MIT") == "ISC"
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "package.json").write_text('{"license": {"type": "BSD-3-Clause"}}')
    assert licence_of(tmp_path, "MIT") == "BSD-3-Clause"


@pytest.mark.parametrize(("stated", "licence"), [("CC0-1.0", "CC0-1.0"), (None, "ISC")])
def test_one_s_own_files_have_the_licence_one_states(
    stated: str | None, licence: str, tmp_path: Path
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "package.json").write_text('{"license": "ISC"}')
    (folder / "t.tsv").write_text("sw\ten\nNdiyo\tYes\n")
    source = {"reader": "parallel", "paths": [folder], **({"licence": stated} if stated else {})}
    collect(tmp_path, source)
    assert [row.licence for row in read_pairs(tmp_path / "out" / "pairs.parquet")] == [licence]


# --- the machine ---------------------------------------------------------------------------------


def failing(problem: Exception, wrapped: bool) -> Any:
    def read(path: Path, origin: Origin) -> Iterator[Document]:
        yield document(origin, "x", "text")
        if not wrapped:
            raise problem
        try:
            raise problem
        except Exception as cause:
            raise InputError("it cannot be unpacked", "try again") from cause

    return read


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("problem", "wrapped", "raised"),
    [(FULL, False, OSError), (FULL, True, InputError), (MemoryError(), False, MemoryError),
     (MemoryError(), True, None), (OSError(errno.EIO, "torn"), False, None),
     (ValueError("odd"), False, None)],
)  # fmt: skip
def test_a_full_disk_is_no_fault_of_a_file(
    problem: Exception, wrapped: bool, raised: type[Exception] | None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    read = failing(problem, wrapped)
    monkeypatch.setattr(sources, "DOCUMENT_READERS", {"rows": read})
    (tmp_path / "a").mkdir()
    piece = Piece("rows", "a", "MIT", str(tmp_path / "a"), None, str(tmp_path / "a.parquet"), str(tmp_path))
    written = json.dumps({name: getattr(piece, name) for name in Piece.__dataclass_fields__})
    origin = Origin("a", "MIT")
    if raised is None:
        assert json.loads(read_piece(written))["refused"]
        assert len(list(unless_refused(read(tmp_path, origin), origin, "a.jsonl"))) == 1
        assert wrapped or origin.left_out == [f"a.jsonl: {problem!r}"]
        return
    with pytest.raises(raised):
        read_piece(written)
    with pytest.raises(raised):
        list(unless_refused(read(tmp_path, origin), origin, "a.jsonl"))


def test_pieces_have_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# A\n\nb\n")
    (tmp_path / "docs" / "b.md").symlink_to("a.md")
    monkeypatch.chdir(tmp_path / "docs")
    source = SourceSettings(reader="pages", paths=(Path(), Path("a.md"), Path("b.md"), Path("../docs")))
    found = [piece for piece in pieces([source], Path("out"), Path("cache")) if isinstance(piece, Piece)]
    assert [piece.source for piece in found] == ["docs", "a.md", "b.md", "docs"]
    assert all(Path(path).is_absolute() for piece in found for path in (piece.place, piece.out, piece.cache))
    assert found[0].place == str(tmp_path / "docs") and found[2].place == str(tmp_path / "docs" / "b.md")


def test_what_two_sources_name_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"query": "q", "positive": "a"}\n')
    source = {"reader": "dataset", "paths": [tmp_path / "a.jsonl"], "language": "en"}
    assert collect(tmp_path, source, source).rows == 1
    assert collect(tmp_path, source, source | {"licence": "MIT"}).rows == 2


APT = """#!/bin/sh
for word in "$@"; do
  case "$word" in
    Dir::State::lists=*) lists="${word#*=*=}" ; lists="${word#Dir::State::lists=}" ;;
    update)
      mkdir "$lists/busy" || exit 1
      sleep 0.3
      rmdir "$lists/busy"
      echo x > "$lists/deb_Sources"
      echo x > "$lists/deb_Translation-de" ;;
    source) : > tea_1.orig.tar.gz ;;
  esac
done
"""


@pytest.mark.parametrize("cache", ["cache", "{here}/cache"])
def test_apt_updates_one_folder_at_a_time(
    cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "apt-get").write_text(APT)
    (tmp_path / "bin" / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    where = Path(cache.format(here=tmp_path))
    with ThreadPoolExecutor(4) as pool:
        came = list(pool.map(lambda name: fetched_source(name, where), ["tea", "pot", "cup"]))
        lists = list(pool.map(lambda _: fetched_indices(["de"], where), range(3)))
    assert {path.name for path in came} == {"tea_1.orig.tar.gz"} and len({*lists}) == 1


# --- nothing is misread in silence ---------------------------------------------------------------


def test_two_tables_may_number_alike(tmp_path: Path) -> None:
    for name in ("a/rows.jsonl", "b/rows.jsonl"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f'{{"id": 1, "text": "{name}", "language": "ja-JP"}}\n')
    one, two = read_rows(tmp_path, ORIGIN)
    assert one.id != two.id and (one.uri, two.uri) == ("a/rows.jsonl#1", "b/rows.jsonl#1")
    assert one.language == "ja"


@pytest.mark.parametrize(
    ("stated", "code"),
    [("ja-JP", "ja"), ("zh_TW", "zh-hant"), ("zh-Hans-CN", "zh"), ("sr@latin", "sr-latn"),
     ("az-Latn-AZ", "az"),
     ("de_DE.UTF-8", "de"), ("eng_Latn", "en"), ("c_sharp", "c_sharp"), ("python", "python")],
)  # fmt: skip
def test_languages_are_stated_in_many_ways(stated: str, code: str) -> None:
    assert code_of(stated) == code == code_of(code)
    assert document(ORIGIN, "x", "text", language=stated).language == code


def test_parallel_files_of_one_name_are_no_group(tmp_path: Path) -> None:
    for name in ("a/t.tsv", "b/t.tsv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("\ufeffsw\ten\nNdiyo\tYes\n", "utf-8")
    assert [row.group for row in read_parallel(tmp_path, ORIGIN)] == ["source:a/t.tsv#0", "source:b/t.tsv#0"]


def po(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = polib.POFile()
    file.append(polib.POEntry(msgid="Yes", msgstr=text))
    file.save(str(path))
    return path


def test_catalogs_are_read_alone_too(tmp_path: Path) -> None:
    for name in ("one/sw.po", "one/de.po", "two/sw.po"):
        po(tmp_path / name, "Ndiyo")
    (row,) = read_parallel(tmp_path / "one" / "sw.po", ORIGIN)
    assert (row.query_language, row.query) == ("sw", "Ndiyo")
    german, swahili, other = read_catalogs(tmp_path, ORIGIN)
    assert german.group == swahili.group != other.group, "one message of one program is one group"
    with pytest.raises(InputError, match=r"messages\.po names no language"):
        list(read_parallel(po(tmp_path / "messages.po", "Ndiyo"), ORIGIN))


SUMS = '''def total(numbers):
    """Add all the numbers of a list and return the sum."""
    return sum(numbers)
'''


def test_a_single_file_of_code_is_read(tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text(SUMS)
    (tmp_path / "sums.txt").write_text(SUMS)
    source = {"reader": "code", "paths": [tmp_path / "sums.py", tmp_path / "sums.txt"], "licence": "MIT"}
    report = collect(tmp_path / "x", source)
    assert set(report.by_source) == {"sums.py"}
    (said,) = report.skipped
    assert said.startswith("sums.txt: ") and "sums.txt has nothing for the reader code" in said


def test_libraries_that_break_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "wiki").mkdir()
    (tmp_path / "wiki" / "a.xml").write_text("<other/>")
    report = collect(tmp_path, {"reader": "wiki", "paths": [tmp_path / "wiki"]})
    assert report.skipped[0].startswith(f"wiki: {tmp_path / 'wiki' / 'a.xml'}")


TEA = "Chai ni kinywaji cha majani ya mmea, na watu wengi duniani hunywa chai kila siku asubuhi na jioni."


@pytest.mark.parametrize(
    ("wiki", "stated", "code"),
    [("swwiki", None, "sw"), ("enwiktionary", None, "en"), ("simplewiki", None, "en"),
     ("alswiki", None, "gsw"),
     ("zh_min_nanwiki", None, "nan"), ("nds_nlwiki", None, "nds-nl"), ("dewikivoyage", None, "de"),
     ("simplewiki", "sw", "sw"), ("commonswiki", None, None), ("", None, None), ("", "sw", "sw")],
)  # fmt: skip
def test_languages_of_wikis(wiki: str, stated: str | None, code: str | None, tmp_path: Path) -> None:
    revision = f"<revision><id>1</id><text>{TEA}</text></revision>"
    page = f"<page><title>Chai</title><ns>0</ns><id>1</id>{revision}</page>"
    info = f"<siteinfo><dbname>{wiki}</dbname></siteinfo>" if wiki else "<siteinfo></siteinfo>"
    (tmp_path / "a.xml").write_text(f"<mediawiki>{info}{page}</mediawiki>")
    rows = read_dump(tmp_path / "a.xml", Origin("source", "MIT", stated))
    if code is None:
        with pytest.raises(InputError, match="says no language"):
            next(rows)
    else:
        assert [row.query_language for row in rows] == [code]


def test_a_source_s_language_is_normalised(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    collect(tmp_path, {"reader": "rows", "paths": [tmp_path / "a.jsonl"], "language": "pt-BR"})
    assert next(read_documents(tmp_path / "out" / "documents.parquet")).language == "pt"
