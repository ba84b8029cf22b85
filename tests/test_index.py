"""The index: what changed is touched, what is gone removed, nothing lost, words of many scripts found."""

import errno
import json
import multiprocessing
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lingxi import Embedder
from lingxi.errors import InputError, StoreError
from lingxi.index import Index, build
from lingxi.index.search import fuse
from lingxi.index.store import LanceStore
from lingxi.parse import decode
from lingxi.parse import walk as walking
from stand_in import WordEmbedder, WordReranker
from test_parse import make_pdf

DOCUMENTS = {
    "notes.md": "# Garden\n\nTomatoes need sun.\n\n## Water\n\nWater them in the evening. Not at noon.\n",
    "src/http.py": "def parseHttpHeader(line):\n    return line\n\n\ndef other_thing():\n    return 1\n",
    "zh.txt": "今天去图书馆看书，然后吃饭。南京市长江大桥很长。",
    "th.txt": "ภาษาไทยไม่มีการเว้นวรรคระหว่างคำ และห้องสมุดอยู่ใกล้บ้าน",
    "plain.txt": "The cat sleeps on the chair. It rains outside.",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in DOCUMENTS.items():
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "docs"


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index.open(tmp_path / "an.index", WordEmbedder(), WordReranker())


def rows_of(place: Path) -> list[dict]:
    return LanceStore(place, None)._table.to_arrow().to_pylist()


def counts(report: build.AddReport) -> tuple[int, int, int, int]:
    return report.added, report.changed, report.unchanged, report.removed


def found(index: Index, query: str) -> list[str]:
    return [Path(h.path).name for h in index.search(query, rerank=False) if "text" in h.scores]


def test_rows_are_exact_spans_of_their_files(index, folder, tmp_path):
    (folder / "paper.pdf").write_bytes(make_pdf(["Alpha is first.", "Beta is second."]))
    report = index.add([folder])
    rows = rows_of(tmp_path / "an.index")
    assert report.segments == len(rows) > 6
    for row in rows:
        content = decode(Path(row["path"]), Path(row["path"]).read_bytes())
        assert content.text[row["start"] : row["end"]] == row["text"]


def test_adding_again_touches_only_what_changed(folder, tmp_path):
    embedder = WordEmbedder()
    index = Index.open(tmp_path / "an.index", embedder)
    assert counts(index.add([folder])) == (5, 0, 0, 0)
    embedded = embedder.embedded
    assert counts(index.add([folder])) == (0, 0, 5, 0)
    assert embedder.embedded == embedded

    (folder / "notes.md").write_text(DOCUMENTS["notes.md"].replace("noon", "night"), encoding="utf-8")
    (folder / "plain.txt").unlink()
    (folder / "new.txt").write_text("Something new.")
    report = index.add([folder])
    assert counts(report) == (1, 1, 3, 1)
    # Only the section that changed is embedded again, beside the new file.
    assert embedder.embedded == embedded + 2
    assert report.segments == 3


def test_a_file_that_was_only_touched_is_not_embedded_again(folder, tmp_path):
    embedder = WordEmbedder()
    index = Index.open(tmp_path / "an.index", embedder)
    index.add([folder])
    embedded = embedder.embedded
    before = sorted((r["key"], r["hash"], tuple(r["vector"])) for r in rows_of(tmp_path / "an.index"))
    os.utime(folder / "notes.md", ns=(1, 1))
    assert counts(index.add([folder])) == (0, 0, 5, 0)
    assert embedder.embedded == embedded
    after = sorted((r["key"], r["hash"], tuple(r["vector"])) for r in rows_of(tmp_path / "an.index"))
    assert before == after


def test_a_file_that_shrinks_leaves_no_segments_behind(index, folder, tmp_path):
    index.add([folder])
    (folder / "notes.md").write_text("# Only\n\nthis\n")
    index.add([folder])
    mine = [r for r in rows_of(tmp_path / "an.index") if r["path"].endswith("notes.md")]
    assert [r["text"] for r in mine] == ["# Only\n\nthis"]


def test_adding_one_folder_leaves_another_alone(index, folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.txt").write_text("Elsewhere.")
    index.add([folder, other])
    shutil.rmtree(folder)
    folder.mkdir()
    assert counts(index.add([folder])) == (0, 0, 0, 5)
    assert index.stats().files == 1


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("吃饭", "zh.txt"),
        ("图书", "zh.txt"),
        ("南京", "zh.txt"),
        ("长江", "zh.txt"),
        ("ห้องสมุด", "th.txt"),
        ("header", "http.py"),
        ("http", "http.py"),
        ("parse_http_header", "http.py"),
        ("thing", "http.py"),
        ("SLEEPS", "plain.txt"),
    ],
)
def test_full_text_finds_words_of_every_script_and_parts_of_names(index, folder, query, name):
    index.add([folder])
    assert found(index, query)[0] == name


def test_rows_that_are_not_settled_are_found(index, folder, monkeypatch):
    monkeypatch.setattr(LanceStore, "settle", lambda self: None)
    index.add([folder])
    assert index.stats().unsettled > 0
    assert found(index, "吃饭") == ["zh.txt"]
    monkeypatch.undo()
    index.add([folder])
    assert index.stats().unsettled == 0


def test_hits_say_where_and_mark_the_best_sentence(index, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    index.add(["docs"])
    hit = index.search("water in the evening")[0]
    assert hit.path == "docs/notes.md"
    text = (folder / "notes.md").read_text(encoding="utf-8")
    assert text[hit.start : hit.end] == hit.text
    assert "Water them in the evening." in text[slice(*hit.sentence)]
    assert hit.place == "docs/notes.md:7"
    assert set(hit.scores) == {"vector", "text", "rerank"}
    assert hit.score == hit.scores["rerank"]
    plain = index.search("water in the evening", rerank=False)[0]
    assert "rerank" not in plain.scores


def test_search_can_be_kept_below_a_path(index, folder):
    index.add([folder])
    assert {Path(h.path).name for h in index.search("the", below=[folder / "src"])} == {"http.py"}


def test_scores_fall_and_top_k_is_kept(index, folder):
    index.add([folder])
    hits = index.search("water the garden", top_k=3)
    assert len(hits) == 3
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)


def test_fusion_prefers_what_both_rankings_hold():
    row = {"path": "p", "start": 0, "end": 1, "first_line": 1, "last_line": 1, "text": "t"}
    near = [{**row, "key": k, "path": k, "_distance": 0.1} for k in "abc"]
    matching = [{**row, "key": k, "path": k, "_score": 2.0} for k in "bd"]
    hits = fuse(near, matching)
    assert [h.path for h in hits] == ["b", "a", "d", "c"]
    assert hits[0].score == pytest.approx(1 / 62 + 1 / 61)
    assert hits[0].scores == {"vector": pytest.approx(0.9), "text": 2.0}


def test_neighbours_raise_a_passage(index, tmp_path):
    row = {"path": "p", "start": 0, "end": 1, "first_line": 1, "last_line": 1, "text": "t"}
    near = [{**row, "key": str(n), "ordinal": n, "start": n, "_distance": 0.1} for n in (9, 4, 5)]
    assert [hit.start for hit in fuse(near, [])] == [9, 4, 5]
    assert [hit.start for hit in fuse(near, [], around=1)] == [4, 5, 9]

    said = ["Rain.", "Who waters tomatoes?", "Anna does.", "Snow."]
    (tmp_path / "talk.md").write_text("".join(f"## {n}\n\n{text}\n\n" for n, text in enumerate(said)))
    index.add([tmp_path / "talk.md"])
    best = index.search("who waters tomatoes", top_k=2, rerank=False, around=1)
    assert "tomatoes" in best[0].text
    assert "Anna" in best[1].text or "Rain" in best[1].text
    with pytest.raises(InputError, match="around"):
        index.search("tomatoes", around=-1)


@pytest.mark.parametrize(("query", "top_k"), [("", 3), ("  ", 3), ("x", 0)])
def test_a_query_that_cannot_be_asked_is_refused(index, folder, query, top_k):
    index.add([folder])
    with pytest.raises(InputError):
        index.search(query, top_k=top_k)


def test_ignored_hidden_and_linked_files_stay_out(index, folder, tmp_path):
    outside = tmp_path / "secret.txt"
    outside.write_text("secret")
    (folder / "out.txt").symlink_to(outside)
    (folder / "in.txt").symlink_to(folder / "plain.txt")
    (folder / "gone.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe")
    (folder / "image.png").write_bytes(b"\x89PNG\0\0")
    (folder / ".gitignore").write_text("*.log\n/build/\n!keep.log\n")
    (folder / "src" / ".gitignore").write_text("generated.py\n")
    for name in ("a.log", "keep.log", "build/x.txt", "src/generated.py", "src/build/y.txt", ".hidden/z.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("text here")
    report = index.add([folder])
    names = {Path(r["path"]).name for r in rows_of(tmp_path / "an.index") if r["text"]}
    assert names == {*(Path(n).name for n in DOCUMENTS), "keep.log", "y.txt"}
    reasons = {Path(path).name: reason for path, reason in report.skipped}
    assert reasons == {
        "out.txt": "symbolic link that leaves the folder",
        "in.txt": "symbolic link to what lies in the folder itself",
        "gone.txt": "broken symbolic link",
        "pipe": "not a regular file",
        "image.png": "binary",
    }
    # .gitignore twice, .hidden, a.log, build, generated.py
    assert report.ignored == 6
    # What was skipped stays known and is told again, without reading it.
    assert {Path(p).name for p, _ in index.add([folder]).skipped} == set(reasons)


def test_rules_above_the_folder_hold_unless_they_leave_out_the_folder_itself(tmp_path):
    repo = tmp_path / "repo"
    (repo / "docs" / "deep").mkdir(parents=True)
    (repo / ".git").mkdir()
    (repo / ".gitignore").write_text("*.tmp\ndeep/\n")
    for name in ("docs/a.txt", "docs/a.tmp", "docs/deep/b.txt"):
        (repo / name).write_text("x")

    def names(root: Path) -> list[str]:
        return sorted(Path(p).name for p in walking.walk([str(root)]).files)

    assert names(repo / "docs") == ["a.txt"]
    assert names(repo / "docs" / "deep") == ["b.txt"]


def test_large_files_are_skipped_and_an_index_is_not_indexed(index, folder, tmp_path):
    with (folder / "large.txt").open("wb") as file:
        file.truncate(10_000_001)
    Index.open(folder / "inner.index", WordEmbedder())
    report = index.add([folder])
    assert [(Path(p).name, r) for p, r in report.skipped] == [("large.txt", "larger than 10 MB")]
    assert report.added == len(DOCUMENTS)


def test_a_folder_that_cannot_be_read_loses_nothing(folder):
    def scan(path: str):
        if path == str(folder / "src"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return os.scandir(path)

    seen = walking.walk([str(folder)], scan)
    assert seen.blocked == [str(folder / "src")]
    known = {str(folder / "src" / "http.py"): None, str(folder / "gone.txt"): None}
    plan = build._plan(seen, {k: build.FileState("", 0, 0, "") for k in known}, [str(folder)])
    assert plan.gone == [str(folder / "gone.txt")]
    with pytest.raises(InputError, match="cannot be read"):
        walking.walk([str(folder / "src")], scan)


def test_a_missing_path_and_an_empty_folder_are_refused(index, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        index.add([tmp_path / "nope"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no files to index"):
        index.add([tmp_path / "empty"])
    (tmp_path / "empty" / "a.png").write_bytes(b"\0\1")
    with pytest.raises(InputError, match="none can be read"):
        index.add([tmp_path / "empty"])


def test_another_model_is_refused_in_words(index, folder, tmp_path):
    index.add([folder])
    with pytest.raises(StoreError, match=r"'stand-in'.*'other'.*rebuild"):
        Index.open(tmp_path / "an.index", WordEmbedder("other"))
    assert Index.open(tmp_path / "an.index").stats().model["name"] == "stand-in"


def test_an_index_of_a_model_that_was_renamed_tells_its_name_of_today(folder, tmp_path):
    pico = Embedder("lingxi-pico").fingerprint()
    LanceStore(tmp_path / "old.index", {**pico, "name": "lingxi-nano"})
    with pytest.raises(StoreError, match=r"made by the model 'lingxi-pico'.*open it with 'lingxi-pico'"):
        Index.open(tmp_path / "old.index", WordEmbedder("lingxi-nano"))
    assert Index.open(tmp_path / "old.index").stats().model["name"] == "lingxi-pico"


def test_a_newer_version_is_refused_in_words(index, tmp_path):
    table = LanceStore(tmp_path / "an.index", None)._table
    schema = table.schema.with_metadata({b"lingxi": json.dumps({"format": 99, "fingerprint": {}}).encode()})
    import lancedb

    lancedb.connect(tmp_path / "newer.index").create_table("segments", schema=schema)
    with pytest.raises(StoreError, match="newer version"):
        Index.open(tmp_path / "newer.index", WordEmbedder())


def test_a_folder_that_is_no_index_is_refused(folder, tmp_path):
    with pytest.raises(StoreError, match="not an index"):
        Index.open(folder, WordEmbedder())
    with pytest.raises(StoreError, match="no index there"):
        Index.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


class FullStore(LanceStore):
    """A store on a disk that is full after some batches."""

    room = 1

    def replace(self, rows, known):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= 1
        super().replace(rows, known)


def test_a_full_disk_is_told_and_what_was_committed_stays(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_FIRST", 2)
    monkeypatch.setattr(build, "_MOST", 2)
    embedder = WordEmbedder()
    store = FullStore(tmp_path / "an.index", embedder.fingerprint())
    with pytest.raises(StoreError, match="disk is full"):
        build.add(store, embedder, [folder])
    committed = rows_of(tmp_path / "an.index")
    assert committed
    index = Index.open(tmp_path / "an.index", embedder)
    report = index.add([folder])
    assert report.unchanged + report.added == 5
    assert report.unchanged >= 1
    keys = [row["key"] for row in rows_of(tmp_path / "an.index")]
    assert len(keys) == len(set(keys)) == len(rows_of(tmp_path / "an.index"))


def test_remove_takes_files_and_folders_out(index, folder):
    index.add([folder])
    assert index.remove([folder / "src"]) == 1
    assert index.remove([folder / "src"]) == 0
    assert index.stats().files == 4


def test_a_file_that_becomes_binary_or_empty_loses_its_segments(index, folder):
    index.add([folder])
    (folder / "plain.txt").write_bytes(b"\0\1\2")
    (folder / "zh.txt").write_bytes(b"")
    report = index.add([folder])
    assert {(Path(p).name, r) for p, r in report.skipped} == {("plain.txt", "binary"), ("zh.txt", "empty")}
    assert index.stats().skipped == {"binary": 1, "empty": 1}
    assert found(index, "吃饭") == []


def hold(place: Path, held, done) -> None:
    from lingxi.index.lock import writing

    with writing(place):
        held.set()
        done.wait(30)


def test_a_second_writer_is_told_and_search_goes_on(index, folder, tmp_path):
    index.add([folder])
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / "an.index", held, done))
    other.start()
    try:
        assert held.wait(30)
        # Nothing changed, so nothing needs the lock.
        assert counts(index.add([folder])) == (0, 0, 5, 0)
        assert index.search("garden")
        (folder / "new.txt").write_text("new")
        with pytest.raises(StoreError, match=rf"another process .*process {other.pid}"):
            index.add([folder])
    finally:
        done.set()
        other.join()
    assert counts(index.add([folder])) == (1, 0, 5, 0)


def test_a_reader_sees_what_another_added_after_it_opened(folder, tmp_path):
    writer = Index.open(tmp_path / "an.index", WordEmbedder())
    reader = Index.open(tmp_path / "an.index", WordEmbedder())
    writer.add([folder])
    assert reader.search("garden")


def test_batches_of_any_size_make_the_same_index(folder, tmp_path, monkeypatch):
    made = []
    for size in (1, 3, 1000):
        monkeypatch.setattr(build, "_FIRST", size)
        monkeypatch.setattr(build, "_FEWEST", size)
        monkeypatch.setattr(build, "_MOST", size)
        place = tmp_path / f"{size}.index"
        Index.open(place, WordEmbedder()).add([folder])
        made.append(
            sorted((r["key"], r["text"], np.asarray(r["vector"]).round(6).tolist()) for r in rows_of(place))
        )
    assert made[0] == made[1] == made[2]


def test_a_hit_in_a_pdf_names_its_page(index, folder):
    (folder / "paper.pdf").write_bytes(make_pdf(["Alpha is first.", "Beta is second."]))
    index.add([folder])
    hit = index.search("beta second")[0]
    assert hit.place.endswith("paper.pdf page 2")
    assert replace(hit, path="a.txt").place == "a.txt:2"
