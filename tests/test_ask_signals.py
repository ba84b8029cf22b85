"""What tells whether passages answer: agreement of passages, numbers, words; thresholds that lose few."""

import json

import numpy as np
import pytest

pytest.importorskip("bm25s")

from hypothesis import given, settings
from hypothesis import strategies as st

from lingxi.apps.ask import Passages
from lingxi.apps.ask.calibrate import bounded_threshold, read_group, signals
from lingxi.apps.ask.evidence import Evidence, Weights
from lingxi.apps.ask.signals import NAMES, features
from stand_in import WordEmbedder

EMBEDDER = WordEmbedder()
QUESTION = "how many people came to the fair in 1999"
FILLER = [f"note {i} says that thing{i} is of room{i}" for i in range(25)]


def told(texts: list[str], question: str = QUESTION) -> dict[str, float]:
    hits = Passages(texts, EMBEDDER).search(question, top_k=20)
    return dict(zip(NAMES, signals(EMBEDDER, question, hits, 5), strict=True))


def test_passages_that_tell_the_same_agree():
    same = [f"the fair in 1999 drew 4711 people, wrote paper{i}" for i in range(3)]
    apart = [f"the fair in 1999 drew {n} people, wrote paper{n}" for n in (12, 345, 6789)]
    one, other = told([*same, *FILLER]), told([*apart, *FILLER])
    for name in NAMES[7:9]:
        assert one[name] > other[name]


def test_a_number_of_the_question_that_is_nowhere_is_told():
    name = NAMES[6]
    assert told(["the fair in 2004 drew 3 people", *FILLER])[name] == 1.0
    assert told(["the fair in 1999 drew 3 people", *FILLER])[name] == 0.0
    assert told(["the fair drew 3 people", *FILLER], "how many people came to the fair")[name] == 0.0


def test_pairs_of_words_tell_order():
    name = NAMES[5]
    texts = ("alpha beta gamma", "gamma beta alpha")
    forward, back = (told([text, *FILLER], "alpha beta gamma") for text in texts)
    assert (forward[name], back[name]) == (1.0, 0.0)


def test_no_sentence_says_nothing():
    assert features("what", [], [], Weights([])) == [0.0] * len(NAMES)


WORDS = st.lists(st.sampled_from(["fair", "1999", "12", "人", "people", "x."]), max_size=8).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(WORDS, st.lists(st.tuples(WORDS, st.integers(0, 2), st.floats(-1, 1)), min_size=1, max_size=6))
def test_signals_are_finite(question, rows):
    found = [Evidence(passage, 0, 1, text, cosine, 0.5, False) for text, passage, cosine in rows]
    hits = Passages([text or "x" for text, _, _ in rows], EMBEDDER).search(question or "x", top_k=5)
    weights = Weights([hit.text for hit in hits])
    values = features(question, hits, found, weights)
    assert np.isfinite(values).all() and len(values) == len(NAMES)


CHANCES = st.floats(0, 1)


@given(st.lists(CHANCES, min_size=20, max_size=60), st.lists(CHANCES, min_size=1, max_size=60))
def test_no_more_than_a_tenth_is_lost(true, false):
    chances, labels = np.array(true + false), np.array([1] * len(true) + [0] * len(false))
    threshold = bounded_threshold(chances, labels)
    assert (np.array(true) < threshold - 0.001).mean() <= 0.1


def test_what_can_be_told_apart_is():
    chances, labels = np.array([0.9, 0.8, 0.95, 0.1, 0.2]), np.array([1, 1, 1, 0, 0])
    assert 0.2 < bounded_threshold(chances, labels) < 0.8


def test_equal_questions_are_answered_by_all_their_passages(tmp_path):
    rows = [{"q": "a?", "p": "one"}, {"q": "a?", "p": "two"}, {"q": "b?", "p": "one"}]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    group = read_group(tmp_path / "pairs.jsonl")
    assert group.questions == ("a?", "b?")
    assert group.own == (frozenset([0, 1]), frozenset([0]))
