"""Every part of a file is an exact span of its text, and no word of it is in none or in two."""

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingxi.index.words import name_parts, search_words
from lingxi.parse import Content, Skip, decode, definitions, sections, sentences
from lingxi.parse.code import LANGUAGES
from lingxi.parse.files import size_limit
from lingxi.parse.segments import CODE_BYTES, PROSE_BYTES, segments

KINDS = [("text", None), ("markdown", None), ("rst", None), *(("code", language) for language in LANGUAGES)]
PIECES = [
    *("# Title\n", "Title\n=====\n", "```\n", "- item\n", "\n\n", "\f", "\r\n", "  ", "{", "}", "// c\n"),
    *("def f(x):\n    return x\n", "class A:\n    def b(self): pass\n", "function f() { return 1 }\n"),
    *("这是一个句子。", "ภาษาไทย ", "A sentence. ", "Dr. Who? ", "é", "\u0301", "\u2028", "\x85", "😀"),
    *("word " * 300, "字" * 700, "x" * 3000),
]


def texts_of(text: str, spans: list) -> list[str]:
    return [text[s.start : s.end] for s in spans]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=20), max_size=30).map("".join), st.sampled_from(KINDS)
)
def test_segments_are_exact_spans_that_hold_every_word_once(text, kind):
    found = segments(Content(text, *kind))
    lines = text.split("\n")
    at = 0
    for segment in found:
        assert text[segment.start : segment.end] == segment.text
        assert segment.start >= at
        assert not text[at : segment.start].strip()
        assert len(segment.text.encode()) <= 2 * CODE_BYTES
        assert segment.text.strip().split("\n")[0].strip() in "\n".join(lines[segment.first_line - 1 :])
        assert 1 <= segment.first_line <= segment.last_line <= len(lines)
        at = segment.end
    assert not text[at:].strip()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=20), max_size=30).map("".join))
def test_sentences_hold_every_character_that_is_not_space(text):
    at = 0
    for span in sentences(text):
        assert not text[at : span.start].strip()
        assert text[span.start : span.end].strip() == text[span.start : span.end] != ""
        at = span.end
    assert not text[at:].strip()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Dr. Smith met J. Doe. They left!", ["Dr. Smith met J. Doe.", "They left!"]),
        ("It costs 3.5 euro, e.g. here. Yes.", ["It costs 3.5 euro, e.g. here.", "Yes."]),
        ("今天去图书馆。「好吗？」他说。", ["今天去图书馆。", "「好吗？」", "他说。"]),
        ("यह एक वाक्य है। यह दूसरा है।", ["यह एक वाक्य है।", "यह दूसरा है।"]),
        ("هل هذا صحيح؟ نعم.", ["هل هذا صحيح؟", "نعم."]),
        ("wrapped\nline. Next", ["wrapped\nline.", "Next"]),
        ("one\n\ntwo\n- three\n- four", ["one", "two", "- three", "- four"]),
        ("1. First thing. Then more.", ["1. First thing.", "Then more."]),
        ("page one\fpage two", ["page one", "page two"]),
    ],
)
def test_sentences_of_many_scripts(text, wanted):
    assert texts_of(text, sentences(text)) == wanted


def test_thai_is_cut_at_the_spaces_between_clauses():
    text = "ภาษาไทยเป็นภาษาที่ไม่มีการเว้นวรรคระหว่างคำ ห้องสมุดอยู่ใกล้บ้านของฉันมากจริงๆ"
    assert len(sentences(text)) == 2


def test_sections_know_their_path_and_leave_fenced_code_alone():
    text = "intro\n# A\ntext\n## B\n```\n# no heading\n```\nC\n-\n\nD\n---\n- item\n---\n"
    assert [(s.title, text[s.start : s.end].split("\n")[0]) for s in sections(text)] == [
        ("", "intro"),
        ("A", "# A"),
        ("A > B", "## B"),
        ("A > D", "D"),
    ]


def test_front_matter_is_no_heading():
    assert [s.title for s in sections("---\ntitle: x\n---\n# A\n")] == ["", "A"]


def test_sections_of_restructured_text_nest_by_the_order_of_their_marks():
    text = "Top\n***\n\nOne\n---\ntext\n\nTwo\n---\ntext\n"
    assert [s.title for s in sections(text, "rst")] == ["Top", "Top > One", "Top > Two"]


def test_a_bare_heading_goes_with_the_section_below():
    found = segments(Content("# A\n\n## B\n\ntext\n", "markdown"))
    assert [(s.title, s.text) for s in found] == [("A > B", "# A\n\n## B\n\ntext")]


SOURCES = {
    "python": "import os\n\n# about f\n@cached\ndef f(x):\n    return x\n\nclass A:\n    def m(self): pass\n",
    "java": "package a;\n/** about A */\npublic class A { void m() {} A() {} }\ninterface F {}\n",
    "javascript": "import x from 'x'\nexport function f() {}\nexport const A = class {}\nconst g = () => 1\n",
    "typescript": "interface F { x: number }\ntype A = string\nexport class B { m(): void {} }\n",
    "tsx": "export const F = () => <div/>\nfunction A() { return <p/> }\n",
    "go": "package a\n\n// about F\nfunc f() {}\n\ntype A struct { x int }\n\nfunc (a A) m() {}\n",
    "rust": "use a;\n#[test]\nfn f() {}\nstruct A { x: u8 }\nimpl A { fn m(&self) {} }\n",
    "c": "#include <a.h>\nint f(int x) { return x; }\nstruct A { int x; };\ntypedef struct { int y; } B;\n",
    "cpp": "namespace n {\ntemplate <class T> T f(T x) { return x; }\nclass A { void m() {} };\n}\n",
    "c_sharp": "using X;\nnamespace N { class A { void M() {} int P { get; set; } } enum f { a } }\n",
    "ruby": "require 'a'\nmodule A\n  def m; end\nend\ndef f; end\n",
    "php": "<?php\nfunction f() {}\nclass A { public function m() {} }\n",
    "bash": "set -e\nf() { echo; }\nfunction A { echo; }\n",
    "sql": "CREATE TABLE A (x int);\nSELECT 1;\nCREATE VIEW f AS SELECT 1;\n",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_definitions_of_every_language(language):
    found = definitions(SOURCES[language], language)
    names = {d.name.lower() for d in found}
    assert {"f", "a"} <= names, names
    for definition in found:
        assert all(definition.start <= m.start < m.end <= definition.end for m in definition.members)


def test_comments_and_decorators_belong_to_their_definition():
    first = definitions(SOURCES["python"], "python")[0]
    assert SOURCES["python"][first.start :].startswith("# about f\n@cached")


def test_offsets_are_characters_where_bytes_differ():
    text = "名 = '灵犀'\n\ndef 查找(x):\n    return '结果'\n"
    (found,) = definitions(text, "python")
    assert (text[found.start : found.end], found.name) == ("def 查找(x):\n    return '结果'", "查找")


def test_a_class_that_is_too_long_is_cut_by_its_methods_and_its_preamble_kept():
    methods = "".join(f"    def m{i}(self):\n        return '{'x' * 400}'\n\n" for i in range(6))
    text = f'"""What it is."""\nimport os\n\n\nclass Long:\n    """About it."""\n\n    size = 1\n\n{methods}'
    found = segments(Content(text, "code", "python"))
    assert [s.title for s in found] == ["", "Long", *(f"Long.m{i}" for i in range(6))]
    assert "import os" in found[0].text
    assert "size = 1" in found[1].text
    assert found[2].first_line == text[: text.index("def m0")].count("\n") + 1
    assert found[3].for_embedding().startswith("Long.m1\n")


def test_long_prose_is_cut_at_sentences():
    text = "This is one sentence about nothing. " * 100
    found = segments(Content(text, "text"))
    assert len(found) > 2
    assert all(s.text.endswith(".") and len(s.text) <= PROSE_BYTES for s in found)


def test_code_that_does_not_parse_is_still_cut():
    assert segments(Content("def (((:\n  ~~~ class\n", "code", "python"))


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.bin", b"\x7fELF\0\0\0", "binary"),
        ("a.txt", b"caf\xe9 latin-1", "UTF-8"),
        ("a.txt", b"  \n", "empty"),
        ("plot.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><path d="M 0 14.3"/></svg>', "drawing"),
        ("a.html", b"<html><body></body></html>", "HTML without text"),
        ("a.html", b"\x00\x01\x02", "binary"),
        ("a.pdf", b"%PDF-1.4 nonsense", "damaged PDF"),
    ],
)
def test_what_has_no_text_is_skipped_with_a_reason(name, data, reason):
    found = decode(Path(name), data)
    assert isinstance(found, Skip)
    assert reason in found.reason


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_with_a_byte_order_mark_is_read(encoding):
    found = decode(Path("a.txt"), "灵犀 text".encode(encoding))
    assert isinstance(found, Content)
    assert found.text == "灵犀 text"


def test_scripts_are_known_by_their_first_line():
    found = decode(Path("run"), b"#!/usr/bin/env python3\nprint(1)\n")
    assert isinstance(found, Content)
    assert (found.kind, found.language) == ("code", "python")


def test_html_lines_are_the_lines_of_the_file():
    body = "".join(
        f"<p>\nParagraph number {i} tells about the thing {i} at length.\n</p>\n" for i in range(9)
    )
    data = (
        f"<html><head><title>T</title></head>\n<body>\n<article><h1>Head</h1>\n{body}</article></body></html>"
    )
    found = decode(Path("a.html"), data.encode())
    assert isinstance(found, Content)
    lines = data.split("\n")
    for text, place in zip(found.text.split("\n"), found.places or (), strict=True):
        if "Paragraph" in text:
            assert text.strip() in lines[place - 1]


def make_pdf(pages: list[str], password: str = "") -> bytes:
    """A small PDF by hand: one line of Helvetica a page."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    font = b"<< /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    kids = []
    for text in pages:
        stream = f"BT /F 12 Tf 72 700 Td ({text}) Tj ET".encode()
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        contents = len(objects)
        page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Resources %s /Contents %d 0 R >>"
        objects.append(page % (font, contents))
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    out = io.BytesIO(b"")
    out.write(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % offset for offset in offsets)
    out.write(b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return out.getvalue()


def test_segments_of_a_pdf_know_their_page():
    found = decode(Path("a.pdf"), make_pdf(["Alpha is first.", "Beta is second."]))
    assert isinstance(found, Content)
    assert [(s.text, s.first_line) for s in segments(found)] == [
        ("Alpha is first.", 1),
        ("Beta is second.", 2),
    ]


def test_a_pdf_without_text_says_so():
    found = decode(Path("a.pdf"), make_pdf([""]))
    assert isinstance(found, Skip)
    assert "without text" in found.reason


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("parseHttpHeader", "parse Http Header"),
        ("parse_http_header", "parse http header"),
        ("XMLHttpRequest2", "XML Http Request 2"),
        ("lingxi.cli", "lingxi cli"),
        ("MAX_SIZE", "MAX SIZE"),
        ("Word", ""),
        ("word", ""),
    ],
)
def test_parts_of_names(name, parts):
    assert " ".join(name_parts(name)) == parts


def test_search_words_keep_the_text_and_add_what_is_hidden_in_it():
    assert search_words("plain words") == "plain words"
    assert search_words("南京市长").split("\n") == ["南京市长", "南京 京市 市长"]


def test_large_data_files_are_not_read_as_text():
    assert (
        size_limit(Path("vocabulary.json"))
        < 1_000_000
        < size_limit(Path("book.txt"))
        < size_limit(Path("a.pdf"))
    )
