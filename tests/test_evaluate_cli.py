"""`lingxi evaluate`, `gate` and `claim`: what a person gets, and the exit code a pipeline gets."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lingxi.cli import run
from lingxi.evaluate import results

BENCHMARK = Path(__file__).parent / "data" / "benchmark"
FEW = ("--sets", "cosqa,tatoeba", "--root", BENCHMARK)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cli(*arguments: object) -> int:
    return run([str(a) for a in (*arguments, "--cache", "cache")])


def test_a_table_and_a_page(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("evaluate", "bm25", "tfidf", *FEW) == 0
    out, err = capsys.readouterr()
    assert out.startswith("| set | language | metric |") and "| TF-IDF |" in out
    assert "evaluation/report.html, in" in out and "[4/4] cosqa: TF-IDF" in err
    assert (here / "evaluation" / "report.html").stat().st_size > 10_000


def test_scores_as_json(embedder_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("evaluate", embedder_directory, *FEW, "--set", "queries=1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {score["system"] for score in found["scores"]} == {"toy-embedder", "BM25"}
    assert {score["n"] for score in found["scores"] if score["set"] == "cosqa"} == {1}


def test_own_files_are_asked_about(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs = here / "docs"
    docs.mkdir()
    said = {"tea": "Leaves are dried in the sun and rolled by hand before they are sold. "}
    said["rain"] = "Clouds that rise over mountains cool until drops fall on the valley. "
    for name, sentence in said.items():
        body = sentence * 3
        (docs / f"{name}.md").write_text(f"# All there is to know of {name}\n\n{body}\n")
    assert cli("evaluate", "bm25", "--corpus", docs) == 0
    out, err = capsys.readouterr()
    assert "| own-drawn | en | ndcg@10 | BM25 |" in out
    assert "queries drawn from headings" in err
    (here / "q.jsonl").write_text(json.dumps({"query": "dried leaves", "path": "tea.md"}) + "\n")
    assert cli("evaluate", "bm25", "--corpus", docs, "--queries", "q.jsonl", "--out", "given") == 0
    assert "| own-given | en | ndcg@10 | BM25 | 100.0 |" in capsys.readouterr().out


def spoiled(folder: Path, out: Path, language: str) -> Path:
    """An evaluation whose items of one language are all wrong."""
    out.mkdir()
    table = pq.read_table(folder / results.RESULTS)
    wrong = [of == language for of in table.column("language").to_pylist()]
    values = np.where(wrong, 0.0, table.column("value").to_numpy())
    at = table.column_names.index("value")
    pq.write_table(table.set_column(at, "value", pa.array(values)), out / results.RESULTS)
    (out / results.ITEMS).write_bytes((folder / results.ITEMS).read_bytes())
    return out


def many_translations(folder: Path) -> Path:
    """Sixty sentences in two languages, each its own translation, so that BM25 finds all."""
    rows = [
        {"l": lang, "a": f"word{i} {lang}", "b": f"word{i}"} for lang in ("deu", "swh") for i in range(60)
    ]
    folder.mkdir()
    (folder / "bitext_tatoeba.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_gate_blocks_by_exit_code_and_names_the_language(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = many_translations(here / "data")
    assert cli("evaluate", "bm25", "--sets", "tatoeba", "--root", root, "--out", "old") == 0
    new = spoiled(here / "old", here / "new", "swh")
    capsys.readouterr()
    assert cli("gate", "old", new) == 1
    out = capsys.readouterr().out
    assert out.startswith("blocked: ") and "language swh has dropped: -100.00 points" in out
    assert "language deu has" not in out
    assert cli("gate", "old", "old", "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "passes"


def test_the_gate_refuses_what_is_not_alike(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = many_translations(here / "data")
    for out, more in (("a", ()), ("b", ("--set", "seed=1")), ("c", ())):
        assert cli("evaluate", "bm25", "--sets", "tatoeba", "--root", root, "--out", out, *more) == 0
        if out == "b":
            path = root / "bitext_tatoeba.jsonl"
            path.write_text(path.read_text() + json.dumps({"l": "fra", "a": "mot", "b": "word"}) + "\n")
    assert cli("gate", "a", "b") == 2
    assert "data or sampling differ" in capsys.readouterr().err
    (here / "a" / "sets.json").unlink()
    assert cli("gate", "a", "c") == 2
    assert "only one has tatoeba fra" in capsys.readouterr().err


def test_the_gate_measures_two_systems_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("gate", "tfidf", "bm25", *FEW) in (0, 1)
    assert capsys.readouterr().out.startswith(("passes", "undecided", "blocked"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evaluate", "bm25", "--root", "nowhere"), "no file or folder at nowhere"),
        (("evaluate", "bm25"), "give --root"),
        (("evaluate", "bm25", *FEW, "--suite", "nothing"), "no suite 'nothing'"),
        (("evaluate", "bm25", "--sets", "nosuch", "--root", BENCHMARK), "no set 'nosuch'"),
        (("evaluate", "nosuchmodel", *FEW), "nosuchmodel"),
        (("evaluate", "bm25@7:int9", *FEW), "unknown precision 'int9'"),
        (("evaluate", "bm25", "--queries", "q.jsonl", *FEW), "go with --corpus"),
        (("evaluate", "bm25", *FEW, "--published", "none.csv"), "no file at none.csv"),
        (("gate", "bm25", "tfidf", *FEW, "--confidence", "2"), "choose 0 to 1"),
        (("claim", "bigger"), "choose one of: widths"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    arguments: tuple[object, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(*arguments) == 2
    out, err = capsys.readouterr()
    assert words in err.splitlines()[-1] and "Traceback" not in err, err
    assert out == ""
