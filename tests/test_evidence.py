"""How sure a number is: replicates are paired, intervals cover, and the gate stops what it must."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from lingxi.errors import InputError
from lingxi.evaluate.evidence import difference, draw, interval, scores, worst
from lingxi.evaluate.gate import ALL, decide
from lingxi.evaluate.results import Group
from lingxi.evaluate.tasks import Head


def group(
    values: Sequence[float],
    language: str = "es",
    system: str = "new",
    metric: str = "ndcg@10",
    gold: Sequence[float] | None = None,
    name: str = "set",
) -> Group:
    count = len(values)
    return Group(
        Head(name, "retrieval", language),
        system,
        metric,
        tuple(f"{language}-{i}" for i in range(count)),
        np.asarray(values, np.float64),
        None if gold is None else np.asarray(gold, np.float64),
        ((),) * count,
        ("found",) * count,
    )


def uniform(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(count)


def lengths(groups: Sequence[Group]) -> dict[tuple[str, str, str], str]:
    return {(g.head.name, g.head.language, item): "short" for g in groups for item in g.items}


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(200):
        drawn = draw(group(uniform(80, seed)), 400, 0)
        low, high = interval(drawn.replicates)
        inside += low <= 0.5 <= high
    assert 180 <= inside <= 198


def test_replicates_of_two_systems_are_paired() -> None:
    values = uniform(300, 0)
    new, old = group(values), group(values - 0.01, system="old")
    found = difference(new, old)
    assert found.value == pytest.approx(0.01)
    assert found.high - found.low < 1e-9, "every replicate differs by the same"
    assert found.p < 0.01


def test_equal_systems_do_not_differ() -> None:
    values = uniform(300, 0)
    shuffled = np.random.default_rng(1).permutation(values)
    found = difference(group(values), group(shuffled, system="old"))
    assert found.low <= 0 <= found.high and found.p > 0.05
    with pytest.raises(InputError, match="same items"):
        difference(group(values), group(values[:-1], system="old"))


def test_correlations_are_compared_as_wholes() -> None:
    gold = uniform(200, 0)
    good = group(gold + 0.1 * uniform(200, 1), metric="spearman", gold=gold)
    bad = group(uniform(200, 2), metric="spearman", gold=gold, system="old")
    found = difference(good, bad, 200)
    assert found.low > 0.5 and found.p < 0.02
    assert difference(good, replace(good, system="old"), 100).value == 0


def test_a_mean_over_languages_comes_first_and_draws_the_same_questions() -> None:
    values = uniform(200, 0)
    same = [group(values, language) for language in ("es", "zh", "sw")]
    rows = scores(same, 500)
    assert [row.language for row in rows] == ["mean of 3", "es", "zh", "sw"]
    widths = [row.high - row.low for row in rows]
    # The same questions with the same values in every language: the mean knows no more than one of them.
    assert widths[0] == pytest.approx(widths[1])


def test_the_worst_items_are_named_with_their_texts() -> None:
    items = {
        ("set", "es", f"es-{i}"): {"text": f"question {i}", "expected": f"answer {i}", "length": "short"}
        for i in range(3)
    }
    found = worst(group([0.5, 0.0, 1.0]), items, 2)
    assert [(miss.item, miss.text, miss.expected) for miss in found] == [
        ("es-1", "question 1", "answer 1"),
        ("es-0", "question 0", "answer 0"),
    ]


# --- the gate ------------------------------------------------------------------------------------


def languages(seed: int, system: str, noise: float = 0.0) -> list[Group]:
    found = []
    for number, language in enumerate(("es", "zh", "sw", "de", "ja", "th")):
        values = uniform(300, 10 + number) + noise * np.random.default_rng([seed, number]).normal(size=300)
        found.append(group(values.clip(0, 1), language, system))
    return found


def test_a_broken_language_is_stopped_and_named() -> None:
    old, new = languages(0, "old"), languages(0, "new")
    new[2] = replace(new[2], values=np.random.default_rng(5).permutation(new[2].values) * 0.1)
    decision = decide(new, old, lengths(old))
    assert decision.verdict == "blocked"
    assert any("language sw" in reason for reason in decision.reasons)
    assert not any("language zh" in reason for reason in decision.reasons)


def test_noise_is_not_stopped() -> None:
    old = languages(0, "old")
    known = lengths(old)
    verdicts = [decide(languages(seed, "new", 0.02), old, known).verdict for seed in range(1, 41)]
    assert verdicts.count("blocked") == 0
    assert verdicts.count("passes") > 30


def test_better_passes_and_little_evidence_is_undecided() -> None:
    old = languages(0, "old")
    better = [replace(g, system="new", values=(g.values + 0.05).clip(0, 1)) for g in old]
    assert decide(better, old, lengths(old)).verdict == "passes"
    assert decide(better, old, lengths(old), strict=True).verdict == "passes"
    few = [
        replace(old[0], items=old[0].items[:25], values=old[0].values[:25], found=((),) * 25, top=("",) * 25)
    ]
    shaken = [replace(few[0], system="new", values=np.random.default_rng(3).permutation(few[0].values))]
    decision = decide(shaken, few, lengths(few))
    assert decision.verdict == "undecided" and decision.smallest > 0.5


def test_strict_wants_proof_in_every_slice() -> None:
    old = languages(0, "old")
    new = [replace(g, system="new") for g in old]
    wild = old[1].values + np.where(np.arange(300) % 2, 0.3, -0.3)
    new[1] = replace(new[1], values=wild)
    known = lengths(old)
    assert decide(new, old, known, max_drop=2.0).verdict == "passes"
    decision = decide(new, old, known, max_drop=2.0, strict=True)
    assert decision.verdict == "undecided" and "zh" in " ".join(decision.reasons)


def test_bounds_hold_for_all_slices_together() -> None:
    """No slice of two systems that differ by chance alone is called worse more often than promised."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(60):
        old = [group(rng.random(60), language, "old") for language in ("a", "b", "c", "d", "e", "f")]
        new = [replace(g, system="new", values=g.values + rng.normal(0, 0.1, 60)) for g in old]
        decision = decide(new, old, lengths(old), max_drop=0.0)
        wrong += decision.verdict == "blocked"
    assert wrong <= 8


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(InputError, match="no set in common"):
        decide([group([1.0], name="a")], [group([1.0], name="b")], {})


def test_slices_are_named_once_all_first() -> None:
    old = languages(0, "old")
    decision = decide([replace(g, system="new") for g in old], old, lengths(old))
    names = [part.name for part in decision.slices]
    assert names[0] == ALL and len(set(names)) == len(names)
    assert {"set set", "task retrieval", "language zh", "length short"} <= set(names)
    assert decision.slices[0].n == 1800 and decision.slices[0].difference == 0


def test_scales_do_not_count_where_ranks_do() -> None:
    gold = uniform(200, 0)
    new = group(gold + 0.3 * uniform(200, 1), metric="spearman", gold=gold)
    old = group(gold + 0.6 * uniform(200, 2), system="old", metric="spearman", gold=gold)
    scaled = replace(old, values=30 * old.values + 60)
    assert difference(new, old).p == difference(new, scaled).p < 0.05


def test_a_control_that_falls_stops_nothing() -> None:
    real = (
        group(uniform(100, 0), language="sib200"),
        group(uniform(100, 0) - 0.2, language="sib200", system="old"),
    )
    control = (
        group(uniform(100, 1) - 0.5, language="sib200 (control)"),
        group(uniform(100, 1), language="sib200 (control)", system="old"),
    )
    found = decide([real[0], control[0]], [real[1], control[1]], lengths([real[0], control[0]]))
    assert found.verdict == "passes"
