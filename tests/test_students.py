"""What a student keeps: ratios of means by hand, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from lingxi.evaluate.results import ITEMS, RESULTS, schema, write_sources
from students import Kept, main, paired, summary, table

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402

TEACHER = {"squad": [1.0, 0.5, 0.0, 1.0], "tatoeba": [1.0, 1.0]}
STUDENT = {"squad": [0.5, 0.5, 0.0, 1.0], "tatoeba": [1.0, 0.0]}


def write_run(out: Path, systems: dict[str, dict[str, list[float]]]) -> Path:
    """A finished evaluation, as its own files."""
    out.mkdir()
    like = {"task": "task", "language": "en", "gold": None, "found": [], "top": ""}
    rows = [
        {
            **like,
            "set": name,
            "task": "task",
            "system": system,
            "metric": metric,
            "item": str(i),
            "value": value,
        }
        for system, sets in systems.items()
        for name, values in sets.items()
        for metric, scale in (("ndcg@10", 1.0), ("mrr@10", 0.1))
        for i, value in enumerate(scale * np.array(values))
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema()), out / RESULTS)
    items = [{"set": r["set"], "language": "en", "item": r["item"], "length": "short"} for r in rows]
    pq.write_table(pa.Table.from_pylist(items), out / ITEMS)
    write_sources(out, {"squad": "a", "tatoeba": "b"})
    return out


def test_kept_is_the_ratio_of_the_means_of_the_main_metric(tmp_path):
    run = write_run(tmp_path / "run", {"T": TEACHER, "S": STUDENT})
    lines = {line.name: line for line in summary(paired(f"{run}:T", f"{run}:S", [], []))}
    assert lines["squad"].kept == pytest.approx(2.0 / 2.5)
    assert lines["tatoeba"].kept == pytest.approx(0.5)
    assert lines["mean of sets"].kept == pytest.approx((0.5 + 0.5) / (0.625 + 1.0))
    assert lines["all items"].kept == pytest.approx(3.0 / 4.5)
    assert lines["squad"].low <= lines["squad"].kept <= lines["squad"].high


def test_a_student_that_is_its_teacher_keeps_all_without_a_doubt():
    values = np.random.default_rng(0).random(50)
    for line in summary({"set": np.stack((values, values), axis=1)}):
        assert (line.kept, line.low, line.high) == (1.0, 1.0, 1.0)  # paired: no item is drawn for one alone


def test_runs_are_read_from_two_folders_and_the_table_is_shown(tmp_path, capsys):
    one = write_run(tmp_path / "one", {"T": TEACHER})
    two = write_run(tmp_path / "two", {"S": STUDENT})
    main([str(one), str(two), "--sets", "squad"])
    shown = capsys.readouterr().out
    assert "| squad | 4 | 62.5 | 50.0 | 80.0 [" in shown and "tatoeba" not in shown
    assert "nan" in table([Kept("none", 3, 0.0, 0.1, float("nan"), float("nan"), float("nan"))])


def test_other_items_and_missing_runs_are_refused(tmp_path):
    one = write_run(tmp_path / "one", {"T": TEACHER})
    two = write_run(tmp_path / "two", {"S": {**STUDENT, "tatoeba": [1.0]}})
    for runs, told in (([one, two], "not measured on the same items"), ([one, tmp_path], "lingxi evaluate")):
        with pytest.raises(SystemExit) as refused:
            main([str(run) for run in runs])
        assert told in str(refused.value)
    with pytest.raises(SystemExit, match="no set is left"):
        main([str(one), str(one), "--sets", "other"])
