"""An index that is moved to another model, kept in snapshots, asked in parts, and by whole documents."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lingxi.cli import run
from lingxi.cli.faces import LAZY, Faces
from lingxi.errors import InputError, StoreError
from lingxi.index import Index
from lingxi.index.documents import document_score
from lingxi.index.snapshot import restore, snapshot
from lingxi.index.upgrade import back, forget, upgrade
from stand_in import WordEmbedder
from toys import assert_mendable


class Turned(WordEmbedder):
    """Another model: the same words, other directions, and fewer of them."""

    dim = 32

    def encode_document(self, inputs, **said) -> np.ndarray:
        found = super().encode_document(inputs, **said)[:, ::-1][:, :32]
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def encode_query(self, inputs, **said) -> np.ndarray:
        found = super().encode_query(inputs, **said)[:, ::-1][:, :32]
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def fingerprint(self):
        return super().fingerprint() | {"dim": 32}


OLD, NEW = WordEmbedder("old"), Turned("new")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "docs"
    place.mkdir()
    for n in range(30):
        text = f"# Part {n}\n\nThis tells of thing{n}.\n\n## More\n\nAnd other{n} too.\n"
        (place / f"{n:02}.md").write_text(text)
    (place / "code.py").write_text("def thing1():\n    return 1\n")
    (place / "empty.txt").write_text("")
    return place


@pytest.fixture
def place(folder: Path, tmp_path: Path) -> Path:
    Index.open(tmp_path / "an.index", OLD).add([folder])
    return tmp_path / "an.index"


def best(place: Path, model: WordEmbedder, query: str = "thing7", **said) -> str:
    return Path(Index.open(place, model, **said).search(query)[0].path).name


def vectors_of(place: Path, model: WordEmbedder) -> dict[str, tuple[float, ...]]:
    rows = Index.open(place, model)._store._table.to_arrow().to_pylist()
    return {row["key"]: tuple(row["vector"] or ()) for row in rows}


def test_an_upgraded_index_is_as_one_made_anew(place, folder, tmp_path):
    report = upgrade(place, NEW)
    assert (report.before, report.now, report.embedded) == ("old", "new", report.segments)
    Index.open(tmp_path / "fresh", NEW).add([folder])
    assert vectors_of(place, NEW) == vectors_of(tmp_path / "fresh", NEW)
    assert best(place, NEW) == "07.md"
    again = Index.open(place, NEW).add([folder])
    assert again.added == again.changed == 0
    assert Index.open(place).stats().model["name"] == "new"


def test_the_old_model_answers_before_during_and_after(place, folder):
    held = Index.open(place, OLD)
    seen = []

    def during(done: int, count: int) -> None:
        seen.append((done, count))
        assert best(place, OLD) == "07.md"
        assert held.search("thing7")
        with pytest.raises(StoreError):
            Index.open(place, NEW)

    upgrade(place, NEW, during)
    assert seen[-1] == (32, 32)
    assert Path(held.search("thing7")[0].path).name == "07.md"
    assert best(place, OLD) == "07.md"
    (folder / "new.md").write_text("# New\n\nSomething unheard.\n")
    for index in (held, Index.open(place, OLD)):
        with pytest.raises(StoreError) as caught:
            index.add([folder])
        assert_mendable(caught.value, "another model")
    assert Index.open(place, NEW).add([folder]).added == 1
    forget(place)
    with pytest.raises(StoreError):
        Index.open(place, OLD)
    assert best(place, NEW, "unheard") == "new.md"
    with pytest.raises(StoreError) as caught:
        forget(place)
    assert_mendable(caught.value)


def test_files_that_change_during_an_upgrade_are_caught_up_with(place, folder):
    def during(done: int, count: int) -> None:
        (folder / "07.md").write_text("# Now\n\nnothing of it\n")
        (folder / "08.md").unlink(missing_ok=True)
        (folder / "late.md").write_text("# Late\n\nlatecomer\n")
        Index.open(place, OLD).add([folder])

    upgrade(place, NEW, during)
    assert best(place, NEW, "latecomer") == "late.md"
    names = {Path(hit.path).name for hit in Index.open(place, NEW).search("thing8 thing7", top_k=100)}
    assert "08.md" not in names
    again = Index.open(place, NEW).add([folder])
    assert (again.added, again.changed, again.removed) == (0, 0, 0)


class Stops(Turned):
    """A model that fails after some texts."""

    left = 20

    def encode_document(self, inputs, **said) -> np.ndarray:
        self.left -= len(inputs)
        if self.left < 0:
            raise RuntimeError("stopped")
        return super().encode_document(inputs, **said)


def test_a_stopped_upgrade_goes_on_or_is_dropped(place, monkeypatch):
    monkeypatch.setattr("lingxi.index.upgrade._SEGMENTS_A_COMMIT", 8)
    failing = Stops("new")
    failing.left = 40
    with pytest.raises(RuntimeError):
        upgrade(place, failing)
    assert best(place, OLD) == "07.md"
    with pytest.raises(StoreError) as caught:
        upgrade(place, Turned("third"))
    assert_mendable(caught.value, "new", "--back")
    report = upgrade(place, NEW)
    assert 0 < report.embedded < report.segments
    assert back(place) == "old"
    assert best(place, OLD) == "07.md"
    assert upgrade(place, NEW).embedded == 0
    assert back(place) == "old"  # undoes the switch
    assert back(place) == "old"  # drops what was built
    assert upgrade(place, Turned("third")).embedded > 40
    forget(place)
    with pytest.raises(StoreError):
        back(place)


def test_the_same_model_is_no_upgrade(place):
    with pytest.raises(StoreError) as caught:
        upgrade(place, OLD)
    assert_mendable(caught.value, "old")


def test_namespaces_hold_files_of_their_own_and_move_together(place, folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "secret.md").write_text("# Other\n\nthing7 elsewhere\n")
    Index.open(place, OLD, namespace="team-b").add([other])
    assert Index.open(place, OLD).namespaces() == ["", "team-b"]
    assert best(place, OLD, namespace="team-b") == "secret.md"
    names = {Path(hit.path).name for hit in Index.open(place, OLD).search("thing7", top_k=100)}
    assert "secret.md" not in names
    upgrade(place, NEW)
    assert best(place, NEW, namespace="team-b") == "secret.md"
    assert best(place, NEW) == "07.md"
    for name in ("../up", "a b", "x" * 50):
        with pytest.raises(InputError):
            Index.open(place, NEW, namespace=name)
    with pytest.raises(StoreError):
        Index.open(place, namespace="absent")


def test_a_snapshot_stays_as_it_was(place, folder, tmp_path):
    made = snapshot(place, tmp_path / "kept")
    before = vectors_of(place, OLD)
    for path in folder.glob("1*.md"):
        path.unlink()
    (folder / "07.md").write_text("# other\n")
    Index.open(place, OLD).add([folder])
    upgrade(place, NEW)
    forget(place)
    found = restore(tmp_path / "kept", place)
    assert found == made
    assert vectors_of(place, OLD) == before
    assert restore(tmp_path / "kept", tmp_path / "elsewhere") == made
    assert vectors_of(tmp_path / "elsewhere", OLD) == before
    Index.open(place, OLD).add([folder])
    assert vectors_of(tmp_path / "elsewhere", OLD) == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_snapshot_leaves_out_an_unfinished_upgrade(place, tmp_path):
    def during(done: int, count: int) -> None:
        if not (tmp_path / "kept").exists():
            snapshot(place, tmp_path / "kept")

    upgrade(place, NEW, during)
    assert best(tmp_path / "kept", OLD) == "07.md"
    assert not list((tmp_path / "kept").glob("segments.g2*"))


def test_a_namespace_that_comes_during_an_upgrade_is_moved_too(place, folder):
    def during(done: int, count: int) -> None:
        Index.open(place, OLD, namespace="late").add([folder / "03.md"])

    upgrade(place, NEW, during)
    assert best(place, NEW, "thing3", namespace="late") == "03.md"


def test_after_going_back_the_new_model_writes_no_more(place, folder):
    upgrade(place, NEW)
    held = Index.open(place, NEW)
    back(place)
    (folder / "late.md").write_text("# Late\n\nlatecomer\n")
    with pytest.raises(StoreError) as caught:
        held.add([folder])
    assert_mendable(caught.value)
    assert Index.open(place, OLD).add([folder]).added == 1


def test_a_damaged_snapshot_changes_nothing(place, tmp_path):
    snapshot(place, tmp_path / "kept")
    before = vectors_of(place, OLD)
    with pytest.raises(StoreError) as caught:
        snapshot(place, tmp_path / "kept")
    assert_mendable(caught.value, "kept")
    shutil.copytree(tmp_path / "kept", tmp_path / "bad")
    file = max((tmp_path / "bad").rglob("*.lance"), key=lambda f: f.stat().st_size if f.is_file() else 0)
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    for source in (tmp_path / "bad", tmp_path / "nowhere", tmp_path / "docs"):
        with pytest.raises(StoreError) as caught:
            restore(source, place)
        assert_mendable(caught.value, source.name)
    assert vectors_of(place, OLD) == before
    with pytest.raises(StoreError):
        restore(tmp_path / "kept", tmp_path / "docs")


def test_damaged_generations_are_told_of(place):
    upgrade(place, NEW)
    (place / "generations.json").write_text("{")
    with pytest.raises(StoreError) as caught:
        Index.open(place, NEW)
    assert_mendable(caught.value, "generations.json")


def test_an_index_is_not_walked(place, folder, tmp_path):
    upgrade(place, NEW)
    forget(place)
    inside = folder / "an.index"
    shutil.copytree(place, inside)
    Index.open(tmp_path / "beside", OLD).add([folder])
    paths = Index.open(tmp_path / "beside", OLD)._store.files()
    assert not [path for path in paths if "an.index" in path]


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({"languages": ["python"]}, {"code.py"}),
        ({"kinds": ["code"]}, {"code.py"}),
        ({"kinds": ["code"], "languages": ["go"]}, set()),
        ({"kinds": ["text", "code"], "languages": ["python"]}, {"code.py"}),
        ({"kinds": ["text"]}, set()),
    ],
)
def test_files_are_asked_for_by_kind_and_language(place, said, names):
    found = Index.open(place, OLD).search("thing1 return", top_k=100, **said)
    assert {Path(hit.path).name for hit in found} == names
    assert len(Index.open(place, OLD).search("thing1", top_k=100, kinds=["markdown"])) == 60


def test_kinds_there_are_not_are_told_of(place):
    for said in ({"kinds": ["prose"]}, {"languages": ["klingon"]}):
        with pytest.raises(InputError) as caught:
            Index.open(place, OLD).search("thing1", **said)
        assert_mendable(caught.value)


def test_documents_by_their_passages(place):
    index = Index.open(place, OLD)
    for score in ("max", "mean3"):
        first = index.documents("thing7 other7", top_k=3, score=score)[0]
        assert Path(first.path).name == "07.md" and len(first.hits) == 2
        text = Path(first.path).read_text()
        for hit in first.hits:
            assert text[hit.start : hit.end] == hit.text
            assert hit.start <= hit.sentence[0] < hit.sentence[1] <= hit.end
        cosines = [hit.score for hit in first.hits]
        assert first.score == pytest.approx(document_score(cosines, score), abs=1e-6)
    assert index.documents("thing1", kinds=["code"])[0].path.endswith("code.py")
    with pytest.raises(InputError):
        index.documents("thing1", score="sum")


def test_a_document_score_reads_the_best():
    assert document_score([0.1, 0.9, 0.5, 0.4], "max") == 0.9
    assert document_score([0.1, 0.9, 0.5, 0.4], "mean3") == pytest.approx(0.6)
    assert document_score([0.2], "mean3") == pytest.approx(0.2)


_UPGRADE = """
import sys
sys.path[:0] = {paths!r}
import lingxi.index.upgrade as u
from test_upgrade import Turned
u._SEGMENTS_A_COMMIT = 8
print("ready", flush=True)
u.upgrade({place!r}, Turned("new", seconds=0.01))
"""


@pytest.mark.slow
def test_an_upgrade_that_is_killed_leaves_an_index_that_answers(place, folder, tmp_path):
    here = Path(__file__).parent
    program = _UPGRADE.format(paths=[str(here), str(here.parent / "src")], place=str(place))
    for after in (0.1, 0.3, 0.6, 0.9):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(after)
            os.kill(child.pid, signal.SIGKILL)
        current = (
            json.loads((place / "generations.json").read_text())
            if (place / "generations.json").exists()
            else {}
        )
        model = NEW if current.get("current", 1) == 2 else OLD
        assert best(place, model) == "07.md"
        if model is NEW:
            break
    if not (place / "generations.json").exists():
        upgrade(place, NEW)
    Index.open(tmp_path / "fresh", NEW).add([folder])
    assert vectors_of(place, NEW) == vectors_of(tmp_path / "fresh", NEW)


def told(capsys, *arguments: str, code: int = 0) -> dict:
    faces = Faces(lambda name: Turned("new") if name == "new" else WordEmbedder("old"), lambda name: None)
    assert run([*arguments, "--json"], faces) == code
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_command_line_moves_an_index(folder, tmp_path, capsys):
    place = str(tmp_path / "cli.index")
    cost = told(capsys, "index", "add", place, str(folder), "--estimate")
    assert cost["segments"] == 61 and not Path(place).exists()
    assert told(capsys, "index", "add", place, str(folder))["segments"] == 61
    told(capsys, "index", "add", place, str(folder / "07.md"), "--namespace", "own")
    assert told(capsys, "index", "stats", place)["namespaces"] == ["", "own"]
    kept = told(capsys, "index", "snapshot", place, str(tmp_path / "kept"))
    assert kept["segments"] == 63
    assert told(capsys, "index", "upgrade", place, "--model", "new")["embedded"] == 63
    hits = told(capsys, "index", "search", place, "thing7", "--model", "new")["hits"]
    assert hits[0]["path"].endswith("07.md")
    only = ["--language", "python", "--below", str(folder)]
    hits = told(capsys, "index", "search", place, "thing1", *only)["hits"]
    assert {Path(hit["path"]).name for hit in hits} == {"code.py"}
    documents = told(capsys, "index", "search", place, "thing7", "--documents")["documents"]
    assert documents[0]["path"].endswith("07.md") and documents[0]["hits"]
    assert told(capsys, "index", "upgrade", place, "--back") == {"now": "old"}
    assert told(capsys, "index", "restore", str(tmp_path / "kept"), place) == kept
    said = told(capsys, "index", "publish", place, f"lance:{tmp_path / 'out'}", "--dim", "32")
    assert said == {"written": 61, "removed": 0, "held": 61}
    assert run(["index", "upgrade", place], LAZY) == 2
    assert run(["index", "publish", place, f"lance:{tmp_path / 'out'}", "--precision", "int3"], LAZY) == 2
