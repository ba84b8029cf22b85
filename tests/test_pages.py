"""Pages: every kind of file in small real form becomes Markdown with title and language."""

import gzip
import io
import re
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingxi.collect import CollectSettings, archives, collect_pairs
from lingxi.collect.origin import Origin
from lingxi.collect.pages import read_pages
from lingxi.collect.spoken import language_of_place
from lingxi.errors import InputError
from lingxi.parse.roff import plain, read_roff
from lingxi.parse.rst import rst_as_markdown
from lingxi.records import Document, read_documents

HTML = """<!DOCTYPE html><html lang="sw-KE"><head><title>Chai &amp; kahawa</title></head><body>
<nav>a b c</nav><h1>Chai</h1><p>Chai ni kinywaji cha majani ya mmea unaoitwa Camellia.</p>
<h2>Historia</h2><p>Ilianza Uchina miaka elfu nyingi iliyopita, ikaenea kwa biashara.</p></body></html>"""
MANUAL = r"""'\" t
.\" made by hand
.TH CUT 1 "June 2020" "x"
.ie \n(.g .ds Aq \(aq
.de URL
\fI\\$2\fP
..
.SH BEZEICHNUNG
cut \- l\(:oscht Teile \*(Aqjeder\*(Aq Zeile
.SH \(:UBERSICHT
.B cut
\fI\,OPTION\/\fR... [\fI\,DATEI\/\fR]...
.PP
Gibt Teile aus.
.TP
\fB\-b\fR, \fB\-\-bytes\fR=\fI\,LISTE\/\fR
nur diese Bytes
.IP \(bu 2
ein Punkt
.SS Beispiel
.nf
  cut \-b 1 a\eb
.fi
"""
MDOC = """.Dd June 1, 2020
.Dt TEA 1
.Os
.Sh NAME
.Nm tea
.Nd make tea
.Sh SYNOPSIS
.Nm
.Op Fl c Ar cups
.Sh DESCRIPTION
.Nm
makes tea, see
.Xr coffee 1 .
.Bl -tag
.It Fl c Ar cups
How many.
.El
"""
RST = """=====
 Tea
=====

.. _label:

.. code-block:: python
   :linenos:

   brew("x")  # :not:`a role`

See :doc:`the pot <pot>`, `here <http://x.org>`_ and ``a`` `b`_.

History
-------

.. note:: old
   :class: x

It began::

   long ago
"""


def read(path: Path, language: str | None = None) -> list[Document]:
    return list(read_pages(path, Origin("source", "MIT", language)))


def book(path: Path, *, chapter: str = HTML, opf: str = "", href: str = "one.xhtml", more: str = "") -> Path:
    package = f"""<?xml version="1.0"?>{opf}<package xmlns="http://www.idpf.org/2007/opf">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Kitabu</dc:title>
<dc:language>sw</dc:language></metadata><manifest>
<item id="b" href="two.xhtml" media-type="application/xhtml+xml"/>
<item id="a" href="{href}" media-type="application/xhtml+xml"/></manifest>
<spine><itemref idref="a"/><itemref idref="b"/></spine></package>"""
    container = """<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""
    two = "<html><body><p>Sura ya pili ni fupi sana, lakini ina maneno ya kutosha.</p></body></html>"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("OEBPS/book.opf", package)
        archive.writestr("OEBPS/one.xhtml", chapter)
        archive.writestr("OEBPS/two.xhtml", two)
        if more:
            archive.writestr(more, "x")
    return path


def pdf(path: Path) -> Path:
    """The smallest PDF with a title and a line of text."""
    stream = b"BT /F1 12 Tf 72 720 Td (Tea is a drink made of leaves.) Tj ET"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</Title(On tea)>>",
    ]
    out, places = io.BytesIO(b""), []
    out.write(b"%PDF-1.4\n")
    for number, content in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj%sendobj\n" % (number, content))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(
        b"trailer<</Size %d/Root 1 0 R/Info 6 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)
    )
    path.write_bytes(out.getvalue())
    return path


# --- every kind ----------------------------------------------------------------------------------


def test_a_tree_of_pages(tmp_path: Path) -> None:
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "tea.html").write_text(HTML)
    (tmp_path / "docs" / "fr").mkdir(parents=True)
    (tmp_path / "docs" / "fr" / "thé.md").write_text("# Thé\n\nUne boisson.\n")
    (tmp_path / "docs" / "front.md").write_text("---\ntitle: 'Tea'\nlang: en-GB\n---\nA drink.\n")
    (tmp_path / "letter.txt.gz").write_bytes(gzip.compress(b"To the reader\n\nTea is a drink.\n"))
    (tmp_path / "a.rst").write_text(RST)
    (tmp_path / "code.py").write_text("print()")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.md").write_text("hidden")
    pdf(tmp_path / "tea.pdf")
    found = {page.uri: page for page in read(tmp_path, "xx")}
    assert {place: (page.title, page.language) for place, page in found.items()} == {
        "html/tea.html": ("Chai", "sw"),
        "docs/fr/thé.md": ("Thé", "xx"),
        "docs/front.md": ("Tea", "en"),
        "letter.txt.gz": ("To the reader", "xx"),
        "a.rst": ("Tea", "xx"),
        "tea.pdf": ("On tea", "xx"),
    }
    assert (
        "\n\n## Historia\n\nIlianza" in found["html/tea.html"].text
        and "a b c" not in found["html/tea.html"].text
    )
    assert found["docs/front.md"].text == "A drink."
    assert found["tea.pdf"].text == "Tea is a drink made of leaves."
    assert len({page.id for page in found.values()}) == 6


def test_restructured_text_is_markdown() -> None:
    assert rst_as_markdown(RST) == (
        '# Tea\n\n```python\nbrew("x")  # :not:`a role`\n```\n\n'
        "See the pot, [here](http://x.org) and `a` b.\n\n## History\n\nIt began:\n\n   long ago"
    )


def test_manual_pages(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/man/de/man1"
    folder.mkdir(parents=True)
    (folder / "cut.1.gz").write_bytes(gzip.compress(MANUAL.encode()))
    (folder / "alias.1.gz").write_bytes(gzip.compress(b".so man1/cut.1\n"))
    (tmp_path / "tea.1").write_text(MDOC)
    (tmp_path / "libtea.so.1").write_bytes(b"\x7fELF\0")
    assert [page.language for page in read(tmp_path / "usr/share/man/de")] == ["de"]
    tea, cut = read(tmp_path)
    assert (cut.title, cut.language) == ("cut - löscht Teile 'jeder' Zeile", "de")
    assert cut.text == (
        "## ÜBERSICHT\n\ncut OPTION... [DATEI]...\n\nGibt Teile aus.\n\n"
        "-b, --bytes=LISTE: nur diese Bytes\n\n- ein Punkt\n\n### Beispiel\n\n```\n  cut -b 1 a\\b\n```"
    )
    assert tea.title == "tea - make tea" and tea.language is None
    assert tea.text == (
        "## SYNOPSIS\n\ntea [-c cups]\n\n## DESCRIPTION\n\n"
        "tea makes tea, see coffee(1).\n\n- -c cups How many."
    )


@pytest.mark.parametrize(
    ("escaped", "said"),
    [(r"a\-b", "a-b"), (r"\fBx\fP\f[I]y\fR", "xy"), (r"C\(co 1", "C© 1"), (r"caf\['e]", "café"),
     (r"\\n", r"\n"), (r"\[u2014]x", "—x"), (r"\s-1A\s0", "A"), (r"a\&.b\ c", "a.b c"),
     (r"\[uFFFFFF]", ""), ("\\", "\\")],
)  # fmt: skip
def test_escapes_of_manual_pages(escaped: str, said: str) -> None:
    assert plain(escaped) == said


def test_a_manual_page_that_does_not_end_is_read_to_its_end() -> None:
    assert read_roff(".TH x 1\n.SH NAME\nx \\- y\n.SH A\nb\n.de Z\nc\n")[1] == "## A\n\nb"
    assert read_roff(".nf\nx\n") == (None, "```\nx\n```")


def test_books_are_read_by_chapter(tmp_path: Path) -> None:
    book(tmp_path / "b.epub", chapter=HTML.replace(' lang="sw-KE"', ""))
    one, two = read(tmp_path / "b.epub", "en")
    assert (one.uri, one.title, one.language) == ("b.epub#OEBPS/one.xhtml", "Chai", "sw")
    assert (two.title, two.language) == ("Kitabu", "sw") and two.text.startswith("Sura ya pili")


@pytest.mark.parametrize(
    ("place", "language"),
    [("usr/share/man/pt_BR/man1/x.1", "pt"), ("man/ast/man5/x.5", "ast"), ("docs/zh_TW/a.md", "zh-hant"),
     ("usr/share/doc/HTML/de/k/index.html", "de"), ("a/index.fr.html", "fr"), ("a/index.zh-cn.html", "zh"),
     ("man/sr@latin/man1/x.1.gz", "sr-latn"), ("locale/ast/a.md", "ast"),
     ("usr/share/man/man1/x.1", None), ("usr/lib/js/war/bin/a.md", None), ("src/io/a.md", None),
     ("docs/os/a.md", None), ("docs/ml/a.md", None), ("api/ts/a.md", None), ("a.in.html", None),
     ("languages/ml/a.md", None), ("docs/fr/a.md", None)],
)  # fmt: skip
def test_languages_of_places(place: str, language: str | None) -> None:
    assert language_of_place(place, lambda _: ()) == language


@pytest.mark.parametrize(
    ("names", "language"),
    [(("en", "ml", "img"), "ml"), (("de", "fr", "ja", "ml"), "ml"), (("os", "ml", "ts", "api"), None),
     (("de", "fr", "ml"), None), (("ml",), None), (("bin", "ml", "war"), None)],
)  # fmt: skip
def test_versions_beside_each_other_are_languages(names: tuple[str, ...], language: str | None) -> None:
    beside = {".": ("docs",), "docs": names, "docs/a": tuple(f"guide.{name}.html" for name in names)}
    assert language_of_place("docs/ml/a.md", beside.__getitem__) == language
    assert language_of_place("docs/a/guide.ml.html", beside.__getitem__) == language


def test_a_path_gives_way_to_the_language_of_the_source(tmp_path: Path) -> None:
    for name in ("docs/en/a.md", "docs/fr/a.md", "man/de/man1/x.1"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(
            ".TH x 1\n.SH NAME\nx\n.SH A\nb\n" if name.endswith("1") else "# A\n\nb\n"
        )
    assert [page.language for page in read(tmp_path)] == ["en", "fr", "de"]
    assert [page.language for page in read(tmp_path, "sw")] == ["sw", "sw", "de"]
    assert [page.language for page in read(tmp_path / "docs" / "fr")] == ["fr"]
    assert [page.language for page in read(tmp_path / "docs" / "fr", "sw")] == ["sw"]


# --- what means harm -----------------------------------------------------------------------------

ENTITIES = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"opf": ENTITIES}, "declares XML entities"),
        ({"href": "../../../etc/passwd"}, "lies outside of it"),
        ({"href": "/etc/passwd"}, "lies outside of it"),
        ({"more": "../../evil"}, "lies outside of it"),
        ({"href": "missing.xhtml"}, "is no readable EPUB"),
    ],
)
def test_books_that_mean_harm_are_refused(more: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        read(book(tmp_path / "b.epub", **more))  # type: ignore[arg-type]


def test_a_chapter_that_is_a_bomb(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one\.xhtml unpacks to 64 MB"):
        read(book(tmp_path / "b.epub", chapter="<p>" + "0" * 64_000_000))


def test_a_book_that_is_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lingxi.collect.epub.MOST_BOOK", 500)
    with pytest.raises(InputError, match="unpacks to more than"):
        read(book(tmp_path / "b.epub"))


def test_a_chapter_with_entities_is_left_out_and_the_rest_read(tmp_path: Path) -> None:
    origin = Origin("source", "MIT")
    (found,) = read_pages(book(tmp_path / "b.epub", chapter=ENTITIES + HTML), origin)
    assert found.uri == "b.epub#OEBPS/two.xhtml"
    assert ["one.xhtml declares XML entities" in said for said in origin.left_out] == [True]


def test_what_is_wrong_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "good.md").write_text("# Tea\n\nA drink.\n")
    (folder / "latin.txt").write_bytes("thé au lait".encode("latin-1"))
    (folder / "torn.epub").write_bytes(b"PK\x03\x04torn")
    (folder / "torn.pdf").write_bytes(b"%PDF-1.4 torn")
    (folder / "torn.txt.gz").write_bytes(gzip.compress(b"x" * 9999)[:20])
    (folder / "bomb.txt.gz").write_bytes(gzip.compress(b"0" * 20_000_000))
    (folder / "entities.html").write_text(ENTITIES + HTML)
    (folder / "empty.md").write_text("")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "link.md").symlink_to("/etc/hostname")
    with (folder / "long.md").open("wb") as file:
        file.seek(2 * 2**30)
        file.write(b"x")
    source = {"reader": "pages", "paths": [folder, tmp_path / "nowhere"], "licence": "MIT"}
    settings = CollectSettings(mediawiki="none", cache=tmp_path / "cache", sources=[source])
    start = time.monotonic()
    report = collect_pairs(settings, tmp_path / "out")
    assert time.monotonic() - start < 10
    assert [page.uri for page in read_documents(tmp_path / "out" / "documents.parquet")] == ["good.md"]
    named = ("bomb.txt.gz holds", "entities.html declares", "latin.txt: not UTF-8", "long.md holds",
             "torn.epub is", "torn.pdf: damaged", "torn.txt.gz cannot", "nowhere: no file")  # fmt: skip
    assert len(report.skipped) == len(named)
    assert all(any(name in said for said in report.skipped) for name in named), report.skipped


def test_a_single_page_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"\0")
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\xfa")
    for name, words in (("x.bin", "is no page"), ("x.txt", "not UTF-8")):
        with pytest.raises(InputError, match=words):
            read(tmp_path / name)


def test_an_archive_of_pages_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "site.zip", "w") as archive:
        archive.writestr("site/en/tea.html", HTML.replace(' lang="sw-KE"', ""))
        archive.writestr("site/fr/code.py", "")
        archive.write(book(tmp_path / "b.epub"), "site/b.epub")
    with archives.unpacked(tmp_path / "site.zip", tmp_path / "cache") as folder:
        found = read(folder)
    assert [page.uri for page in found] == [
        "site/b.epub#OEBPS/one.xhtml",
        "site/b.epub#OEBPS/two.xhtml",
        "site/en/tea.html",
    ]
    assert found[2].language == "en"


# --- whatever is written -------------------------------------------------------------------------

_MACROS = [".SH", ".TP", ".IP x", ".nf", ".fi", ".Op Fl", ".Xr", ".de", "..", ".if \\{", ".Nm"]
_ROFF = st.lists(
    st.sampled_from(_MACROS) | st.text(alphabet="\\.'\"[]()*fBI0u-aé \t", max_size=12), max_size=12
).map("\n".join)


@given(_ROFF)
def test_any_manual_page_is_read(text: str) -> None:
    title, said = read_roff(text)
    assert not re.search(r"^\.(SH|TP|IP|nf|Op|de|Nm)\b", said, re.M)
    assert title is None or title.strip()


@given(st.text(alphabet="=-~\n `_ab*", max_size=80))
def test_no_word_of_restructured_text_is_lost(text: str) -> None:
    letters = [letter for letter in text if letter in "ab"]
    assert [letter for letter in rst_as_markdown(text) if letter in "ab"] == letters
