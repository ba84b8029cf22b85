"""Code search: units of files, what a query is, updates of what changed, commits, filters, traces."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import MappingProxyType

import pytest

pytest.importorskip("lancedb")
pytest.importorskip("tree_sitter_python")

from hypothesis import given, settings
from hypothesis import strategies as st

from lingxi.apps.code import CodeIndex
from lingxi.apps.code.frames import file_of
from lingxi.apps.code.query import read_query
from lingxi.apps.code.rank import Weights, candidates, ranked, weights_for
from lingxi.apps.code.sources import blob_id
from lingxi.apps.code.units import split_title, units
from lingxi.apps.code.unwanted import by_name, by_text
from lingxi.cli import run
from lingxi.cli.faces import Faces
from lingxi.errors import InputError, StoreError
from stand_in import WordEmbedder

SRC = Path(__file__).parent.parent / "src"
SHAPES = '''"""Shapes on a plane."""

import math


class Circle:
    """A round thing."""

    def __init__(self, radius):
        self.radius = radius

    def area(self):
        """The surface it covers."""
        return math.pi * self.radius ** 2


def read_header(stream):
    # the first four bytes say how long it is
    size = int.from_bytes(stream.read(4), "big")
    if size > 1_000_000:
        raise ValueError("header is too large")
    return stream.read(size)
'''
GO = """package main

// Sum adds the numbers.
func Sum(numbers []int) int {
\ttotal := 0
\tfor _, n := range numbers {
\t\ttotal += n
\t}
\treturn total
}
"""


def git(folder: Path, *arguments: str) -> str:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True, env=plain
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "shapes.py").write_text(SHAPES)
    (folder / "tools").mkdir()
    (folder / "tools" / "sum.go").write_text(GO)
    (folder / "notes.txt").write_text("circle circle circle")
    (folder / ".gitignore").write_text("ignored/\n")
    (folder / "ignored").mkdir()
    (folder / "ignored" / "circle.py").write_text("def circle(): pass\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "Shapes and sums")
    return folder


@pytest.fixture
def index(repository: Path, tmp_path: Path) -> CodeIndex:
    opened = CodeIndex.open(repository, tmp_path / "index", WordEmbedder())
    opened.update()
    return opened


def names(index: CodeIndex, query: str, **options) -> list[str]:
    return [f"{hit.path} {hit.name}".strip() for hit in index.search(query, **options).hits]


# --- units -----------------------------------------------------------------------------------------


def test_units_are_functions_methods_and_what_is_between():
    found = units(SHAPES, "python", "src/shapes.py")
    titles = [split_title(unit.title) for unit in found]
    assert [name for _, name in titles] == ["", "Circle", "Circle.__init__", "Circle.area", "read_header"]
    assert {path for path, _ in titles} == {"src/shapes.py"}
    for unit in found:
        assert SHAPES[unit.start : unit.end] == unit.text
        assert SHAPES.count("\n", 0, unit.start) + 1 == unit.first_line
    assert found[3].for_embedding().startswith("src/shapes.py\tCircle.area\n    def area(self):")


def test_a_long_function_is_cut_and_every_part_has_its_name():
    body = "".join(f"    value_{i} = {i}\n" for i in range(300))
    found = units(f"def long():\n{body}", "python", "a.py")
    assert len(found) > 2
    assert {split_title(unit.title)[1] for unit in found} == {"long"}
    assert "\n".join(unit.text for unit in found) == f"def long():\n{body}".rstrip()


def test_a_function_keeps_what_is_nested_in_it():
    text = "def outer(f):\n    def inner(x):\n        return f(x)\n    return inner\n"
    assert [split_title(unit.title)[1] for unit in units(text, "python", "a.py")] == ["outer"]


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from(list("def class(:)\n\t {}é\u4e2d#\"';=x")), max_size=200))
def test_units_of_any_text_are_spans_in_order(text):
    for language in ("python", "javascript", "kotlin"):
        at = 0
        for unit in units(text, language, "x"):
            assert at <= unit.start < unit.end
            assert text[unit.start : unit.end] == unit.text
            at = unit.end


# --- queries ---------------------------------------------------------------------------------------

TRACE = """Traceback (most recent call last):
  File "/home/me/app/main.py", line 3, in <module>
    run()
  File "/home/me/app/src/shapes.py", line 22, in read_header
    raise ValueError("header is too large")
ValueError: header is too large
"""


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("how is a header read", "words"),
        ("实现快速排序的 Python 函数", "words"),
        ("sort", "words"),
        ("find the user's id (if any)", "words"),
        ("Rename *src* to *dst*, replacing *dst* if *overwrite* is true", "words"),
        ("convert an array of (n, 2) angles to (n, 3) unit vectors", "words"),
        ("StoreError", "name"),
        ("parse_header", "name"),
        ("HttpClient.getAll", "name"),
        ("main()", "name"),
        ("for (int i = 0; i < n; i++) { total += a[i]; }", "code"),
        ("def add(a, b):\n    return a + b", "code"),
        ("x = [y for y in z if y]", "code"),
        (TRACE, "error"),
        ("ValueError: header is too large", "error"),
        ("java.lang.NullPointerException\n\tat org.app.Main.run(Main.java:12)", "error"),
        ("src/main.c:10:5: error: expected ';' before '}' token", "error"),
        ("panic: runtime error: index out of range\n\n/app/main.go:11 +0x1d", "error"),
        ("TypeError: x is not a function\n    at load (/app/a.js:10:5)", "error"),
        ("what does a ValueError mean here", "words"),
    ],
)
def test_a_query_is_told_for_what_it_is(query, kind):
    assert read_query(query).kind == kind


@pytest.mark.parametrize(
    ("trace", "first"),
    [
        (TRACE, ("/home/me/app/src/shapes.py", 22, "read_header")),
        (
            "x.Y: bad\n\tat org.app.Main.run(Main.java:12)\n\tat org.app.B.c(B.java:3)",
            ("Main.java", 12, "org.app.Main.run"),
        ),
        ("TypeError: no\n    at load (/app/a.js:10:5)\n    at b (/app/b.js:1:1)", ("/app/a.js", 10, "load")),
        ("Error: no\n   at A.B(Int32 x) in C:\\src\\A.cs:line 7", ("C:/src/A.cs", 7, "A.B")),
        ("PHP Fatal error: no in /srv/x.php:9\n#0 /srv/y.php(4): run()", ("/srv/x.php", 9, "")),
        ("a.rb:5:in `go': no (RuntimeError)", ("a.rb", 5, "go")),
        ("error[E0308]: mismatched\n --> src/main.rs:10:5", ("src/main.rs", 10, "")),
    ],
)
def test_frames_of_traces_are_read_where_it_was_raised_first(trace, first):
    place = read_query(trace).places[0]
    assert (place.file, place.line, place.name) == first


def test_the_message_of_a_trace_is_what_is_embedded():
    assert read_query(TRACE).text == "ValueError: header is too large"


def test_a_language_that_is_asked_for_is_no_word_of_the_code():
    assert "Python" not in read_query("实现快速排序的 Python 函数").words
    assert read_query("python").words == "python"


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_any_query_is_read(query):
    asked = read_query(query)
    assert asked.kind in ("words", "name", "code", "error")


@pytest.mark.parametrize("piece", ["a", "a.", " ", "\n", "at ", 'File "', "(", "x:1:", "Error", "./", "中"])
def test_a_very_long_query_is_read_in_a_moment(piece):
    started = time.process_time()
    read_query(piece * 200_000)
    assert time.process_time() - started < 2


# --- ranking ---------------------------------------------------------------------------------------


def row(key: str, name: str, text: str, **scores: float) -> dict:
    return {"key": key, "title": f"{key}\t{name}", "text": text, **scores}


def test_each_weight_decides_alone():
    asked = read_query("close the file handle")
    near = [row("a", "x", "one", _distance=0.1), row("b", "y", "two", _distance=0.5)]
    matching = [row("c", "z", "close the file handle", _score=9.0), row("b", "y", "two", _score=1.0)]
    named = [row("d", "close_file", "def", _score=0.1)]
    found = candidates(asked, near, [*matching, *named])
    first = {
        "a": Weights(vector=1, text=0, shared=0, name=0, apart=0),
        "c": Weights(vector=0, text=1, shared=0, name=0, apart=0),
        "d": Weights(vector=0, text=0, shared=0, name=1, apart=0),
    }
    for key, weights in first.items():
        assert ranked(found, weights)[0].row["key"] == key


@pytest.mark.parametrize("query", ["quicksort", "quick sort", "quickSort()", "in-place quicksort of a list"])
def test_a_name_is_found_however_its_words_are_joined(query):
    asked = read_query(query)
    near = [row("a", "bogo_sort", "t", _distance=0.1), row("b", "quick_sort", "t", _distance=0.5)]
    assert [one.row["key"] for one in ranked(candidates(asked, near, []), weights_for(asked.kind))] == [
        "b",
        "a",
    ]


def test_code_outside_definitions_counts_less():
    asked = read_query("read the header")
    found = candidates(asked, [row("a", "", "t", _distance=0.2), row("b", "f", "t", _distance=0.2)], [])
    assert [one.row["key"] for one in ranked(found, Weights(1, 1, 0, 0, 0.5))] == ["b", "a"]


# --- index and search ------------------------------------------------------------------------------


def test_what_is_indexed_and_what_is_left_out(repository, tmp_path):
    report = CodeIndex.open(repository, tmp_path / "index", WordEmbedder()).update()
    assert (report.added, report.units) == (2, 6)
    assert ("notes.txt", "no source file") in report.skipped
    assert report.ignored >= 2  # .git, .gitignore, ignored/


def test_a_hit_says_where_to_look(index):
    hit = index.search("surface it covers").hits[0]
    assert (hit.path, hit.name, hit.language) == ("src/shapes.py", "Circle.area", "python")
    assert (hit.line, hit.column, hit.place) == (12, 5, "src/shapes.py:12")
    assert hit.text.startswith("    def area")
    assert (hit.first_line, hit.last_line) == (12, 14)
    with pytest.raises(dataclasses.FrozenInstanceError):
        hit.line = 1


def test_a_name_finds_its_definition(index):
    answer = index.search("read_header")
    assert answer.kind == "name"
    assert answer.hits[0].name == "read_header"


def test_a_trace_finds_the_line_that_raised(index):
    answer = index.search(TRACE)
    assert (answer.kind, answer.hits[0].name, answer.hits[0].line) == ("error", "read_header", 22)
    assert answer.hits[0].scores["trace"] == 1.0


def test_an_error_message_alone_finds_the_line_that_says_it(index):
    hit = index.search("ValueError: header is too large").hits[0]
    assert (hit.name, hit.line) == ("read_header", 21)


def test_languages_and_paths_limit_the_search(index):
    assert names(index, "numbers", languages=["go"]) == ["tools/sum.go Sum"]
    assert {name.split()[0] for name in names(index, "numbers", languages=["py"])} == {"src/shapes.py"}
    assert {name.split()[0] for name in names(index, "numbers", paths=["tools/"])} == {"tools/sum.go"}
    assert {name.split()[0] for name in names(index, "numbers", paths=["*.go"])} == {"tools/sum.go"}
    assert {name.split()[0] for name in names(index, "numbers", paths=["src/shapes.py"])} == {"src/shapes.py"}


@pytest.mark.parametrize(
    "options",
    [{"languages": ["klingon"]}, {"languages": ["rust"]}, {"paths": ["nowhere/"]}, {"paths": ["sr"]}],
)
def test_a_filter_that_leaves_nothing_is_refused(index, options):
    with pytest.raises(InputError):
        index.search("x", **options)


@pytest.mark.parametrize(("query", "top_k"), [("", 5), ("  \n", 5), ("x", 0)])
def test_a_query_that_cannot_be_asked_is_refused(index, query, top_k):
    with pytest.raises(InputError):
        index.search(query, top_k)


def test_a_search_before_the_first_update_is_refused(repository, tmp_path):
    with pytest.raises(StoreError, match="not indexed yet"):
        CodeIndex.open(repository, tmp_path / "other", WordEmbedder()).search("x")


def test_an_update_embeds_only_functions_that_changed(repository, tmp_path):
    embedder = WordEmbedder()
    index = CodeIndex.open(repository, tmp_path / "index", embedder)
    index.update()
    before = embedder.embedded
    file = repository / "src" / "shapes.py"
    file.write_text(file.read_text().replace("1_000_000", "2_000_000"))
    report = index.update()
    assert (report.added, report.changed, report.unchanged) == (0, 1, 1)
    assert embedder.embedded == before + 1
    assert "2_000_000" in index.search("read_header").hits[0].text


def test_a_file_that_was_only_touched_is_unchanged(repository, index):
    os.utime(repository / "src" / "shapes.py", ns=(1, 1))
    report = index.update()
    assert (report.changed, report.unchanged) == (0, 2)


def test_what_is_gone_leaves_and_what_moves_is_found_at_its_place(repository, index):
    (repository / "src" / "shapes.py").rename(repository / "tools" / "forms.py")
    report = index.update()
    assert (report.added, report.removed, report.unchanged) == (1, 1, 1)
    assert names(index, "surface it covers")[0] == "tools/forms.py Circle.area"


def test_a_file_that_becomes_generated_leaves_with_a_reason(repository, index):
    file = repository / "src" / "shapes.py"
    file.write_text("# Code generated by make. DO NOT EDIT.\n" + SHAPES)
    report = index.update()
    for skipped in (report.skipped, index.update().skipped):
        assert skipped.count(("src/shapes.py", "generated (it says so)")) == 1
    assert "src/shapes.py Circle.area" not in names(index, "surface it covers")
    file.write_text(SHAPES)
    index.update()
    assert names(index, "surface it covers")[0] == "src/shapes.py Circle.area"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("web/node_modules/a/b.js", "vendored (below node_modules)"),
        ("lib/jquery.min.js", "minified"),
        ("api/user_pb2.py", "generated (by its name)"),
        ("src/vendoring.py", ""),
    ],
)
def test_names_of_files_that_nobody_wrote(path, reason):
    assert by_name(path) == reason


def test_texts_that_nobody_wrote():
    assert (
        by_text("// Code generated by protoc-gen-go. DO NOT EDIT.\npackage a\n") == "generated (it says so)"
    )
    assert by_text("# @generated by hand\nx = 1\n") == "generated (it says so)"
    assert by_text("var a=1;" * 2000) == "minified, or data in long lines"
    assert by_text('MARK = "DO NOT EDIT"\n') == ""
    assert by_text(SHAPES) == ""


def test_a_model_without_instructions_is_given_none(repository, tmp_path):
    class Plain(WordEmbedder):
        prompts = MappingProxyType({"query": "", "document": ""})

        def encode_query(self, inputs, *, instruction=None):
            told.append(instruction)
            return super().encode_query(inputs)

    class Instructed(Plain):
        prompts = MappingProxyType({"query": "Instruct: find\nQuery:"})

    told: list[str | None] = []
    for kind in (Plain, Instructed):
        index = CodeIndex.open(repository, tmp_path / kind.__name__, kind())
        index.update()
        index.search("surface it covers")
    assert told[0] is None
    assert told[1] is not None


# --- commits ---------------------------------------------------------------------------------------


def test_any_commit_is_searched_without_a_checkout(repository, index):
    first = git(repository, "rev-parse", "HEAD")
    (repository / "src" / "shapes.py").unlink()
    git(repository, "commit", "-q", "-a", "-m", "No shapes")
    index.update()
    assert "src/shapes.py Circle.area" not in names(index, "surface it covers")
    report = index.update(at=first)
    assert (report.added, report.commit) == (2, first)
    answer = index.search("surface it covers", at=first[:10])
    assert (answer.commit, answer.hits[0].name) == (first, "Circle.area")
    assert not (repository / "src" / "shapes.py").exists()


def test_a_commit_takes_vectors_from_what_is_indexed(repository, tmp_path):
    embedder = WordEmbedder()
    index = CodeIndex.open(repository, tmp_path / "index", embedder)
    index.update()
    before = embedder.embedded
    index.update(at="HEAD")
    assert embedder.embedded == before
    assert names(index, "surface it covers", at="HEAD") == names(index, "surface it covers")


def test_blobs_are_called_as_git_calls_them(repository):
    data = (repository / "src" / "shapes.py").read_bytes()
    assert blob_id(data) == git(repository, "rev-parse", "HEAD:src/shapes.py")


def test_blame_names_who_wrote_each_line(repository, index):
    file = repository / "src" / "shapes.py"
    file.write_text("# a new line above\n" + SHAPES.replace("self.radius ** 2", "self.radius * self.radius"))
    index.update()
    hit = index.search("surface it covers", blame=True).hits[0]
    assert [one.line for one in hit.blame] == [hit.first_line, hit.first_line + 1, hit.first_line + 2]
    assert [one.author for one in hit.blame] == ["Ada", "Ada", ""]
    assert hit.blame[0].summary == "Shapes and sums"
    assert hit.blame[0].commit == git(repository, "rev-parse", "HEAD")
    old = index.update(at="HEAD") and index.search("surface it covers", at="HEAD", blame=True).hits[0]
    assert {one.author for one in old.blame} == {"Ada"}


def test_blame_of_a_file_that_was_never_committed(repository, index):
    (repository / "src" / "fresh.py").write_text("def brand_new():\n    return 'fresh'\n")
    index.update()
    hit = index.search("brand_new", blame=True).hits[0]
    assert {one.commit for one in hit.blame} == {""}


@pytest.mark.parametrize("name", ["nope", "--output=x", "", "a\nb", "HEAD:src"])
def test_a_name_that_is_no_commit_is_refused(index, name):
    with pytest.raises(InputError):
        index.update(at=name)


def test_a_trace_finds_its_file_by_the_end_of_its_path():
    stored = ["/python/a/util.py", "/python/b/util.py", "/python/util.py", "/go/main.go"]
    assert file_of("/srv/app/b/util.py", stored) == "/python/b/util.py"
    assert file_of("util.py", stored) == "/python/util.py"
    assert file_of("/other/thing.py", stored) is None


# --- command line ----------------------------------------------------------------------------------

FACES = Faces(lambda name: WordEmbedder(), lambda name: None)


def test_the_command_line_prints_places_and_json(repository, tmp_path, capsys):
    place = ["--index", str(tmp_path / "cli")]
    assert run(["code", "index", str(repository), *place], FACES) == 0
    assert "2 added" in (said := capsys.readouterr().out)
    assert "skipped notes.txt: no source file" in said
    asked = ["code", "search", "surface it covers", str(repository), *place, "-k", "1"]
    assert run([*asked, "--blame"], FACES) == 0
    said = capsys.readouterr().out
    assert said.startswith("src/shapes.py:12")
    assert "Ada: Shapes and sums" in said
    assert run([*asked, "--json", "--language", "py", "--path", "src/"], FACES) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["kind"] == "words"
    assert value["hits"][0]["place"] == "src/shapes.py:12"
    assert value["hits"][0]["name"] == "Circle.area"
    assert value["index"]["unchanged"] == 2


def test_the_command_line_says_what_a_query_was_read_as(repository, tmp_path, capsys):
    assert run(["code", "search", TRACE, str(repository), "--index", str(tmp_path / "cli")], FACES) == 0
    assert "read as an error message" in capsys.readouterr().err


def test_the_example_of_the_page_runs(repository, tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "code.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", page, re.S)[0]
    assert len(example.strip().splitlines()) <= 10
    done = subprocess.run(
        [sys.executable, "-W", "error::lingxi.LingxiWarning", "-c", example],
        cwd=repository,
        capture_output=True,
        text=True,
        env={**os.environ, "LINGXI_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(SRC)},
    )
    assert done.returncode == 0, done.stderr
    assert "src/shapes.py:" in done.stdout
