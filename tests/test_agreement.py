"""Agreement: wrong pairs fall where the base can judge, none where it cannot; scores by their formulas."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingxi.curate import CurateSettings, curate_pairs
from lingxi.curate.agreement import (
    AgreementSettings,
    area,
    calibrated,
    difficulty,
    diversity,
    diversity_score,
    judge,
    margins,
    overlap_of,
)  # fmt: skip
from lingxi.curate.judged import grouped
from lingxi.records import read_pairs, write_pairs
from test_curate import pair


def encode(texts: Sequence[str], instruction: str | None) -> np.ndarray:
    """Vectors of the number a text ends with: sides with the same number mean the same."""
    found = [np.random.default_rng(int(text.split()[-1])).standard_normal(64) for text in texts]
    return np.array([v / np.linalg.norm(v) for v in found], np.float32)


def blind(texts: Sequence[str], instruction: str | None) -> np.ndarray:
    """Vectors of the letters: they know nothing of meaning."""
    seeds = [int(hashlib.md5(text.encode()).hexdigest()[:8], 16) for text in texts]
    found = [np.random.default_rng(seed).standard_normal(64) for seed in seeds]
    return np.array([v / np.linalg.norm(v) for v in found], np.float32)


ROWS = [pair(f"Satz {i}", f"sentence {i}" if i % 10 else f"wrong {i + 500}") for i in range(200)]


def test_wrong_pairs_fall_where_the_base_can_judge() -> None:
    scored = judge(ROWS, encode, AgreementSettings())
    assert scored.stratum.threshold is not None and scored.stratum.auc > 0.9
    wrong = np.arange(200) % 10 == 0
    assert not scored.agrees[wrong].any() or scored.agrees[wrong].mean() <= 0.1
    assert scored.agrees[~wrong].all()
    assert scored.stratum.below == int((~scored.agrees).sum())


def test_nothing_falls_where_it_cannot() -> None:
    scored = judge(ROWS, blind, AgreementSettings())
    assert scored.stratum.threshold is None and scored.agrees.all() and scored.stratum.below == 0


def test_a_wrong_answer_has_a_rival_and_a_repeated_question_a_twin() -> None:
    rows = [pair(f"Satz {i}", f"sentence {i}") for i in range(60)]
    rows[1] = pair("Satz 0", "sentence 1", group="another")
    scores = judge(rows, encode, AgreementSettings()).scores
    assert scores["twin"][0] == pytest.approx(1, abs=1e-5) and np.median(scores["twin"]) < 0.9
    assert scores["rival"][1] > 0.1 and np.median(scores["rival"]) < 0


def test_margins_by_the_slow_formula() -> None:
    rng = np.random.default_rng(0)
    similar = rng.uniform(-1, 1, (7, 7))
    found = margins(similar, np.arange(7))
    for i in range(7):
        x = np.mean(sorted(similar[i], reverse=True)[:4])
        y = np.mean(sorted(similar[:, i], reverse=True)[:4])
        assert found[i] == pytest.approx(similar[i, i] / max((x + y) / 2, 1e-6))


def test_the_area_counts_ties_half() -> None:
    assert area(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert area(np.array([1.0]), np.array([1.0, 0.0])) == 0.75


def test_difficulty_rises_with_near_negatives_and_other_words() -> None:
    rows = [pair("a b", "a b"), pair("c d", "x y"), pair("e f", "g h")]
    overlap = np.array([overlap_of(row) for row in rows])
    assert overlap.tolist() == [1, 0, 0]
    easy = np.eye(3)
    hard = np.where(np.eye(3) > 0, 0.5, 0.9)
    assert (difficulty(hard, rows, overlap) > difficulty(easy, rows, overlap)).all()
    assert difficulty(easy, rows, overlap)[0] == pytest.approx(0)
    assert difficulty(easy, rows, overlap)[1] == pytest.approx(0.3)


def test_diversity_of_rows_and_sets() -> None:
    same = np.tile([[1.0, 0.0, 0.0]], (6, 1))
    apart = np.eye(6)
    assert diversity(same).tolist() == pytest.approx([0] * 6) and (diversity(apart) == 1).all()
    assert diversity_score(same) == pytest.approx(1) and diversity_score(apart) == pytest.approx(6)


@given(st.lists(st.integers(1, 30), max_size=20), st.integers(1, 60))
def test_strata_are_read_in_groups_of_bounded_rows(sizes: list[int], most: int) -> None:
    strata = [np.full(size, place) for place, size in enumerate(sizes)]
    groups = list(grouped(strata, most))
    assert [part[0] for group in groups for part in group] == list(range(len(sizes)))
    held = [sum(map(len, group)) for group in groups]
    assert all(rows <= most or len(group) == 1 for rows, group in zip(held, groups, strict=True))
    # No two neighbours would have fitted together.
    assert all(rows + len(after[0]) > most for rows, after in zip(held, groups[1:], strict=False))


def test_groups_change_nothing(
    tmp_path: Path, embedder_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "lingxi.embedder.Embedder.encode", lambda self, texts, instruction, **_: encode(texts, None)
    )
    rows = [
        pair(f"{code} Satz Nummer {i}", f"{code} is sentence {i}", query_language=code)
        for i in range(60)
        for code in ("de", "nl", "sv")
    ]
    write_pairs(rows, tmp_path / "pairs.parquet")
    settings = CurateSettings(agreement=AgreementSettings(model=str(embedder_directory)))
    one = curate_pairs(settings, tmp_path / "pairs.parquet", tmp_path / "one")
    monkeypatch.setattr("lingxi.curate.judged._HELD", 70)
    assert curate_pairs(settings, tmp_path / "pairs.parquet", tmp_path / "other") == one
    assert len(one.agreement) == 3
    kept = (list(read_pairs(tmp_path / name / "pairs.parquet")) for name in ("one", "other"))
    assert next(kept) == next(kept)


def test_a_run_keeps_scores_and_says_what_it_found(
    tmp_path: Path, embedder_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "lingxi.embedder.Embedder.encode", lambda self, texts, instruction, **_: encode(texts, None)
    )
    rows = [
        pair(f"Das hier ist Satz {i}", f"This is sentence {i if i % 10 else i + 500}") for i in range(120)
    ]
    write_pairs(rows, tmp_path / "pairs.parquet")
    settings = CurateSettings(agreement=AgreementSettings(model=str(embedder_directory)))
    report = curate_pairs(settings, tmp_path / "pairs.parquet", tmp_path / "out")
    (stratum,) = report.agreement
    assert (stratum.task, stratum.languages, stratum.rows) == ("bitext", "de>en", 120)
    assert report.total.dropped == {"sides disagree": stratum.below} and 10 <= stratum.below <= 14
    kept = list(read_pairs(tmp_path / "out" / "pairs.parquet"))
    assert set(kept[0].scores) == {"margin", "difficulty", "diversity", "overlap", "rival", "twin"}
    assert report.by_task["bitext"].kept == len(kept)


@given(st.integers(0, 5))
def test_only_what_is_likelier_wrong_falls(seed: int) -> None:
    rng = np.random.default_rng(seed)
    right, wrong = rng.normal(2, 1, 400), rng.normal(0, 1, 2000)
    clean = calibrated(right, wrong, AgreementSettings(least_auc=0.8, most_wrong=0.3))[1]
    assert clean is not None and (right < clean).mean() <= 0.05, "right pairs that the base likes less stay"
    mixed = np.concatenate([right, rng.normal(0, 1, 100)])
    threshold = calibrated(mixed, wrong, AgreementSettings(least_auc=0.8, most_wrong=0.3))[1]
    assert threshold is not None
    fallen = mixed < threshold
    assert fallen[400:].sum() >= fallen.sum() / 2 and fallen[400:].mean() > 0.3
    strict = calibrated(mixed, wrong, AgreementSettings(least_auc=0.8, most_wrong=0.3, sure=0.9))[1]
    assert strict is not None and strict <= threshold
