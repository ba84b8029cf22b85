"""Selection: the right count and mix, no row twice, the same for one seed, and better cover than chance."""

import json
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingxi.cli import run
from lingxi.cli.faces import Faces
from lingxi.curate.agreement import difficulty as difficulty_of
from lingxi.curate.agreement import overlap_of
from lingxi.curate.evenly import even_cap
from lingxi.curate.pool import _kinds, difficulties, pooled, select_rows
from lingxi.curate.select import SelectSettings, bands_of, coverage, ngram_diversity, quotas, select
from lingxi.errors import InputError
from lingxi.records import read_pairs, write_pairs
from stand_in import WordEmbedder
from test_curate import pair

MIX = (0.2, 0.5, 0.3)


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def planted(seed: int = 0) -> np.ndarray:
    """400 rows around 20 meanings, half of them around one."""
    rng = np.random.default_rng(seed)
    meanings = rng.standard_normal((20, 16))
    which = np.where(rng.random(400) < 0.5, 0, rng.integers(0, 20, 400))
    return unit(meanings[which] + 0.15 * rng.standard_normal((400, 16)))


def names(count: int) -> list[str]:
    return [f"row{i:04}" for i in range(count)]


mixes = st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(any).map(
    lambda parts: tuple(part / sum(parts) for part in parts)
)  # fmt: skip


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 80), mixes, st.booleans(), st.integers(0, 3))
def test_count_mix_and_no_row_twice(
    count: int, rows: int, mix: tuple[float, ...], texts: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    hard = rng.integers(0, 4, count) / 4
    points: Any = (
        [f"w{i % 7} x{i % 3}" for i in range(count)] if texts else unit(rng.standard_normal((count, 4)))
    )
    asked = SelectSettings(rows=rows, mix=mix, seed=seed)
    chosen = select(points, hard, asked, names(count))
    assert len(chosen) == len(set(chosen.tolist())) == min(rows, count)
    bands = bands_of(hard, names(count), len(mix))
    have, sizes = np.bincount(bands[chosen], minlength=len(mix)), np.bincount(bands, minlength=len(mix))
    if all(share * rows + 1 <= size for share, size in zip(mix, sizes, strict=True)):
        assert all(abs(got - share * rows) <= 1 for got, share in zip(have, mix, strict=True))


@given(mixes, st.lists(st.integers(0, 9), min_size=5, max_size=5), st.integers(1, 60))
def test_quotas_fill_up(mix: tuple[float, ...], sizes: list[int], rows: int) -> None:
    found = quotas(mix, sizes[: len(mix)], rows)
    assert sum(found) == min(rows, sum(sizes[: len(mix)]))
    assert all(0 <= got <= size for got, size in zip(found, sizes, strict=False))


def test_quotas_by_hand() -> None:
    assert quotas(MIX, [100, 100, 100], 10) == [2, 5, 3]
    assert quotas(MIX, [100, 2, 100], 10) == [3, 2, 5]
    assert quotas((1.0, 0.0), [3, 5], 6) == [3, 3]


@given(st.integers(0, 50), st.booleans())
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_rows_changes_nothing(seed: int, texts: bool) -> None:
    rng = np.random.default_rng(seed)
    vectors, hard, ids = planted()[:120], np.round(rng.random(120), 1), names(120)
    points: Any = [f"a{i % 11} b{i % 5} c{i}" for i in range(120)] if texts else vectors
    asked = SelectSettings(rows=20, seed=seed)
    first = {ids[i] for i in select(points, hard, asked, ids)}
    order = rng.permutation(120)
    mixed: Any = [points[i] for i in order] if texts else vectors[order]
    again = select(mixed, hard[order], asked, [ids[i] for i in order])
    assert {ids[order[i]] for i in again} == first


def test_coverage_is_above_chance() -> None:
    gains = []
    for seed in range(10):
        vectors, rng = planted(seed), np.random.default_rng(seed)
        chosen = select(vectors, rng.random(400), SelectSettings(rows=20, seed=seed), names(400))
        drawn = [coverage(vectors, rng.choice(400, 20, replace=False)) for _ in range(10)]
        gains.append(coverage(vectors, chosen) - max(drawn))
    # Better than the best of ten draws, and near what one row of each meaning gives.
    assert min(gains) > 0
    assert coverage(vectors, chosen) > 0.8
    assert coverage(vectors, np.arange(400)) == pytest.approx(1, abs=1e-5)


def test_words_cover_what_is_frequent_and_new() -> None:
    texts = [
        "the red dog",
        "the red dog runs",
        "the red dog sleeps",
        "a blue cat",
        "a blue cat sits",
        "zq xv",
    ]
    chosen = select(texts, np.zeros(6), SelectSettings(rows=2, mix=(1.0,)), names(6))
    kinds = {"dog" if "dog" in texts[i] else "cat" if "cat" in texts[i] else "none" for i in chosen}
    assert kinds == {"dog", "cat"}


def test_ngram_diversity_by_hand() -> None:
    assert ngram_diversity(["a b c", "d e"]) == pytest.approx(3)
    assert ngram_diversity(["a b", "A b", "a  b"]) == pytest.approx(1)
    # Shares 2/3 and 1/3.
    assert ngram_diversity(["a b", "a b", "c d"]) == pytest.approx(np.exp(np.log(3) - 2 / 3 * np.log(2)))
    assert ngram_diversity(["", "word"]) == 0 and ngram_diversity(["北京是首都"]) == pytest.approx(4)


@given(st.lists(st.text("ab ", max_size=12), max_size=12))
def test_ngram_diversity_has_its_bounds(texts: list[str]) -> None:
    found = ngram_diversity(texts)
    pairs = [p for text in texts for w in [text.split()] for p in pairwise(w)]
    assert found == 0 if not pairs else 1 - 1e-9 <= found <= len(set(pairs)) + 1e-9


def test_settings_that_make_no_sense() -> None:
    for wrong in ({"rows": 0}, {"rows": 1, "mix": (0.5, 0.6)}, {"rows": 1, "mix": ()}, {"rows": 1, "top": 1}):
        with pytest.raises(ValueError):
            SelectSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 points, 1 difficulties and 2 ids"):
        select(["a", "b"], np.zeros(1), SelectSettings(rows=1), ["a", "b"])


class Encoder(WordEmbedder):
    """Sums of a random direction a word."""

    def encode(self, texts: list[str], **_: Any) -> np.ndarray:
        self.embedded += len(texts)
        return self.encode_query(texts)


def encode(texts: Any, instruction: str | None) -> Any:
    return Encoder().encode(list(texts))


ROWS = [
    pair(f"frage {i % 9} {word}", f"answer {i % 9} {word if i % 2 else 'other'}",
         id=f"{word}{i:03}", query_language=code)
    for code, count in (("de", 300), ("sw", 20), ("ig", 5))
    for i, word in ((i, f"{code}{i % 17}") for i in range(count))
]  # fmt: skip


@pytest.fixture
def curated(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "3-curate"
    write_pairs(ROWS, folder / "pairs.parquet")
    return folder


def test_a_pool_is_even_and_bounded(curated: Path) -> None:
    rows, kept = pooled(curated / "pairs.parquet", 65, 0)
    counts = {code: sum(row.query_language == code for row in rows) for code in ("de", "sw", "ig")}
    assert kept == 325 and counts == {"de": 40, "sw": 20, "ig": 5}
    assert rows == pooled(curated / "pairs.parquet", 65, 0)[0] != pooled(curated / "pairs.parquet", 65, 1)[0]
    assert len(pooled(curated / "pairs.parquet", 2, 0)[0]) == 2


def test_difficulty_is_kept_or_measured() -> None:
    rows = [*ROWS[:6], pair("x y", "z", scores={"difficulty": 0.25})]
    found = difficulties(rows, encode([row.query for row in rows], None), encode)
    similar = np.asarray(
        encode([r.query for r in rows[:6]], None) @ encode([r.positives[0].text for r in rows[:6]], None).T
    )
    overlap = np.array([overlap_of(row) for row in rows[:6]])
    assert found[:6] == pytest.approx(difficulty_of(similar.astype(np.float64), rows[:6], overlap))
    assert found[6] == 0.25


@given(st.permutations(range(31)))
@settings(max_examples=20, deadline=None)
def test_difficulty_does_not_depend_on_the_order(order: list[int]) -> None:
    rows = [pair(f"frage {i} {i % 4}", f"answer {i} {i % 4}", id=f"r{i:02}") for i in range(31)]

    def found(places: list[int]) -> dict[str, float]:
        mixed = [rows[i] for i in places]
        values = difficulties(mixed, encode([row.query for row in mixed], None), encode)
        return {row.id: round(float(value), 5) for row, value in zip(mixed, values, strict=True)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lingxi.curate.pool._AMONG", 10)
        assert found(order) == found(list(range(31)))
        # Of 31 rows no one stands alone, without another answer to be hard.
        assert sorted(map(len, _kinds(rows, range(31)))) == [7, 8, 8, 8]


def test_steps_look_at_few_rows_to_the_end() -> None:
    vectors = unit(np.random.default_rng(0).standard_normal((20_000, 8)))
    for rows in (1, 200):
        asked = SelectSettings(rows=rows, mix=(1.0,))
        tracemalloc.start()
        assert len(select(vectors, np.zeros(20_000), asked, names(20_000))) == rows
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # All cosines to the references are 164 MB.
        assert peak < 60e6


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 9)), min_size=1, max_size=8), st.integers(0, 900)
)
def test_the_cap_is_the_largest_that_fits(sizes: list[tuple[int, float]], room: int) -> None:
    def taken(cap: int) -> float:
        return sum(min(cap, count) * size for count, size in sizes)

    cap = even_cap(sizes, room)
    assert 1 <= cap <= max(count for count, _ in sizes)
    assert cap == 1 or taken(cap) <= room
    assert cap == max(count for count, _ in sizes) or taken(cap + 1) > room


def test_a_run_s_rows_are_selected(curated: Path, tmp_path: Path) -> None:
    out = tmp_path / "chosen.parquet"
    found = select_rows(curated / "pairs.parquet", out, SelectSettings(rows=30), encode, 120)
    rows = list(read_pairs(out))
    assert found.rows == len(rows) == 30 and found.pool <= 120 and found.kept == 325
    assert found.bands == (6, 15, 9) and all(0 <= row.scores["difficulty"] <= 1 for row in rows)
    assert found.coverage is not None and found.random is not None and found.coverage > found.random
    again = select_rows(
        curated / "pairs.parquet", tmp_path / "b.parquet", SelectSettings(rows=30), encode, 120
    )
    assert again == found and list(read_pairs(tmp_path / "b.parquet")) == rows
    write_pairs(ROWS[::-1], tmp_path / "mixed.parquet")
    mixed = select_rows(
        tmp_path / "mixed.parquet", tmp_path / "c.parquet", SelectSettings(rows=30), encode, 120
    )
    assert mixed == found
    assert sorted(row.id for row in read_pairs(tmp_path / "c.parquet")) == sorted(row.id for row in rows)
    with pytest.raises(InputError, match="larger --pool"):
        select_rows(curated / "pairs.parquet", out, SelectSettings(rows=30), encode, 20)


def test_the_verb(curated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces, out = Faces(lambda name: Encoder(), lambda name: None), str(tmp_path / "o.parquet")
    asked = ["select", str(curated.parent), "--rows", "12", "--out", out]
    assert run([*asked, "--mix", "0.5,0.5"], faces) == 0
    assert "easy to hard 6, 6" in capsys.readouterr().out
    assert run([*asked, "--model", "none", "--json"], faces) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 12 and found["coverage"] is None and found["ngrams"] > 1
    assert all("difficulty" not in row.scores for row in read_pairs(tmp_path / "o.parquet"))
    assert run([*asked, "--mix", "0.5,0.6"], faces) == 2
    assert "shares that add up to 1" in capsys.readouterr().err
    assert run(["select", str(tmp_path / "none"), "--rows", "1", "--out", out], faces) == 2
