"""What vectors count for in a repository, measured on it; and old indexes of commits taken out."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lancedb")
pytest.importorskip("tree_sitter_python")

from hypothesis import given
from hypothesis import strategies as st

from lingxi.apps.code import CodeIndex, trust
from lingxi.apps.code.probe import probes
from lingxi.apps.code.prune import prune
from lingxi.apps.code.rank import WEIGHTS, weights_for
from lingxi.apps.code.units import units
from lingxi.cli import run
from lingxi.cli.faces import Faces
from lingxi.errors import InputError
from stand_in import WordEmbedder

COUNT = 60


def rows(text: str, language: str = "python") -> list[dict]:
    return [
        {"key": f"{number}", "path": f"/{language}/a", "title": unit.title, "text": unit.text}
        for number, unit in enumerate(units(text, language, "a"))
    ]


# --- questions -------------------------------------------------------------------------------------

DOCUMENTED = '''def area(radius):
    """The surface that a circle covers. In square metres.

    More is not said.
    """
    # pi is near enough here
    return 3.14 * radius ** 2
'''


def test_a_function_is_asked_for_by_its_first_sentence_which_is_hidden():
    (probe,) = probes(rows(DOCUMENTED), 10)
    assert probe.query == "The surface that a circle covers"
    assert "surface" not in probe.hidden.text and "3.14 * radius" in probe.hidden.text
    assert probe.hidden.title == probe.row["title"]


def test_one_without_a_docstring_is_asked_for_by_its_longest_comment():
    text = "def wait(n):\n    # not yet\n    # sleep until the other side answers\n    sleep(n)\n    go()\n"
    (probe,) = probes(rows(text), 10)
    assert probe.query == "sleep until the other side answers"
    assert "other side" not in probe.hidden.text and "not yet" in probe.hidden.text


def test_other_languages_ask_too():
    text = "package a\n\n// Sum adds all of the numbers.\nfunc Sum(n []int) int {\n\tt := 0\n\treturn t\n}\n"
    (probe,) = probes(rows(text, "go"), 10)
    assert probe.query.startswith("Sum adds all of the numbers")
    assert "adds" not in probe.hidden.text
    chinese = "def f(a):\n    # 计算两个日期之间的天数\n    b = a + 1\n    return b\n"
    assert [probe.query for probe in probes(rows(chinese), 10)] == ["计算两个日期之间的天数"]


def test_what_says_nothing_is_not_asked_for():
    bare = "def f(a):\n    b = a\n    return b\n"
    short = 'def g(a):\n    """Do it."""\n    b = a\n    return b\n'
    code = "def h(a):\n    # b = [x for x in range(10)]; print(b[0])\n    b = a\n    return b\n"
    assert probes(rows(bare) + rows(short) + rows(code), 10) == []


# --- the weight ------------------------------------------------------------------------------------


def called(i: int) -> str:
    return f"z{chr(97 + i // 26)}{chr(97 + i % 26)}z"


class Knowing(WordEmbedder):
    """Knows that the thing with name n is done by the code that returns n; `knows` False: knows nothing."""

    def __init__(self, knows: bool) -> None:
        super().__init__(f"knowing {knows}")
        self._knows = knows

    def encode_document(self, inputs, **_):
        return np.stack([self._vector(text) for text in inputs])

    encode_query = encode_document

    def _vector(self, text: str) -> np.ndarray:
        found = [i for i in range(COUNT) if called(i) in text or f"return {i}\n" in f"{text}\n"]
        seed = found[-1] if found and self._knows else abs(hash(text)) % 2**31
        vector = np.random.default_rng(seed).standard_normal(self.dim)
        return (vector / np.linalg.norm(vector)).astype(np.float32)


def write(folder: Path, count: int = COUNT) -> Path:
    folder.mkdir(exist_ok=True)
    for i in range(count):
        # By its words, each second one is the one after it.
        said = f'"""Thing {called(i)} is done here, near {called((i + i % 2) % count).upper()}X."""'
        lines = f"    {called(i).upper()}X = {i}\n    b = a\n    return {i}\n"
        (folder / f"m{i}.py").write_text(f"def f{i}():\n    {said}\n{lines}")
    return folder


def test_a_strong_embedder_counts_more_than_a_weak_one(tmp_path):
    folder = write(tmp_path / "repo")
    found = {}
    for knows in (True, False):
        index = CodeIndex.open(folder, tmp_path / f"index-{knows}", Knowing(knows))
        index.update()
        found[knows] = index.trust()
    assert found[True].on == found[False].on == "it"
    assert found[True].probes == COUNT
    assert found[True].vector > 2.0 > 1.2 > found[False].vector


def test_it_is_measured_once_and_again_when_the_index_has_doubled(tmp_path, monkeypatch):
    asked = []
    measure = trust.trust_in
    monkeypatch.setattr("lingxi.apps.code.index.trust_in", lambda *args: asked.append(1) or measure(*args))
    folder = write(tmp_path / "repo", 20)
    index = CodeIndex.open(folder, tmp_path / "index", WordEmbedder())
    index.update()
    index.update()
    write(folder, 30)
    index.update()
    assert len(asked) == 1
    write(folder, 45)
    index.update()
    assert len(asked) == 2


def test_a_small_repository_that_says_nothing_goes_by_the_shipped_weight(tmp_path):
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "a.py").write_text("def f(a):\n    return a\n")
    index = CodeIndex.open(tmp_path / "repo", tmp_path / "index", WordEmbedder())
    index.update()
    assert (index.trust().on, index.trust().vector) == ("", WEIGHTS["words"].vector)
    assert index.search("the first a").hits


def test_a_large_one_goes_by_the_source_of_the_package_which_is_measured_once(tmp_path):
    folder = tmp_path / "repo"
    folder.mkdir()
    text = "".join(f"def f{i}(a):\n    b = a\n    return b\n" for i in range(210))
    (folder / "a.py").write_text(text)
    embedder = WordEmbedder()
    for place in ("one", "two"):
        index = CodeIndex.open(folder, tmp_path / place / "index", embedder)
        (tmp_path / place).mkdir(exist_ok=True)
        index.update()
        assert index.trust().on == "lingxi"
        assert index.trust().probes >= trust.FEWEST
    before = embedder.embedded
    CodeIndex.open(folder, tmp_path / "one" / "third", embedder).update()
    assert embedder.embedded == before + 210


def test_a_torn_measurement_is_none(tmp_path):
    (tmp_path / trust.FILE).write_text('{"vector": 1.0')
    assert trust.read_trust(tmp_path) is None
    assert trust.read_trust(tmp_path / "nowhere") is None


def test_only_words_go_by_the_measured_weight():
    assert weights_for("words", 4.0).vector == 4.0
    assert weights_for("code", 4.0) == WEIGHTS["code"]


@given(st.dictionaries(st.sampled_from(trust.TRIED), st.floats(0, 100), min_size=1))
def test_the_middle_lies_among_the_weights_tried(found):
    assert min(found) - 0.01 <= trust.middle(found, 1.0) <= max(found) + 0.01


def test_a_clear_best_is_chosen_and_a_plateau_is_halved():
    assert trust.middle({0.5: 10.0, 1.0: 30.0, 2.0: 50.0, 4.0: 40.0}, 1.0) == 2.0
    assert trust.middle({1.0: 50.0, 4.0: 51.2, 9.0: 20.0}, 1.0) == 2.0


# --- old indexes -----------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, env=plain)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q")
    for i in range(4):
        (folder / "a.py").write_text(f"def f{i}(a):\n    return a + {i}\n")
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", f"{i}")
        git(folder, "tag", f"t{i}")
    return folder


def test_the_commits_searched_last_are_kept(history, tmp_path, capsys):
    index = CodeIndex.open(history, tmp_path / "index", WordEmbedder())
    index.update()
    for i, tag in enumerate(("t0", "t1", "t2")):
        index.update(tag)
        used = next(iter(set((tmp_path / "index").glob("tree-*/used"))))
        assert used.exists(), i
    stamps = {tag: index._tree(tag)[1] / "used" for tag in ("t0", "t1", "t2")}
    for number, tag in enumerate(("t1", "t2", "t0")):
        os.utime(stamps[tag], (number, number))
    faces = Faces(lambda name: WordEmbedder(), lambda name: None)
    options = ["--index", str(tmp_path / "index"), "--keep", "1", "--json"]
    assert run(["code", "prune", str(history), *options], faces) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["removed"], done["kept"]) == (2, 1) and done["bytes"] > 1000
    again = CodeIndex.open(history, tmp_path / "index", WordEmbedder())
    assert again.search("f0", at="t0").hits and again.search("f3").hits
    assert not stamps["t1"].parent.exists()


def test_an_update_leaves_no_more_than_the_limit_and_spares_its_own(history, tmp_path, monkeypatch):
    monkeypatch.setattr("lingxi.apps.code.index.KEPT", 2)
    index = CodeIndex.open(history, tmp_path / "index", WordEmbedder())
    for tag in ("t0", "t1", "t2", "t3"):
        index.update(tag)
    left = list((tmp_path / "index").glob("tree-*"))
    assert len(left) == 2 and index._tree("t3")[1] in left


def test_nothing_below_zero_is_kept(history, tmp_path):
    with pytest.raises(InputError, match="keep is -1"):
        CodeIndex.open(history, tmp_path / "index", WordEmbedder()).prune(-1)
    assert prune(tmp_path / "nowhere", 0).removed == 0
