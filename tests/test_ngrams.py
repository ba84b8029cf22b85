"""Languages by n-grams: heard on sentences that no table learned from, and true rows are not thrown away."""

import json
import time
import timeit
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingxi import languages
from lingxi.curate import ngrams
from lingxi.curate.ngrams import LONGEST, grams, heard, tables, taught
from lingxi.curate.speech import KNOWN, VOTES, mismatch

LINES = (Path(__file__).parent / "data" / "speech" / "sentences.jsonl").read_text("utf-8").splitlines()
SENTENCES: dict[str, list[str]] = defaultdict(list)
for line in LINES:
    SENTENCES[json.loads(line)["l"]].append(json.loads(line)["t"])
UNSEEN = sorted(code for code in SENTENCES if code not in KNOWN)
LATIN = [code for code in SENTENCES if languages.script(code) == "Latn"]


def test_sentences_are_heard() -> None:
    assert len(UNSEEN) >= 25 and set(UNSEEN) <= taught()
    found = [(code, heard(text)) for code in UNSEEN for text in SENTENCES[code]]
    right = [one is not None and one[0] == code for code, one in found]
    assert np.mean(right) >= 0.9


@pytest.mark.parametrize("code", UNSEEN)
def test_no_true_sentence_is_a_mismatch(code: str) -> None:
    for text in SENTENCES[code]:
        assert mismatch(text, code) is None
        # A piece of it, as short as an interface's message.
        assert mismatch(text[:40], code) is None


def test_other_languages_are_mismatches() -> None:
    pairs = [(text, code, claimed) for claimed in ("zu", "ig", "ha", "om")
             for code in LATIN if code not in (claimed, "xh", "ss") for text in SENTENCES[code]]  # fmt: skip
    caught = [mismatch(text, claimed) is not None for text, _, claimed in pairs]
    assert np.mean(caught) >= 0.95
    assert mismatch(SENTENCES["sw"][0], "zu") == "sw" and mismatch(SENTENCES["ha"][0], "rw") == "ha"
    assert mismatch(SENTENCES["en"][0], "nso") == "en"


def test_kin_is_no_mismatch() -> None:
    for one, other in (("zu", "xh"), ("xh", "ss"), ("st", "nso"), ("tn", "st"), ("am", "am")):
        assert [mismatch(text, other) for text in SENTENCES[one]] == [None, None, None]


def test_another_script_is_left_to_the_rule_of_scripts() -> None:
    assert mismatch(SENTENCES["ru"][0], "zu") is None
    assert mismatch("", "zu") is None and heard("12 34 …") is None and heard("") is None


def test_scripts_have_their_own_letters() -> None:
    assert languages.script_share("ภาษาไทย", "Hebr") == 0 and languages.script_share("한국어", "Hani") == 0
    assert languages.script_share("עברית", "Hebr") == 1 and languages.script_share("豈更車", "Hani") == 1
    for code in SENTENCES:
        assert languages.main_script(SENTENCES[code][0]) == languages.script(code)


def test_names_of_many_languages_are_none() -> None:
    assert mismatch("Cologne, i Hamburg, i Hanover, California, ki Oregon, ki Nevada.", "mi") is None


def test_the_detector_keeps_its_vote() -> None:
    assert {"de", "yo", "sw"} <= VOTES <= KNOWN and not VOTES & {"li", "lmo", "qu"}
    assert mismatch(SENTENCES["de"][0], "fr") == "de" and mismatch(SENTENCES["yo"][0], "yo") is None


def test_tone_case_and_signs_count_for_nothing() -> None:
    plain = grams("Nkasa o mokolo ya loleke", 14)
    for other in ("NKÁSÁ: o, mokôlo… ya (loléké)!", "nka\u0301sa 12 o mokolo ya loleke"):
        assert (grams(other, 14) == plain).all()
    assert len(grams("ẹ", 14)) != 0 and not np.array_equal(grams("ẹyin", 14), grams("eyin", 14))


@given(st.text(max_size=400), st.sampled_from([12, 14]))
def test_any_text_has_grams_within_bounds(text: str, bits: int) -> None:
    found = grams(text, bits)
    assert 1 <= len(found) <= 4 * (LONGEST + 2) and found.min() >= 0 and found.max() < 1 << bits
    assert (found == grams(text[:LONGEST], bits)).all()
    for table in tables().values():
        shares = table.shares(text)
        assert shares.sum() == pytest.approx(1) and np.isfinite(shares).all()


def test_sums_fit_their_sixteen_bits() -> None:
    text = ("zzzz qqqq " * 100)[:LONGEST]
    for table in tables().values():
        found = grams(text, table.bits)
        exact = table.rows[found].astype(np.int64).sum(0)
        assert (np.add.reduce(table.rows.take(found, 0), 0, dtype=np.uint16) == exact).all()


def test_it_ships_small_and_is_quick() -> None:
    assert ngrams.TABLES.stat().st_size <= 1.5e6
    text = (SENTENCES["zu"][0] * 3)[:100]
    heard(text)
    # Some 50 µs on a machine that does nothing else.
    spent = timeit.repeat(lambda: heard(text), timer=time.process_time, number=100, repeat=5)
    assert min(spent) / 100 < 500e-6
