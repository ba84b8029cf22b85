"""Noise and languages: what falls, and what must stay."""

import pytest

from lingxi.curate.noise import formula, personal, repeated, wordless
from lingxi.curate.rules import RuleSettings, wrong_language
from lingxi.curate.speech import KNOWN, mismatch
from test_curate import pair

GERMAN = "Die Datei konnte nicht geöffnet werden, weil sie fehlt."
ENGLISH = "The file could not be opened because it is missing here."


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com, john@gmail.com",
        "ivan.petrov@mail.ru",
        "Card 4111 1111 1111 1111.",
        "4111 1111 1111 1111 12/25",
        "write to anna.k@posteo.de",
        "call +49 30 1234567 today",
        "card 4111 1111 1111 1111 expires",
    ],
)
def test_personal_data_falls(text: str) -> None:
    assert personal(text) == "personal data"


@pytest.mark.parametrize(
    "text",
    ["user@example.com", "ssh user@host", "1 + 2 = 3", "ISBN 978-3-16-148410-0", "4111 1111 1111 1112",
     "version 1.2.3.4", "@media print", "return a +10000;", "t = t0 +86400", "y = x@self.weight"],
)  # fmt: skip
def test_what_only_looks_personal_stays(text: str) -> None:
    assert personal(text) is None


def test_repetition_and_signs() -> None:
    assert repeated("======== a") and repeated("no no no no no no yes no") and repeated("ха " * 9)
    assert not repeated("a b a b a b a b") and not repeated("10000000000 euros")
    assert wordless("→ 12:30 %% #4") and not wordless("如何配置重试?") and not wordless("café – 3 €")
    assert (
        formula("translator-credits")
        and formula("© Copyright 2009 by me")
        and not formula("copy the right file")
    )


def test_a_known_language_is_heard() -> None:
    assert mismatch(GERMAN, "fr") == "de"
    assert mismatch(GERMAN, "de") is None and mismatch(GERMAN, "nds") is None
    assert mismatch("Datei", "fr") is None
    assert {"en", "sw", "zh", "yo"} <= KNOWN and not {"ig", "zu", "rw", "ha"} & KNOWN


def test_of_a_language_that_nobody_knows_only_english_is_heard() -> None:
    assert mismatch(ENGLISH, "ve") == "en"
    assert mismatch("Faela a yo ngo kona u vulwa ngauri a i ho fhano namusi", "ve") is None
    assert mismatch(GERMAN, "ve") is None


def test_rows_say_why() -> None:
    assert wrong_language(pair(ENGLISH, ENGLISH + " Again.", query_language="zu")) == "untranslated"
    assert wrong_language(pair(GERMAN, ENGLISH, query_language="fr")) == "wrong language"
    assert wrong_language(pair(GERMAN, ENGLISH)) is None
    assert wrong_language(pair(GERMAN, "def f(): pass", task="code", query_language="fr")) is None
    assert not RuleSettings().detect_languages
