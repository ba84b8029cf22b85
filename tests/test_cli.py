"""The command line: what a person sees, what a pipe gets, and one line for every mistake."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lingxi.cli import run
from lingxi.cli.faces import LAZY, Faces
from lingxi.cli.show import printable
from stand_in import DIM, WordEmbedder, WordReranker

STAND_IN = Faces(lambda name: WordEmbedder(name or "stand-in"), lambda name: WordReranker())
SCRIPT = Path(__file__).parent / "stand_in.py"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LINGXI_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "garden.md").write_text(
        "# Garden\n\nTomatoes need sun.\n\n## Water\n\nWater at night. Not at noon.\n"
    )
    (docs / "code.py").write_text("def first():\n    return 1\n\n\ndef second():\n    return 2\n")
    (docs / "image.png").write_bytes(b"\0\1")
    return docs


def cli(*arguments: object) -> int:
    return run([str(a) for a in arguments], STAND_IN)


def test_search_prints_place_score_and_the_marked_sentence(folder, capsys):
    assert cli("search", "water at night", "docs") == 0
    out, err = capsys.readouterr()
    assert out.startswith("docs/garden.md:7  0.033\n")
    assert "»Water at night.« Not at noon." in out
    assert err == ""
    assert sorted(p.name for p in folder.iterdir()) == ["code.py", "garden.md", "image.png"]


def test_search_as_json(folder, capsys):
    assert cli("search", "water at night", "docs", "--json", "-k", 2) == 0
    found = json.loads(capsys.readouterr().out)
    hit = found["hits"][0]
    text = (folder / "garden.md").read_text()
    assert len(found["hits"]) == 2
    assert text[hit["start"] : hit["end"]] == hit["text"]
    assert (
        text[hit["sentence"]["start"] : hit["sentence"]["end"]]
        == hit["sentence"]["text"]
        == "Water at night."
    )
    assert found["index"]["added"] == 2
    assert found["index"]["skipped"] == [{"path": "docs/image.png", "reason": "binary"}]


def test_a_second_search_writes_nothing_and_only_a_named_reranker_is_asked(folder, capsys):
    assert cli("search", "sun", "docs", "--json", "--reranker", "some") == 0
    assert cli("search", "sun", "docs", "--json") == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert second["index"]["unchanged"] == 2
    assert "rerank" in first["hits"][0]["scores"]
    assert "rerank" not in second["hits"][0]["scores"]


def test_a_long_passage_is_cut_around_its_sentence(folder, capsys):
    body = "".join(f"    line_{i} = {i}\n" for i in range(40))
    (folder / "long.py").write_text(f"def long():\n{body}    needle = haystack\n{body}")
    assert cli("search", "needle haystack", "docs", "-k", 1, "--lines", 3) == 0
    out = capsys.readouterr().out
    assert out.startswith("docs/long.py:42 ")
    assert "»needle = haystack«" in out
    assert out.count("…") == 2
    assert len(out.strip().split("\n")) == 6


def test_options_that_do_not_go_together_are_refused(folder, capsys):
    assert cli("search", "sun", "docs", "--documents", "--around", 2) == 2
    assert "--around" in capsys.readouterr().err


def test_escapes_are_stripped_from_what_is_shown(folder, capsys):
    text = "Danger \x1b[31mred\x1b[0m \x1b]0;title\x07zone \x9b2J\u202eevil [bold]kept[/bold].\r\n"
    (folder / "bad.txt").write_bytes(text.encode())
    assert cli("search", "danger zone", "docs/bad.txt") == 0
    out = capsys.readouterr().out
    assert "»Danger red zone evil [bold]kept[/bold].«" in out
    assert not set(out) & set("\x1b\x07\x9b\u202e\r")
    assert cli("search", "danger zone", "docs/bad.txt", "--json") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert json.loads(out)["hits"][0]["text"] == text.rstrip()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b(Bx", "x"),
        ("\x1b[1;31;40mx\x1b[m", "x"),
        ("\x1b]8;;http://a\x1b\\x", "x"),
        ("\x1b", ""),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


def test_index_add_search_stats_remove(folder, capsys):
    assert cli("index", "add", "my.index", "docs") == 0
    out = capsys.readouterr().out
    assert out.startswith("2 added, 0 changed, 0 unchanged, 0 removed, 1 skipped in ")
    assert "skipped docs/image.png: binary" in out
    assert cli("index", "search", "my.index", "tomatoes", "--json") == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["path"] == "docs/garden.md"
    assert cli("index", "stats", "my.index", "--json") == 0
    stats = json.loads(capsys.readouterr().out)
    assert (stats["files"], stats["skipped"], stats["model"]["name"]) == (2, {"binary": 1}, "stand-in")
    assert cli("index", "stats", "my.index") == 0
    assert "binary 1" in capsys.readouterr().out
    assert cli("index", "remove", "my.index", "docs/code.py", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"removed": 1}
    assert cli("index", "remove", "my.index", "docs/code.py") == 1
    assert cli("search", "tomatoes", "docs", "--index", "my.index") == 0


def test_nothing_found_is_told_apart(folder, capsys):
    assert cli("index", "add", "my.index", "docs/code.py") == 0
    assert cli("index", "remove", "my.index", "docs") == 0
    capsys.readouterr()
    assert cli("index", "search", "my.index", "tomatoes") == 1
    assert capsys.readouterr().err == "nothing found\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", "x", "nowhere"], ["nowhere", "no such file or folder", "check"]),
        (["search", "x", "empty"], ["empty", "no files to index", "name a folder"]),
        (["search", " ", "docs"], ["query is empty"]),
        (["search", "x", "docs", "-k", "0"], ["top_k is 0", "choose 1"]),
        (["search", "x", "docs", "--index", "docs"], ["docs", "not an index"]),
        (["search", "x"], ["PATH"]),
        (["search", "x", "docs", "--nope"], ["--nope"]),
        (["index", "search", "nowhere", "x"], ["nowhere", "no index there", "index add"]),
        (["index", "stats", "nowhere"], ["no index there"]),
        (["index", "add", "my.index", "nowhere"], ["no such file"]),
        (["index", "add", "made.index", "docs", "--model", "other"], ["'stand-in'", "'other'", "rebuild"]),
        (["embed", "--file", "nowhere"], ["nowhere", "cannot be read"]),
        (["embed", "x", "--out", "a.txt"], ["not a .npy"]),
        (["rerank", "x", "--file", "empty.txt"], ["no documents"]),
        (["run", "nowhere.toml"], ["nowhere.toml", "no such recipe"]),
        (["models", "show", "nowhere"], ["unknown model 'nowhere'"]),
        (["models", "nowhere"], ["unknown model 'nowhere'"]),
        (["check", "nowhere"], ["unknown model 'nowhere'"]),
    ],
)
def test_every_mistake_is_one_line_and_exit_2(folder, capsys, arguments, words):
    (folder.parent / "empty").mkdir()
    (folder.parent / "empty.txt").touch()
    assert cli("index", "add", "made.index", "docs") == 0
    capsys.readouterr()
    assert cli(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert not (folder.parent / "my.index").exists()


def test_embed_prints_json_lines_or_writes_an_array(embedder_directory, tmp_path, capsys):
    model = ["--model", str(embedder_directory)]
    assert run(["embed", "one", "two", *model, "--dim", "32"], LAZY) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in lines] == ["one", "two"]
    assert np.linalg.norm(lines[0]["embedding"]) == pytest.approx(1, abs=1e-5)
    assert len(lines[0]["embedding"]) == 32

    (tmp_path / "in.txt").write_text("one\ntwo\nthree\n")
    out = tmp_path / "out.npy"
    assert (
        run(["embed", "--file", str(tmp_path / "in.txt"), "--out", str(out), "--precision", "int8", *model])
        == 0
    )
    assert np.load(out).shape == (3, 64)
    assert np.load(out).dtype == np.int8
    capsys.readouterr()
    assert run(["embed", "one", "--query", "--json", *model]) == 0
    assert json.loads(capsys.readouterr().out)["embedding"] != lines[0]["embedding"]


def test_rerank_orders_documents(capsys):
    assert cli("rerank", "red apple", "green pear", "red apple pie", "-k", 1) == 0
    assert capsys.readouterr().out == "1.0000  red apple pie\n"
    assert cli("rerank", "red apple", "green pear", "red apple pie", "--json") == 0
    assert [r["corpus_id"] for r in json.loads(capsys.readouterr().out)["results"]] == [1, 0]


# The toys are short, some golden texts are not.
@pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning")
@pytest.mark.parametrize("kind", ["embedder", "reranker"])
def test_models_are_described_exported_and_checked(request, kind, tmp_path, capsys):
    source = str(request.getfixturevalue(f"{kind}_directory"))
    assert run(["models", source, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert (described["kind"], described["dim"]) == (kind, 64)
    out = str(tmp_path / "copy")
    assert run(["models", "export", source, out]) == 0
    assert out in capsys.readouterr().out
    assert run(["check", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    assert run(["models", "export", source, out]) == 2


def test_a_real_model_searches(embedder_directory, reranker_directory, folder, capsys):
    models = ["--model", str(embedder_directory), "--reranker", str(reranker_directory)]
    assert run(["search", "water at night", "docs", "--json", *models], LAZY) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["hits"][0]["scores"]["rerank"] < 1


def test_help_names_every_verb(capsys):
    assert cli("--help") == 0
    out = capsys.readouterr().out
    for verb in ("search", "embed", "rerank", "index", "models", "check", "run"):
        assert verb in out


def test_the_command_line_is_imported_without_heavy_libraries():
    program = "import sys, lingxi.cli; print({'torch', 'lancedb', 'pyarrow', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_ctrl_c_ends_with_130_and_leaves_the_index_whole(folder, capsys):
    for number in range(300):
        (folder / f"{number}.txt").write_text(f"Text number {number}.\n" * 3)
    environment = {**os.environ, "STAND_IN_SECONDS": "0.05"}
    command = [sys.executable, str(SCRIPT), "index", "add", "my.index", "docs"]
    # A shell's background jobs ignore the signal, and what they start inherits that.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    ) as child:
        deadline = time.monotonic() + 300
        # The second commit of rows: versions 1 and 2 are the table and its text index.
        while len(list(Path("my.index").rglob("*.manifest"))) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=300)
    assert child.returncode == 130, err
    assert err == "interrupted; what was committed is kept\n"
    assert cli("index", "add", "my.index", "docs", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["unchanged"] > 0
    assert report["added"] > 0
    assert report["unchanged"] + report["added"] == 302
    assert DIM == 64
