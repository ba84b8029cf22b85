"""The ledger: every row counted once, as a table, a plot and JSON."""

import json
from pathlib import Path

import pytest

from lingxi import life
from lingxi.cli import run
from lingxi.curate import CurateSettings, curate_pairs
from lingxi.curate.ledger import as_markdown, plot, read_ledger
from lingxi.errors import InputError
from lingxi.records import write_pairs
from test_curate import pair
from test_sources import PYTHON

ROWS = [
    pair("Der Hund schläft tief.", "The dog is fast asleep."),
    pair("Der Hund schläft tief.", "The dog is fast asleep."),
    pair("Mbwa amelala usingizi.", "The dog is asleep.", query_language="sw"),
    pair("x", "y", query_language="sw", licence="CC BY-NC"),
]


@pytest.fixture
def curated(tmp_path: Path) -> Path:
    write_pairs(ROWS, tmp_path / "pairs.parquet")
    curate_pairs(CurateSettings(), tmp_path / "pairs.parquet", tmp_path / "run" / "3-curate")
    return tmp_path / "run"


def test_every_row_is_counted_once(curated: Path) -> None:
    report = read_ledger(curated / "3-curate" / "ledger.json")
    assert (report.total.rows, report.total.kept) == (4, 2)
    assert report.total.dropped == {"duplicate": 1, "licence not allowed: CC BY-NC": 1}
    for table in (report.by_source, report.by_language, report.by_task):
        assert sum(own.rows for own in table.values()) == 4
        assert all(own.rows == own.kept + sum(own.dropped.values()) for own in table.values())
    text = as_markdown(report)
    assert text == (curated / "3-curate" / "ledger.md").read_text("utf-8")
    assert "# 4 rows in, 2 kept" in text and "| sw | 2 | 1 | licence not allowed: CC BY-NC 1 |" in text


def test_a_source_has_all_licences_of_its_rows(tmp_path: Path) -> None:
    licences = ["MIT", "Apache-2.0", "MIT", "GPL-2+"]
    rows = [
        pair(f"Satz mit der Nummer {i}", f"Sentence number {i}", licence=name)
        for i, name in enumerate(licences)
    ]
    rows += [
        pair(f"Zeile {i} von vielen", f"line {i} of many", source="many", licence=f"BSD-{i}-Clause")
        for i in range(10)
    ]
    rows.append(pair("Alles verboten hier", "all is denied here", source="denied", licence="MSR"))
    write_pairs(rows, tmp_path / "pairs.parquet")
    found = curate_pairs(CurateSettings(), tmp_path / "pairs.parquet", tmp_path / "out").licences
    # What was dropped trains nothing, and its licence stands in the reason.
    assert found["made"] == "MIT; Apache-2.0" and found["denied"] == "MSR"
    assert found["many"].startswith("BSD-0-Clause; BSD-1-Clause") and found["many"].endswith("; and 2 more")


def test_the_plot_names_languages_and_reasons(curated: Path) -> None:
    drawn = plot(read_ledger(curated / "3-curate" / "ledger.json"))
    assert drawn.startswith("<?xml") and drawn == plot(read_ledger(curated / "3-curate" / "ledger.json"))


def test_the_verb(curated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ledger", str(curated), "--plot", str(curated / "l.svg"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["kept"] == 2
    assert (curated / "l.svg").stat().st_size > 1000
    with pytest.raises(InputError, match="no ledger"):
        read_ledger(curated / "ledger.json")


def test_a_recipe_of_data_alone(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "sums.py").write_text(PYTHON)
    (tmp_path / "data.toml").write_text(
        f"""name = "data"
[collect]
mediawiki = "none"
cache = {str(tmp_path / "cache")!r}
[[collect.sources]]
reader = "code"
paths = [{str(tmp_path / "code")!r}]
licence = "MIT"
[curate]
"""
    )
    report = life.run(tmp_path / "data.toml", runs=tmp_path / "runs")
    assert list(report["stages"]) == ["collect", "curate"]
    assert report["stages"]["curate"]["total"]["kept"] == report["stages"]["collect"]["rows"] >= 1
