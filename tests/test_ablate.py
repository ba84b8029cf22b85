"""Ablations: what can be taken away is, the data is shared, and one table stands at the end."""

from pathlib import Path

import pytest

from lingxi import ablate
from lingxi.errors import RecipeError
from lingxi.evaluate.report import Score

TINY = Path(__file__).parent.parent / "recipes" / "tiny.toml"
# As short as the phases can be.
SHORT = [
    *(f"train.{phase}.steps=2" for phase in ("lexicon", "weak", "language")),
    "train.supervised.steps=4",
    *(f"train.{phase}.warmup_steps=0" for phase in ("lexicon", "weak", "supervised", "language")),
    "train.language.batch_tokens=128",
]


def test_a_recipe_that_measures_nothing_is_refused():
    with pytest.raises(RecipeError, match=r"no table \[train\] or \[evaluate\]"):
        ablate.ablate(TINY)


def test_the_table_has_a_line_a_set_and_a_column_a_variant():
    def score(name: str, system: str, value: float, language: str) -> Score:
        return Score(name, language, system, "ndcg@10", value, value - 0.1, value + 0.1, 10)

    scores = [
        score(name, system, value, language)
        for name in ("one", "two")
        for language in ("mean of 2", "de")
        for system, value in (("weak only", 0.5), ("all", 0.625))
    ]
    table = ablate._table(["weak only", "all"], scores).splitlines()
    assert table[0] == "| set | metric | weak only | all |"
    assert table[2] == "| one (mean of 2) | ndcg@10 | 50.0 [40.0, 60.0] | 62.5 [52.5, 72.5] |"
    assert len(table) == 4, "a set in many languages has one line"


def test_variants_read_the_runs_own_data(tmp_path):
    (tmp_path / "run" / "3-curate").mkdir(parents=True)
    (tmp_path / "run" / "3-curate" / "pairs.parquet").write_text("pairs")
    ablate._share(tmp_path / "run", tmp_path / "run" / "ablation" / "no-weak")
    ablate._share(tmp_path / "run", tmp_path / "run" / "ablation" / "no-weak")
    shared = tmp_path / "run" / "ablation" / "no-weak" / "3-curate" / "pairs.parquet"
    assert shared.read_text() == "pairs"
    assert not (shared.parent.parent / "1-collect").exists()


@pytest.mark.slow
def test_a_tiny_life_is_taken_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(TINY.parent.parent)
    suite = tmp_path / "tiny" / "4-train" / "held-out" / "suite.toml"
    told: list[str] = []
    overrides = [
        *SHORT,
        f"evaluate.suite={suite}",
        f"evaluate.cache={tmp_path / 'cache'}",
        "evaluate.beside=[]",
    ]
    table = ablate.ablate(TINY, overrides, runs=tmp_path, say=told.append)
    head, _, row = table.read_text(encoding="utf-8").splitlines()
    assert head == "| set | metric | weak only | no merge | no weak | all |"
    assert row.count("[") == 4
    again = [line for line in told if "collect: unchanged" in line]
    assert len(again) == 1, "the variant collects nothing"
