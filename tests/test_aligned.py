"""Rows of two translated files that each lost some are matched again."""

import json

from hypothesis import given
from hypothesis import strategies as st

from lingxi.collect.aligned import align, read_translations


@given(st.lists(st.booleans(), min_size=3, max_size=40), st.lists(st.booleans(), min_size=3, max_size=40))
def test_what_both_sides_kept_is_matched(left, right):
    """With grades that tell every row apart, the alignment is exactly the rows both sides kept."""
    count = min(len(left), len(right))
    rows = [(float(n), 10, 20) for n in range(count)]
    a = [n for n in range(count) if left[n]]
    b = [n for n in range(count) if right[n]]
    found = [(a[i], b[j]) for i, j in align([rows[n] for n in a], [rows[n] for n in b])]
    assert found == [(n, n) for n in range(count) if left[n] and right[n]]


def test_equal_grades_are_told_apart_by_length():
    left = [(5.0, 10, 10), (5.0, 60, 60), (5.0, 12, 14)]
    assert align(left, [left[0], left[2]]) == [(0, 0), (2, 1)]


def test_rows_of_files_become_sentence_pairs(tmp_path):
    english = [("A man sings.", "A man is singing.", 4.5), ("A dog.", "The cat sleeps.", 0.5)]
    spanish = [("Un hombre canta.", "Un hombre está cantando.", 4.5), ("Un perro.", "El gato duerme.", 0.5)]
    for language, rows in (("en", english), ("es", spanish)):
        path = tmp_path / f"sts_stsb_{language}_train.jsonl"
        path.write_text("".join(json.dumps({"a": a, "b": b, "s": s}) + "\n" for a, b, s in rows))
        path.with_name(f"sts_stsb_{language}_train.meta.json").write_text('{"lic": "CC BY-SA"}')
    found = list(read_translations(tmp_path))
    assert [(p.query, p.positives[0].text) for p in found[:2]] == [
        ("Un hombre canta.", "A man sings."),
        ("Un hombre está cantando.", "A man is singing."),
    ]
    assert len(found) == 4
    assert {p.licence for p in found} == {"CC BY-SA"}
