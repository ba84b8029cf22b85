"""Passages raised by their neighbours."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lingxi.index.around import DECAY, raised


def test_a_passage_gains_what_stands_beside_it() -> None:
    found = raised({("a", 0): 1.0, ("a", 1): 2.0, ("a", 3): 4.0, ("b", 1): 8.0}, 2)
    assert found == {
        ("a", 0): 1 + DECAY * 2,
        ("a", 1): 2 + DECAY * 1 + DECAY**2 * 4,
        ("a", 3): 4 + DECAY**2 * 2,
        ("b", 1): 8.0,
    }


@given(
    st.dictionaries(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), st.floats(0, 1)), st.integers(0, 4)
)
def test_nothing_falls_and_nothing_new_is_found(scores: dict[tuple[str, int], float], reach: int) -> None:
    found = raised(scores, reach)
    assert found.keys() == scores.keys()
    assert all(found[place] >= score for place, score in scores.items())
    assert reach > 0 or found == scores
