"""Batches: drawn as promised, never a group twice, and never a known positive taken for wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from lingxi.errors import InputError
from lingxi.records import Passage, passage
from lingxi.train.mixture import contrast_sampler, sampler
from lingxi.train.partners import contrast_partners
from lingxi.train.relevance import documents_of
from lingxi.train.store import Candidate, Row
from test_store import built, pair


def mixed(number: int, **given):
    """A pair of bitext, one of three Chinese, the others Spanish."""
    names = {"task": "bitext", "query_language": "es" if number % 3 else "zh"}
    names["instruction"] = f"instruction of {given.get('task', 'bitext')}"
    return pair(number, **names | given)


def rng(seed: int = 0):
    return np.random.default_rng(seed)


def test_a_batch_has_one_kind_and_no_group_twice(tmp_path):
    pairs = [mixed(n, task="bitext" if n % 2 else "code", group=f"g{n // 4}") for n in range(200)]
    drawn_from = sampler(built(tmp_path, pairs), {"bitext": 1.0, "code": 1.0}, 0.5)
    seen = set()
    for seed in range(20):
        draw = drawn_from.draw(rng(seed), 16)
        rows = drawn_from.store.rows(draw.numbers)
        seen.add(draw.kind.task)
        assert {(row.task, row.instruction) for row in rows} == {(draw.kind.task, draw.kind.instruction)}
        assert len({row.group for row in rows}) == len(rows) == 16
    assert seen == {"bitext", "code"}


def test_draws_depend_on_their_numbers_alone(tmp_path):
    store = built(tmp_path, [mixed(n, task="bitext" if n % 2 else "code") for n in range(100)])
    one, two = (sampler(store, {"code": 2.0, "bitext": 1.0}, 0.5) for _ in range(2))
    one.draw(rng(5), 8)
    for seed in range(5):
        first, second = one.draw(rng((3, seed)), 8), two.draw(rng((3, seed)), 8)
        assert first.kind.task == second.kind.task and (first.numbers == second.numbers).all()


def test_kinds_strata_and_rows_are_drawn_as_promised(tmp_path):
    """Tasks by weight, instructions and strata by n ** balance times emphasis, rows of one all alike."""
    pairs = [mixed(n) for n in range(60)]
    pairs += [mixed(n, source="other") for n in range(60, 72)]
    pairs += [mixed(n, instruction="another") for n in range(72, 84)]
    pairs += [mixed(n, task="code") for n in range(84, 90)]
    store = built(tmp_path, pairs)
    drawn_from = sampler(store, {"bitext": 3.0, "code": 1.0}, 0.5, {"other": 2.0, "zh": 3.0, "*": 0.5})
    counts = np.zeros(90)
    for seed in range(3000):
        counts[drawn_from.draw(rng(seed), 2).numbers[0]] += 1
    wanted = np.zeros(90)
    shares = {(0, 72): 0.75 * 72**0.5 / (72**0.5 + 12**0.5), (72, 84): 0.75 * 12**0.5 / (72**0.5 + 12**0.5)}
    shares[84, 90] = 0.25
    for (start, end), share in shares.items():
        numbers = np.arange(start, end)
        strata = [(n % 3 == 0, 60 <= n < 72) for n in numbers]
        chance = np.array(
            [strata.count(s) ** -0.5 * (3.0 if s[0] else 0.5) * (2.0 if s[1] else 1.0) for s in strata]
        )
        wanted[start:end] = share * chance / chance.sum()
    assert chisquare(counts, wanted * 3000).pvalue > 1e-3


def test_rare_languages_are_drawn_more_than_their_share(tmp_path):
    store = built(tmp_path, [mixed(3 * n + (n % 50 != 0)) for n in range(1000)])
    (kind,) = sampler(store, {"bitext": 1.0}, 0.5).kinds
    drawn = store.rows(kind.draw(rng(), 2000))
    assert 0.02 < 0.08 < np.mean([row.query_language == "zh" for row in drawn]) < 0.2


def test_emphasis_multiplies_by_source_and_language(tmp_path):
    store = built(tmp_path, [mixed(n) for n in range(300)])

    def share(**emphasis):
        (kind,) = sampler(store, {"bitext": 1.0}, 0.5, emphasis).kinds
        return np.mean([row.query_language == "zh" for row in store.rows(kind.draw(rng(), 500))])

    assert share() < 0.5 < 0.95 < share(zh=10.0, **{"*": 0.1})
    assert share(zh=0.0) == 0.0 and share(es=0.0) == 1.0


def test_impossible_mixtures_are_refused_in_words(tmp_path):
    store = built(
        tmp_path, [mixed(n) for n in range(4)] + [mixed(n, task="sts", group="one") for n in range(4, 9)]
    )
    for mixture, said in (
        ({"bitext": 1.0, "code": 1.0}, r"names code, .* tasks there: \['bitext', 'sts'\]"),
        ({"bitext": -1.0}, "bitext -1.0 is no weight"),
        ({"bitext": float("nan")}, "no weight"),
        ({"bitext": 0.0, "code": 0.0}, "no task a weight above zero"),
        ({}, "no task a weight above zero"),
        ({"sts": 1.0, "bitext": 1.0}, "rows of sts .* one group"),
    ):
        with pytest.raises(InputError, match=said):
            sampler(store, mixture, 0.5)
    with pytest.raises(InputError, match="emphasis: zh -1"):
        sampler(store, {"bitext": 1.0}, 0.5, {"zh": -1.0})
    with pytest.raises(InputError, match="may be drawn"):
        sampler(store, {"bitext": 1.0}, 0.5, {"test": 0.0})
    with pytest.raises(InputError, match="two instructions"):
        contrast_sampler(store, 0.5)
    with pytest.raises(InputError, match="at least two"):
        sampler(store, {"bitext": 1.0, "code": 0.0}, 0.5).draw(rng(), 1)


def test_a_small_kind_gives_a_small_batch_and_a_lone_one_none(tmp_path):
    pairs = [mixed(0, instruction="few"), mixed(1, instruction="few"), mixed(2, instruction="lone")]
    drawn_from = sampler(built(tmp_path, pairs), {"bitext": 1.0}, 0.5)
    assert drawn_from.left_out == {("bitext", "lone"): 1}
    assert sorted(drawn_from.draw(rng(), 64).numbers) == [0, 1]


def test_a_group_that_holds_nearly_all_still_gives_two_rows(tmp_path):
    pairs = [mixed(3 * n, group="one") for n in range(3000)] + [mixed(1, group="two")]
    drawn_from = sampler(built(tmp_path, pairs), {"bitext": 1.0}, 1.0, {"es": 1e-9})
    for seed in range(20):
        assert len(drawn_from.draw(rng(seed), 2).numbers) == 2


def contrasting(number: int):
    """Two rows of one query and group under two instructions, and one row alone."""
    asked, group = f"query {number}", f"g{number}"
    return [
        mixed(number, query=asked, group=group, instruction="for", positives=(passage(f"for {number}"),)),
        mixed(number, query=asked, group=group, instruction="against", positives=(passage(f"not {number}"),)),
        mixed(number, group=f"alone {number}", instruction="for"),
    ]


def test_contrast_partners_have_the_query_under_another_instruction(tmp_path):
    same = mixed(99, query="query 0", instruction="third", positives=(passage("for 0"), passage("not 0")))
    elsewhere = mixed(98, query="query 1", instruction="fourth", task="code")
    store = built(tmp_path, [each for n in range(5) for each in contrasting(n)] + [same, elsewhere])
    found = contrast_partners(store, np.arange(len(store)), rng())
    for number in range(15):
        assert found[number] == (-1, number + 1, number - 1)[(number % 3 + 1) % 3], number
    assert found[15] == found[16] == -1


def test_mixed_batches_hold_partners_together(tmp_path):
    store = built(tmp_path, [each for n in range(30) for each in contrasting(n)])
    drawn_from = contrast_sampler(store, 0.5)
    together = 0
    for seed in range(30):
        rows = store.rows(drawn_from.draw(rng(seed), 8).numbers)
        assert 2 <= len(rows) <= 8
        groups = [row.group for row in rows]
        for one, row in enumerate(rows):
            for two, other in enumerate(rows[:one]):
                if groups[one] == groups[two]:
                    assert (
                        row.query == other.query and row.instruction != other.instruction and one - two == 1
                    )
                    found = documents_of(rows, rng())
                    assert not found.relevant[one, two] and not found.relevant[two, one]
                    assert found.same_query[one, two]
                    together += 1
    assert together > 30


CANDIDATE = st.builds(Candidate, st.integers(0, 9), st.sampled_from("abcdefgh"), st.just(float("nan")))


def row(number, query, positives, negatives, instruction="i", group=None) -> Row:
    group = number if group is None else group
    nan = float("nan")
    return Row(
        number, query, tuple(positives), tuple(negatives), instruction, "t", group, "s", "en", "en", nan, nan
    )


ROWS = st.lists(
    st.builds(
        row,
        st.integers(0, 99),
        st.sampled_from("pqrs"),
        st.lists(CANDIDATE, min_size=1, max_size=3),
        st.lists(CANDIDATE, max_size=4),
        st.sampled_from(["i", "j"]),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 2), st.integers(0, 3), st.integers(0, 5))
def test_no_known_positive_is_ever_wrong(rows, more, negatives, seed):
    found = documents_of(rows, rng(seed), more_positives=more, negatives=negatives)
    held = [{e.id for e in rows[i].positives} | {e.text for e in rows[i].positives} for i in range(len(rows))]
    for i, one in enumerate(rows):
        twins = [
            j for j, two in enumerate(rows) if (two.query, two.instruction) == (one.query, one.instruction)
        ]
        texts = {e.text for j in twins for e in rows[j].positives}
        for column, text in enumerate(found.documents):
            if text in texts:
                assert found.relevant[i, column]
        assert found.relevant[i, i] and found.owner[i] == i and found.documents[i] in held[i]


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 2), st.integers(0, 3), st.integers(0, 5))
def test_relevance_has_its_shape_and_depends_on_its_numbers_alone(rows, more, negatives, seed):
    one, two = (documents_of(rows, rng(seed), more_positives=more, negatives=negatives) for _ in range(2))
    assert one.documents == two.documents and (one.relevant == two.relevant).all()
    assert one.relevant.shape == (len(rows), len(one.documents)) and one.owner.shape == one.grades.shape
    assert (one.same_query == one.same_query.T).all() and one.same_query.diagonal().all()
    own = one.relevant[one.owner, np.arange(len(one.owner))]
    positives = sum(min(len(each.positives), 1 + more) for each in rows)
    assert own[:positives].all()
    # A row's own negative is right for it only by another row with its query and instruction.
    for column in np.flatnonzero(own[positives:]) + positives:
        asked = rows[one.owner[column]]
        assert sum((r.query, r.instruction) == (asked.query, asked.instruction) for r in rows) > 1
    for i, each in enumerate(rows):
        assert (one.owner[positives:] == i).sum() <= min(negatives, len(each.negatives))


def test_relevance_is_by_id_text_and_group():
    a, b, c, d = (Candidate(n, text, float(n)) for n, text in enumerate("abcd"))
    again = Candidate(9, "a", float("nan"))
    rows = [
        row(0, "p", [a], [b, d]),
        row(1, "q", [b], [c]),
        row(2, "r", [again], [], group=77),
        row(3, "s", [c], [], group=77),
    ]
    found = documents_of(rows, rng(), negatives=2)
    assert sorted(zip(found.owner[4:], [found.documents[k] for k in range(4, 7)], strict=True)) == [
        (0, "b"),
        (0, "d"),
        (1, "c"),
    ]
    right = {
        (i, found.documents[column], int(found.owner[column]))
        for i, column in zip(*found.relevant.nonzero(), strict=True)
    }
    assert right == {
        (0, "a", 0), (0, "a", 2),  # the same text under another id
        (1, "b", 1), (1, "b", 0),  # wrong for the row that it was mined for, right here
        (2, "a", 0), (2, "a", 2), (2, "c", 3),  # of one group
        (3, "c", 3), (3, "c", 1), (3, "a", 2),
    }  # fmt: skip
    assert found.grades[:2].tolist() == [0.0, 1.0]


def test_own_positives_among_negatives_are_left_out_and_counted():
    right = [Candidate(1, "a", 1.0), Candidate(2, "b", 1.0)]
    wrong = [Candidate(1, "other words", 0.0), Candidate(5, "b", 0.0), Candidate(6, "c", 0.0)]
    found = documents_of([row(0, "p", right, wrong)], rng(), more_positives=5, negatives=5)
    assert found.own_positives == 2
    assert sorted(found.documents[:2]) == ["a", "b"] and found.documents[2:] == ("c",)
    assert found.relevant.tolist() == [[True, True, False]]


def test_every_positive_is_drawn_in_its_turn():
    several = [Candidate(n, str(n), float("nan")) for n in range(3)]
    first = {documents_of([row(0, "p", several, [])], rng(seed)).documents for seed in range(40)}
    assert first == {("0",), ("1",), ("2",)}


def test_packed_pairs_have_no_ids_and_stay_apart(tmp_path):
    """A packed corpus leaves ids away: an empty id must not make all documents one."""
    store = built(tmp_path, [mixed(n, positives=(Passage("", f"text {n // 2}"),)) for n in range(4)])
    found = documents_of(store.rows(range(4)), rng())
    assert found.relevant.tolist() == [[a // 2 == b // 2 for b in range(4)] for a in range(4)]
