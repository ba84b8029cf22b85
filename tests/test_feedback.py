"""Feedback: what people said is done to the rows, and to kinds of rows only where enough was said."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingxi.cli import run
from lingxi.curate import CurateSettings, curate_pairs
from lingxi.curate.review.feedback import (
    IMPRECISE,
    REJECTED,
    Feedback,
    apply_feedback,
    feedback,
    load_feedback,
    save_feedback,
    threshold,
)
from lingxi.curate.review.figures import judged_rows
from lingxi.curate.review.sample import draw_sample
from lingxi.curate.review.shown import MOST_TEXT, Shown, band_of, group_of
from lingxi.curate.review.verdicts import Said, Verdict, Verdicts
from lingxi.errors import InputError
from lingxi.records import Pair, passage, read_pairs, write_pairs
from test_curate import pair


def row(name: str, margin: float | None = None, source: str = "one") -> Pair:
    scores = {} if margin is None else {"margin": margin}
    return pair(f"frage {name}", f"answer {name}", id=name, source=source, scores=scores)


def shown(one: Pair) -> Shown:
    margin = one.scores.get("margin")
    answer = one.positives[0].text[:MOST_TEXT]
    stratum = f"{group_of(one)} {band_of(margin)}"
    return Shown(one.id, stratum, "", one.query, answer, "de", "en", one.source, None, margin)


def say(name: str, verdict: Verdict, who: str = "ann", fixed: str | None = None) -> Said:
    return Said(name, who, verdict, None, fixed)


def test_rejected_rows_go_and_mended_rows_stay_mended() -> None:
    rows = [row(name) for name in "abcd"]
    said = [say("a", "accept"), say("b", "reject"), say("c", "fix", fixed="mended")]
    found = feedback([shown(one) for one in rows], said)
    kept, gone, mended, unread = (apply_feedback(found, one) for one in rows)
    assert kept == rows[0] and gone == REJECTED and unread == rows[3]
    assert isinstance(mended, Pair) and mended.positives == (passage("mended"),) and mended.id == "c"


def test_a_fix_keeps_what_nobody_saw_and_the_other_positives() -> None:
    long = "x" * MOST_TEXT + " the tail"
    one = replace(row("a"), positives=(passage(long, 0.5), passage("second")))
    found = feedback([shown(one)], [say("a", "fix", fixed="new head")])
    mended = apply_feedback(found, one)
    assert isinstance(mended, Pair)
    assert [item.text for item in mended.positives] == ["new head the tail", "second"]
    assert mended.positives[0].score == 0.5


@pytest.mark.parametrize(
    ("votes", "outcome"),
    [
        (["accept", "reject"], "stays"),
        (["accept", "accept", "reject"], "stays"),
        (["accept", "reject", "reject"], "goes"),
        (["reject", "fix"], "mended"),
        (["reject", "reject", "fix"], "goes"),
        (["accept", "fix", "reject"], "mended"),
    ],
)
def test_most_reviewers_decide(votes: list[Verdict], outcome: str) -> None:
    said = [say("a", verdict, f"r{i}", "mended") for i, verdict in enumerate(votes)]
    found = apply_feedback(feedback([shown(row("a"))], said), row("a"))
    seen = "goes" if found == REJECTED else "stays" if found == row("a") else "mended"
    assert seen == outcome


def test_verdicts_on_dropped_rows_change_no_kept_twin() -> None:
    found = feedback([shown(row("a"))], [say("a~", "reject")])
    assert apply_feedback(found, row("a")) == row("a")


def test_an_imprecise_stratum_goes_but_for_what_was_accepted() -> None:
    rows = [row(f"r{i}") for i in range(12)] + [row(f"s{i}", source="two") for i in range(12)]
    said = [say(f"r{i}", "reject" if i < 8 else "accept") for i in range(10)]
    said += [say(f"s{i}", "reject" if i < 1 else "accept") for i in range(10)]
    found = feedback([shown(one) for one in rows], said)
    assert found.strata == {"one de>en unscored"} and not found.thresholds
    assert apply_feedback(found, rows[11]) == IMPRECISE
    assert apply_feedback(found, rows[9]) == rows[9] and apply_feedback(found, rows[0]) == REJECTED
    assert apply_feedback(found, rows[-1]) == rows[-1]


def test_one_reject_condemns_no_stratum() -> None:
    rows = [row(f"r{i}") for i in range(4)]
    assert not feedback([shown(one) for one in rows], [say(f"r{i}", "reject") for i in range(4)]).strata


def test_a_perfect_stratum_is_never_imprecise() -> None:
    for count in range(5, 60):
        rows = [row(f"r{i}") for i in range(count)]
        assert not feedback([shown(one) for one in rows], [say(one.id, "accept") for one in rows], 1).strata


def on(one: Pair, verdict: Verdict, who: str, fixed: str | None = None) -> Said:
    """A verdict on the row as it reads."""
    return Said(one.id, who, verdict, None, fixed, seen=shown(one).seen)


def after(one: Pair, said: list[Said]) -> Pair:
    found = apply_feedback(feedback([shown(one)], said), one)
    assert isinstance(found, Pair)
    return found


LONG = "x" * MOST_TEXT + " the tail"


@pytest.mark.parametrize("text", ["answer", LONG])
def test_who_accepts_a_mended_row_is_for_the_fix(text: str) -> None:
    one = replace(row("a"), positives=(passage(text),))
    said = [on(one, "fix", "ann", "new head")]
    mended = after(one, said)
    assert mended.positives[0].text == "new head" + (" the tail" if text == LONG else "")
    said += [on(mended, "accept", "bob"), on(mended, "accept", "cat")]
    assert after(one, said) == mended
    assert judged_rows([shown(mended)], said) == [(shown(mended), True)]
    # Who mended the row stands for what it became: one reject is a tie, two are more.
    against = [said[0], on(mended, "reject", "bob")]
    assert after(one, against) == mended
    against.append(on(mended, "reject", "cat"))
    assert apply_feedback(feedback([shown(one)], against), one) == REJECTED


def test_a_second_fix_is_of_the_mended_text() -> None:
    one = replace(row("a"), positives=(passage(LONG),))
    said = [on(one, "fix", "ann", "new head")]
    mended = after(one, said)
    said.append(on(mended, "fix", "bob", shown(mended).answer + "!"))
    assert after(one, said).positives[0].text == "new head the tail!"
    assert after(one, said[::-1]) == after(one, said)
    # A fix that goes back ends.
    said.append(on(after(one, said), "fix", "cat", LONG))
    assert after(one, said).positives[0].text == LONG


def test_a_fix_of_another_text_is_not_applied() -> None:
    one = row("a")
    other = replace(one, positives=(passage("collected anew"),))
    assert apply_feedback(feedback([shown(one)], [on(one, "fix", "ann", "mended")]), other) == other


def test_kinds_are_judged_by_fresh_rows_and_stay_dropped() -> None:
    rows = [row(f"r{i}") for i in range(8)] + [row(f"s{i}", 0.9 + i / 50, "two") for i in range(30)]
    said = [say(f"r{i}", "reject") for i in range(8)]
    said += [say(f"s{i}", "reject" if i < 14 else "accept") for i in range(30)]
    first = feedback([shown(one) for one in rows], said)
    assert first.strata == {"one de>en unscored"} and set(first.thresholds) == {"two de>en"}
    # What the next curate leaves is shown again, and fresh rows beside it are few and good.
    left = [replace(shown(one), again=True) for one in rows[-16:]]
    fresh = [row(f"t{i}", 1.3, "two") for i in range(6)]
    sample = [*left, *(shown(one) for one in fresh)]
    second = feedback(sample, [*said, *(say(one.id, "accept") for one in fresh)], earlier=first)
    assert (second.strata, second.thresholds) == (first.strata, first.thresholds)
    # Where the sample shows what it would drop, it was not applied: what people say now decides.
    again = feedback([shown(one) for one in rows], said, 0.1, earlier=first)
    assert not again.strata and not again.thresholds
    pardoned = feedback([shown(one) for one in rows], [say(one.id, "accept") for one in rows], earlier=first)
    assert not pardoned.strata and not pardoned.thresholds
    worse = [replace(one, verdict="reject") for one in said]
    assert not feedback([replace(shown(one), again=True) for one in rows], worse).strata


def test_where_margins_tell_a_threshold_is_set() -> None:
    rows = [row(f"r{i}", 0.9 + i / 50) for i in range(30)]
    said = [say(f"r{i}", "reject" if i < 14 else "accept") for i in range(30)]
    found = feedback([shown(one) for one in rows], said)
    assert found.thresholds == {"one de>en": pytest.approx(0.9 + 14 / 50)} and not found.strata
    assert apply_feedback(found, row("new", 1.0)) == IMPRECISE
    assert apply_feedback(found, row("new", 1.4)) == row("new", 1.4)
    assert apply_feedback(found, row("new")) == row("new")


def test_where_margins_tell_nothing_the_strata_go() -> None:
    rows = [row(f"r{i}", 0.9 + i / 50) for i in range(30)]
    said = [say(f"r{i}", "accept" if i % 3 == 0 else "reject") for i in range(30)]
    found = feedback([shown(one) for one in rows], said)
    assert found.strata == {"one de>en low", "one de>en high"} and not found.thresholds


points = st.lists(st.tuples(st.integers(0, 20).map(float), st.booleans()), max_size=60)


@given(points, st.floats(0.05, 1))
def test_from_the_threshold_on_precision_is_as_wanted(
    judged: list[tuple[float, bool]], wanted: float
) -> None:
    least = threshold(judged, wanted)
    if least is not None:
        above = [good for margin, good in judged if margin >= least]
        assert len(above) >= 5 and sum(above) >= wanted * len(above) - 1e-9
    elif all(good for _, good in judged):
        assert len(judged) < 5
    assert threshold(judged[::-1], wanted) == least


def test_it_is_kept_in_a_file(tmp_path: Path) -> None:
    rows = [row(f"r{i}", 0.9 + i / 50) for i in range(30)] + [row(f"s{i}", source="two") for i in range(8)]
    said = [say(f"r{i}", "reject" if i < 14 else "accept") for i in range(30)]
    said += [say(f"s{i}", "reject") for i in range(7)] + [say("s7", "fix", fixed="é")]
    found = feedback([shown(one) for one in rows], said, 0.8)
    save_feedback(found, tmp_path / "f.json")
    assert load_feedback(tmp_path / "f.json") == found
    (tmp_path / "old.json").write_text((tmp_path / "f.json").read_text().replace('{\n   "": "é"\n  }', '"é"'))
    assert '"s7": "é"' in (tmp_path / "old.json").read_text()
    assert load_feedback(tmp_path / "old.json") == found
    with pytest.raises(InputError, match="no feedback at"):
        load_feedback(tmp_path / "none.json")
    for text in ("[]", "{", '{"drops": []}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match="is no feedback"):
            load_feedback(tmp_path / "bad.json")


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(InputError, match="nobody"):
        feedback([shown(row("a"))], [])
    with pytest.raises(InputError, match="a precision of 90"):
        feedback([shown(row("a"))], [say("a", "accept")], 90)


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"]
    rows = [pair(f"Der {n} Hund schläft tief", f"The dog {n} is asleep", id=n) for n in numbers]
    write_pairs(rows, tmp_path / "pairs.parquet")
    curated = tmp_path / "run" / "3-curate"
    curate_pairs(CurateSettings(), tmp_path / "pairs.parquet", curated)
    out = str(tmp_path / "f.json")
    assert run(["review", str(curated.parent), "--feedback", out]) == 2
    assert "nobody has given a verdict" in capsys.readouterr().err
    verdicts = Verdicts(curated.parent / "review")
    for one in draw_sample(curated, curated.parent / "review", 10, 0):
        verdicts.say(say(one.id, "accept" if one.id == "zehn" else "reject"))
    assert run(["review", str(curated.parent), "--feedback", out, "--precision", "0.8"]) == 0
    assert "9 rows rejected, 0 mended, 0 thresholds, 1 strata dropped" in capsys.readouterr().out
    first = load_feedback(tmp_path / "f.json")
    assert first.wanted == 0.8
    # What an applied feedback dropped cannot be judged again: the file at that place holds on.
    save_feedback(replace(first, strata=first.strata | {"gone de>en low"}), tmp_path / "f.json")
    assert run(["review", str(curated.parent), "--feedback", out, "--precision", "0.8"]) == 0
    assert load_feedback(tmp_path / "f.json").strata == first.strata | {"gone de>en low"}
    assert run(["review", str(curated.parent), "--feedback", out, "--precision", "80"]) == 2


def test_a_curate_takes_in_what_people_said(tmp_path: Path) -> None:
    rows = [pair(f"Das ist Satz {n}", f"This is sentence {n}") for n in range(6)]
    write_pairs(rows, tmp_path / "pairs.parquet")
    said = Feedback(
        0.9, frozenset({rows[1].id}), {rows[2].id: {"": "This was mended"}}, frozenset(), {}, frozenset()
    )
    save_feedback(said, tmp_path / "feedback.json")
    settings = CurateSettings(feedback=tmp_path / "feedback.json")
    report = curate_pairs(settings, tmp_path / "pairs.parquet", tmp_path / "out")
    assert report.total.dropped == {REJECTED: 1} and report.by_task["bitext"].kept == 5
    kept = list(read_pairs(tmp_path / "out" / "pairs.parquet"))
    assert [row.positives[0].text for row in kept[:2]] == ["This is sentence 0", "This was mended"]
    (dropped,) = read_pairs(tmp_path / "out" / "dropped.parquet")
    assert (dropped.id, dropped.dropped) == (rows[1].id, REJECTED)
