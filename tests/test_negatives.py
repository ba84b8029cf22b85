"""Hard negatives: near, but clearly below the positive, and never what is known to answer."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lingxi.cli import run
from lingxi.cli.faces import Faces
from lingxi.collect.origin import Origin, pair
from lingxi.curate.pack import pack
from lingxi.generate import NegativeSettings, mine_negatives
from lingxi.generate.negatives import limit, ranked
from lingxi.generate.strata import Known, keys_of
from lingxi.records import Pair, Passage, Task, passage, read_pairs, write_pairs
from stand_in import WordEmbedder, WordReranker

EMBEDDER = WordEmbedder()
ALL = NegativeSettings(ranks=(0, 100), margin=2.0, count=50)
"""Every candidate that is not known to answer."""


def encode(texts: Sequence[str], instruction: str | None) -> np.ndarray:
    return EMBEDDER.encode_document(texts) if texts else np.empty((0, EMBEDDER.dim), np.float32)


def row(
    key: str, query: str, answer: str, group: str | None = None, task: Task = "retrieval", code: str = "en"
) -> Pair:
    return pair(
        Origin("s", "CC0"), key, group or key, query, answer,
        task=task, instruction="find it", languages=("en", code),
    )  # fmt: skip


def texts_of(found: Pair) -> set[str]:
    return {item.text for item in found.negatives}


def mined(rows: Sequence[Pair], settings: NegativeSettings = ALL, **more: object) -> dict[str, Pair]:
    return {found.id: found for found in mine_negatives(rows, encode, settings, **more)}


ROWS = [row(f"r{i}", f"tea {i} question", f"tea {i} answer number {i * 7}") for i in range(30)]


def test_all_other_answers_are_candidates_and_none_of_its_own() -> None:
    found = mined(ROWS)
    for own in ROWS:
        assert texts_of(found[own.id]) == {r.positives[0].text for r in ROWS if r.id != own.id}
        scores = [item.score for item in found[own.id].negatives]
        assert scores == sorted(scores, reverse=True)


def test_what_answers_the_same_query_or_belongs_to_the_group_is_no_negative() -> None:
    rows = [
        *ROWS,
        row("same-query", "Tea 0  QUESTION", "another right answer"),
        row("same-group", "something else", "a part of the same page", group="r0"),
        row("other-task", "tea 0 question", ROWS[3].positives[0].text, task="code"),
        row("other-language", "tea 0 question", ROWS[4].positives[0].text, code="de"),
        # The answer of row 5 under another wording of its case, and that of row 6 by its id.
        row("by-text", "tea 0 question", ROWS[5].positives[0].text.upper()),
        replace(row("by-id", "tea 0 question", "x"), positives=(Passage(ROWS[6].positives[0].id, "cut"),)),
    ]
    wrong = texts_of(mined(rows)["r0"])
    right = {ROWS[i].positives[0].text for i in (0, 3, 4, 5, 6)} | {
        "another right answer",
        "a part of the same page",
    }
    assert not wrong & right
    assert ROWS[7].positives[0].text in wrong
    assert "another right answer" in texts_of(mined(rows)["r1"])


def test_passages_without_ids_are_not_one_passage(tmp_path: Path) -> None:
    write_pairs(
        [*ROWS, row("same-query", "Tea 0  QUESTION", "another right answer")], tmp_path / "pairs.parquet"
    )
    pack(tmp_path / "pairs.parquet", tmp_path / "packed.parquet", 10)
    packed = {found.id: found for found in mine_negatives(tmp_path / "packed.parquet", encode, ALL)}
    whole = {found.id: found for found in mine_negatives(tmp_path / "pairs.parquet", encode, ALL)}
    assert {key: texts_of(found) for key, found in packed.items()} == {
        key: texts_of(found) for key, found in whole.items()
    }
    assert len(texts_of(packed["r1"])) == 30
    # What is known of each is of itself, however many have no id.
    assert len(Known(read_pairs(tmp_path / "packed.parquet")).of(keys_of(Passage("", "x")))[0]) == 0


def test_its_own_negatives_stay_and_are_not_mined_again() -> None:
    known = passage(ROWS[1].positives[0].text)
    rows = [replace(ROWS[0], negatives=(known,)), *ROWS[1:]]
    found = mined(rows)["r0"].negatives
    assert found[0] == known and len({item.text for item in found}) == len(found) == 29


def test_a_text_equal_to_the_query_is_no_negative() -> None:
    rows = [*ROWS, row("echo", "who says this", "Tea 0 question")]
    assert "Tea 0 question" not in texts_of(mined(rows)["r0"])


def slow(rows: Sequence[Pair], own: Pair, settings: NegativeSettings) -> set[str]:
    """What may stand, one candidate after the other."""
    candidates = {r.positives[0].text for r in rows if r.group != own.group and r.query != own.query}
    query = encode([own.query], own.instruction)[0]
    scored = sorted(((float(query @ encode([t], None)[0]), t) for t in candidates), reverse=True)
    positive = float(query @ encode([own.positives[0].text], None)[0])
    return {t for s, t in scored[slice(*settings.ranks)] if s <= positive * settings.margin}


@pytest.mark.parametrize("settings", [
    NegativeSettings(ranks=(3, 12), margin=0.95, count=9),
    NegativeSettings(ranks=(0, 10), margin=0.8, count=10),
    NegativeSettings(ranks=(5, 40), margin=1.0, count=35),
])  # fmt: skip
def test_ranks_and_margin_as_counted_slowly(settings: NegativeSettings) -> None:
    words = ["green", "black", "hot", "cold", "old", "leaf", "cup", "pot"]
    rng = np.random.default_rng(0)
    rows = [
        row(f"r{i}", " ".join(rng.choice(words, 3)), " ".join([*rng.choice(words, 3), f"no{i}"]))
        for i in range(40)
    ]
    found = mined(rows, settings)
    assert any(texts_of(found[own.id]) for own in rows)
    for own in rows:
        assert texts_of(found[own.id]) == slow(rows, own, settings)


def test_the_rule_of_shares_and_that_of_differences() -> None:
    scores = np.array([0.8, 0.0, -0.5], np.float32)
    assert limit(scores, NegativeSettings(margin=0.9)) == pytest.approx([0.72, 0.0, -0.55])
    assert limit(scores, NegativeSettings(margin=0.1, rule="difference")) == pytest.approx([0.7, -0.1, -0.6])


def test_the_worst_of_many_positives_bounds_the_negatives() -> None:
    poor = passage("nothing in common whatsoever")
    rows = [replace(ROWS[0], positives=(*ROWS[0].positives, poor)), *ROWS[1:]]
    bound = NegativeSettings(ranks=(0, 100), margin=1.0, count=50)
    assert len(texts_of(mined(rows, bound)["r0"])) < len(texts_of(mined(ROWS, bound)["r0"]))


def test_a_draw_of_a_row_depends_on_the_seed_and_not_on_its_neighbours() -> None:
    few = NegativeSettings(ranks=(0, 25), margin=2.0, count=4)
    first = mined(ROWS, few)
    assert all(len(found.negatives) == 4 for found in first.values())
    assert mined(list(reversed(ROWS)), few) == first
    assert mined(ROWS, few.model_copy(update={"seed": 1})) != first


def test_a_cross_encoder_has_to_say_no() -> None:
    asked: list[tuple[str, str]] = []

    def refused(text: str) -> bool:
        return "tea 1 " in text or "tea 2 " in text

    def rerank(pairs: Sequence[tuple[str, str]], instruction: str) -> np.ndarray:
        assert instruction == "find it"
        asked.extend(pairs)
        return np.array(
            [0.9 if "tea 1 " in d or "tea 2 " in d else 0.1 + 0.8 * (d[4:6] == q[4:6]) for q, d in pairs]
        )

    found = mined(ROWS, ALL.model_copy(update={"count": 29}), rerank=rerank)
    assert not any(
        "tea 1 " in text or "tea 2 " in text for own in ROWS[3:] for text in texts_of(found[own.id])
    )
    assert len(texts_of(found["r5"])) == 27
    assert len(asked) == len(ROWS) * 30
    nothing = mined(ROWS, ALL, rerank=lambda pairs, instruction: np.full(len(pairs), 0.2))
    assert not any(found.negatives for found in nothing.values()), "none stands below its positive"


def test_pools_are_of_one_task_and_language_and_other_tasks_pass() -> None:
    rows = [
        *ROWS[:5], *(row(f"de{i}", f"q {i}", f"Tee {i}", code="de") for i in range(4)),
        *(row(f"c{i}", f"q {i}", f"code {i}", task="code") for i in range(3)),
        *(row(f"k{i}", f"q {i}", f"label {i}", task="classification") for i in range(3)),
    ]  # fmt: skip
    found = mined(rows)
    assert sorted(found) == sorted(r.id for r in rows)
    assert texts_of(found["de0"]) == {"Tee 1", "Tee 2", "Tee 3"}
    assert texts_of(found["c0"]) == {"code 1", "code 2"}
    assert len(texts_of(found["r0"])) == 4
    assert found["k0"] == rows[-3]


def test_the_pool_is_bounded_and_drawn() -> None:
    small = ALL.model_copy(update={"pool": 6})
    found = mined([*ROWS, *(replace(r, id=f"again-{r.id}", query=f"another {r.query}") for r in ROWS)], small)
    pool = set().union(*(texts_of(one) for one in found.values()))
    assert len(pool) == 6
    assert set().union(*(texts_of(o) for o in mined(ROWS[::-1], small).values())) == pool
    assert (
        set().union(*(texts_of(o) for o in mined(ROWS, small.model_copy(update={"seed": 2})).values()))
        != pool
    )


def test_a_file_gives_what_a_list_gives(tmp_path: Path) -> None:
    rows = [*ROWS, *(row(f"de{i}", f"q {i}", f"Tee {i}", code="de") for i in range(4))]
    write_pairs(rows[::2] + rows[1::2], tmp_path / "pairs.parquet")
    assert {r.id: r for r in mine_negatives(tmp_path / "pairs.parquet", encode, ALL)} == mined(rows)
    write_pairs([], tmp_path / "none.parquet")
    assert not list(mine_negatives(tmp_path / "none.parquet", encode, ALL))


@given(
    st.integers(1, 6).flatmap(
        lambda width: st.lists(
            st.lists(st.sampled_from([-np.inf, 0.0, 0.1, 0.5, 0.9]), min_size=width, max_size=width),
            min_size=1, max_size=4,
        )
    ),
    st.integers(0, 3), st.integers(1, 5),
)  # fmt: skip
def test_ranked_scores_fall(scores: list[list[float]], first: int, more: int) -> None:
    values = np.array(scores, np.float32)
    places = ranked(values, (first, first + more))
    near = np.take_along_axis(values, places, 1)
    assert (near == np.sort(values, axis=1)[:, ::-1][:, first : first + more]).all()


def test_settings_that_hold_too_few_ranks_are_refused() -> None:
    for wrong in ({"ranks": (5, 5)}, {"ranks": (0, 3), "count": 4}, {"ranks": (-1, 30)}):
        with pytest.raises(ValidationError):
            NegativeSettings(**wrong)


def cli(*arguments: object) -> int:
    return run([str(a) for a in arguments], Faces(lambda name: EMBEDDER, lambda name: WordReranker()))


def test_the_verb_writes_a_file_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pairs(ROWS, tmp_path / "pairs.parquet")
    out = tmp_path / "mined.parquet"
    options = ("--ranks", "0,20", "--count", 20, "--margin", 2, "--json")
    assert cli("negatives", tmp_path / "pairs.parquet", "--out", out, *options) == 0
    assert json.loads(capsys.readouterr().out) == {
        "out": str(out),
        "rows": 30,
        "negatives": 600,
        "without": 0,
    }
    assert all(len(found.negatives) == 20 for found in read_pairs(out))
    assert cli("negatives", tmp_path / "pairs.parquet", "--out", out, "--reranker", "some", *options) == 0
    assert json.loads(capsys.readouterr().out)["negatives"] < 600


def test_the_verb_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pairs(ROWS, tmp_path / "pairs.parquet")
    pairs, out = tmp_path / "pairs.parquet", tmp_path / "out.parquet"
    for arguments, said in (
        ((pairs, "--out", out, "--ranks", "10"), "write two numbers"),
        ((pairs, "--out", out, "--ranks", "10,5"), "do not hold 7"),
        ((pairs, "--out", pairs), "is the file that is read"),
        ((tmp_path / "none", "--out", out), "no Parquet file"),
    ):
        assert cli("negatives", *arguments) == 2
        assert said in capsys.readouterr().err
    assert not out.exists() and len(list(read_pairs(pairs))) == 30
