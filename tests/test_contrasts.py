"""Contrast rows: one query, several instructions; what is right under one is wrong under the other."""

import json
import random
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lingxi.collect import instructions
from lingxi.collect.code import CodeShares, pairs_of
from lingxi.collect.origin import Origin, translation
from lingxi.curate.leaks import leak_rule
from lingxi.evaluate.readers import instructed
from lingxi.generate import GenerateSettings, generate_pairs
from lingxi.generate.contrasts import (
    code_contrasts,
    draw_contrasts,
    heading_contrasts,
    section_contrasts,
)
from lingxi.generate.ordered import ordered
from lingxi.generate.pivot import pivot
from lingxi.generate.run import rows_of_task
from lingxi.generate.settings import ContrastSettings, PivotSettings, StructureSettings
from lingxi.generate.structure import KINDS
from lingxi.generate.versions import is_version, translation_contrasts
from lingxi.generate.wording import NAMED, named
from lingxi.parse.documented import Documented
from lingxi.records import Document, Pair, read_pairs, write_documents, write_pairs
from lingxi.train.mixture import contrast_sampler
from lingxi.train.paraphrases import OTHER_WORDS
from lingxi.train.relevance import documents_of
from lingxi.train.storing import build_store

ENGLISH = "The harbour is closed to ships until the storm is over"
TEXTS = {
    "de": "Der Hafen bleibt für Schiffe geschlossen, bis der Sturm vorüber ist",
    "fr": "Le port reste fermé aux navires jusqu'à la fin de la tempête",
    "zh": "在风暴结束之前，港口对船只关闭",
    "sw": "Bandari imefungwa kwa meli hadi dhoruba itakapokwisha",
}
SETTINGS = ContrastSettings()
BODY = {
    "Symptoms": "Breath is short and the chest is tight, most of all at night. A cough keeps one awake.",
    "Treatment": "What widens the airways is breathed in at once. What calms them is taken every day.",
    "History": "Physicians of antiquity knew the word. They meant by it every kind of laboured breath.",
}
PAGE = "# Asthma\n\n" + "\n\n".join(f"## {name}\n\n{text}" for name, text in BODY.items()) + "\n"
ASTHMA = Document("page:asthma", PAGE, "Asthma", "en", "handbook", "CC-BY-4.0")
WHOLE = "def area(width, height):\n    if width < 0:\n        raise ValueError(width)\n" + "".join(
    f"    step_{i} = width * {i}\n" for i in range(6)
)
AREA = Documented("area", "Multiply the sides of a rectangle into its area", WHOLE)


def said(
    texts: dict[str, str] = TEXTS, group: str = "g", english: str = ENGLISH, source: str = "one"
) -> list[Pair]:
    return [translation(Origin(source, "MIT"), group, code, text, english) for code, text in texts.items()]


def asked(rows: list[Pair], most: int = 100, **given: object) -> list[Pair]:
    return list(translation_contrasts(rows, ContrastSettings(**given), most))


def many() -> list[Pair]:
    return [
        row
        for i in range(60)
        for row in said({code: f"{text} {i}" for code, text in TEXTS.items()}, f"g{i}", f"{ENGLISH} {i}")
    ]


def answered(rows: list[Pair]) -> dict[str, tuple[str, set[str]]]:
    """By instruction: the answer, and what is wrong."""
    return {row.instruction: (row.positives[0].text, {item.text for item in row.negatives}) for row in rows}


def code_rows(shares: CodeShares, function: Documented = AREA) -> list[Pair]:
    return list(pairs_of(function, "python", "package:shape.py", Origin("package", "MIT"), shares))


def all_kinds() -> list[Pair]:
    """Rows of every kind, with those that were collected and that contrast with them."""
    collected = [
        *code_rows(CodeShares(1.0, 0.0)),
        *code_rows(CodeShares(0.0, 1.0), replace(AREA, name="other")),
    ]
    documents = [*section_contrasts(ASTHMA, SETTINGS), *heading_contrasts(ASTHMA, SETTINGS)]
    code = [row for contrast in code_contrasts(collected) for row in contrast]
    return [*asked(many(), 120), *(row for contrast in documents for row in contrast), *code, *collected]


# Translations


def test_a_sentence_asks_for_the_language_that_the_instruction_names() -> None:
    rows = asked(said(), answers=4)
    found = answered(rows)
    assert set(found) == {
        f"Given a sentence, retrieve its translation into {name}"
        for name in ("German", "French", "Chinese", "Swahili")
    }
    for row in rows:
        right, wrong = found[row.instruction]
        assert right == TEXTS[row.document_language] and wrong == set(TEXTS.values()) - {right}
        assert named(row.document_language) in row.instruction
        assert (row.query, row.query_language, row.task, row.group) == (ENGLISH, "en", "retrieval", "g")
    assert len({row.id for row in rows}) == 4


def test_one_language_is_no_contrast_and_one_text_in_two_neither() -> None:
    assert not asked(said({"de": TEXTS["de"]}))
    assert not asked(said({"de": TEXTS["de"], "lb": TEXTS["de"].upper()}))
    assert not asked(said({"de": TEXTS["de"], "fr": TEXTS["fr"]}, english="Closed"))
    apart = said({"de": TEXTS["de"]}) + said({"fr": TEXTS["fr"]}, group="h")
    assert not asked(apart) and not asked([replace(row, dropped="noise") for row in said()])
    assert not asked([replace(row, task="retrieval") for row in said()])
    assert {row.document_language for row in asked(said(), languages=("de", "zh"))} == {"de", "zh"}


def test_every_text_of_a_language_is_right_and_every_source_is_named() -> None:
    other = "Der Hafen ist bis zum Ende des Sturms für Schiffe gesperrt"
    rows = asked(
        said({"de": TEXTS["de"]})
        + said({"de": other, "fr": TEXTS["fr"]}, source="two", english=ENGLISH.upper())
    )
    german, french = sorted(rows, key=lambda row: row.document_language)
    assert (
        {item.text for item in german.positives}
        == {item.text for item in french.negatives}
        == {TEXTS["de"], other}
    )
    assert {row.query for row in rows} == {ENGLISH.upper()} and {row.source for row in rows} == {"one / two"}


@pytest.mark.parametrize(
    "text",
    [
        "Der Hafen %s bleibt geschlossen, bis der Sturm vorüber ist",
        "Der _Hafen bleibt geschlossen, bis der Sturm vorüber ist",
        "The harbour is closed to ships bis der Sturm vorüber ist",
        "Гавань закрыта для судов, пока не кончится шторм",
        "Hafen;geschlossen;Schiffe;Sturm;Stadt;Meer;Wetter;", "Zu", "Sturm " * 60, "",
    ],
)  # fmt: skip
def test_what_is_no_translation_is_none(text: str) -> None:
    assert not is_version(ENGLISH, text, "de")
    assert is_version(ENGLISH, TEXTS["de"], "de") and is_version(ENGLISH, TEXTS["zh"], "zh")


def test_languages_are_even_the_cap_holds_and_the_order_does_not_matter() -> None:
    rows = many() + [
        row
        for i in range(200)
        for row in said({"de": f"{TEXTS['de']} {i}", "fr": f"{TEXTS['fr']} {i}"}, f"h{i}")
    ]
    found = asked(rows, 90, answers=2)
    assert 89 <= len(found) <= 90
    four = Counter(row.document_language for row in found if row.group.startswith("g"))
    assert four["sw"] + four["zh"] > 0.8 * four.total() > 10, "German and French have rows enough"
    even = Counter(row.document_language for row in asked(many(), 90, answers=2))
    assert min(even[code] for code in TEXTS) > 20
    random.Random(1).shuffle(rows)
    assert asked(rows, 90, answers=2) == found
    assert {row.group for row in asked(rows, 90, answers=2, seed=1)} != {row.group for row in found}


def test_rows_are_sorted_once_each_and_pivots_are_what_they_were() -> None:
    assert list(ordered([(2, "b"), (1, "z"), (2, "a"), (1, "z")])) == [(1, "z"), (2, "a"), (2, "b")]
    assert not list(ordered([]))
    found = list(pivot(said(), PivotSettings()))
    assert len(found) == 6 and {row.group for row in found} == {"g"}


# Documents and code


def test_a_heading_asks_for_its_section_or_for_the_next() -> None:
    first, second = section_contrasts(ASTHMA, SETTINGS)
    assert {row.query for row in first} == {"Asthma: Symptoms"} and {row.query for row in second} == {
        "Asthma: Treatment"
    }
    assert answered(list(first)) == {
        instructions.SECTION: (BODY["Symptoms"], {BODY["Treatment"]}),
        instructions.FOLLOWING: (BODY["Treatment"], {BODY["Symptoms"]}),
    }
    assert {(row.group, row.task, row.source, row.licence) for row in first} == {
        ("page:asthma", "retrieval", "handbook", "CC-BY-4.0")
    }


def test_a_section_asks_for_the_next_or_for_its_heading() -> None:
    first, _ = heading_contrasts(ASTHMA, SETTINGS)
    assert {row.query for row in first} == {BODY["Symptoms"]}
    assert answered(list(first)) == {
        instructions.NEXT: (BODY["Treatment"], {"Asthma: Symptoms"}),
        instructions.HEADED: ("Asthma: Symptoms", {BODY["Treatment"]}),
    }


def test_rows_that_the_structure_makes_too_are_the_same_rows() -> None:
    made = {row.id for rows in section_contrasts(ASTHMA, SETTINGS) for row in rows}
    made |= {row.id for rows in heading_contrasts(ASTHMA, SETTINGS) for row in rows}
    own = [row.id for kind in ("heading", "adjacent") for row in KINDS[kind](ASTHMA, StructureSettings())]
    assert len(made & set(own)) == 4


@pytest.mark.parametrize("make", [section_contrasts, heading_contrasts])
def test_without_a_title_a_length_or_a_difference_there_is_no_contrast(make) -> None:
    untitled = replace(ASTHMA, title=None, text=PAGE.replace("# Asthma\n\n", "", 1))
    twice = "# Asthma\n\n" + f"## One\n\n{BODY['History']}\n\n## Two\n\n{BODY['History']}\n"
    assert not list(make(untitled, SETTINGS)) and not list(make(replace(ASTHMA, text=twice), SETTINGS))
    listing = PAGE.replace(
        BODY["Treatment"], "iface br0 inet static address 10.0.0.1 netmask 255.255.255.0 " * 3
    )
    assert not list(make(replace(ASTHMA, text=listing), SETTINGS))
    assert not list(make(ASTHMA, ContrastSettings(least_text=200)))


@pytest.mark.parametrize("shares", [CodeShares(1.0, 0.0), CodeShares(0.0, 1.0)])
def test_code_with_a_gap_asks_for_itself_or_for_its_comment(shares: CodeShares) -> None:
    comment, gap = code_rows(shares)
    ((row,),) = code_contrasts([comment, gap])
    assert (row.query, row.task, row.group) == (gap.query, "code", gap.group)
    assert row.positives[0].text == AREA.summary and row.negatives == gap.positives
    assert (row.query_language, row.document_language) == ("python", "en")
    assert row.instruction == instructions.DESCRIBED != gap.instruction


def test_the_comment_of_other_code_is_not_taken() -> None:
    comment, gap = code_rows(CodeShares(1.0, 0.0))
    (other,) = code_rows(CodeShares(0.0, 0.0), replace(AREA, code=WHOLE + "    return 0\n"))
    assert other.group == gap.group
    assert not list(code_contrasts([other, gap])) and not list(code_contrasts([gap, comment]))
    assert not list(code_contrasts([comment, replace(gap, dropped="noise")]))


def test_contrasts_are_drawn_whole_by_seed_and_in_order() -> None:
    pages = [replace(ASTHMA, id=f"page:{i}") for i in range(40)]

    def drawn(most: int, seed: int) -> list[Pair]:
        return list(
            draw_contrasts(
                lambda: (c for page in pages for c in section_contrasts(page, SETTINGS)), most, seed
            )
        )

    first, other = drawn(21, 0), drawn(21, 1)
    assert len(first) == len(other) == 20 and first != other and drawn(21, 0) == first
    assert all(len(same) >= 2 for same in by_query(first).values())
    assert len(drawn(1_000, 0)) == 160 and [r.id for r in drawn(1_000, 0) if r in first] == [
        r.id for r in first
    ]


def by_query(rows: list[Pair]) -> dict[tuple[str, str], list[Pair]]:
    found = defaultdict(list)
    for row in rows:
        found[row.group, row.query].append(row)
    return found


# The batch


def test_a_batch_has_each_one_s_answer_as_a_negative_of_the_other(tmp_path: Path) -> None:
    write_pairs(all_kinds(), tmp_path / "pairs.parquet")
    mixed = contrast_sampler(build_store([tmp_path / "pairs.parquet"], tmp_path / "store", 0), 0.5)
    tried: Counter[str] = Counter()
    for seed in range(60):
        rows = mixed.store.rows(mixed.draw(np.random.default_rng(seed), 8).numbers)
        found = documents_of(rows, np.random.default_rng(seed), negatives=2)
        for one, two in pairwise(range(len(rows))):
            if rows[one].query == rows[two].query:
                assert rows[one].group == rows[two].group and rows[one].instruction != rows[two].instruction
                assert found.relevant[one, one] and found.relevant[two, two] and found.same_query[one, two]
                assert not found.relevant[one, two] and not found.relevant[two, one]
                own = np.flatnonzero(found.owner == one)[1:]
                assert not found.relevant[one, own].any()
                tried[rows[one].task] += 1
    assert set(tried) == {"retrieval", "code"} and min(tried.values()) > 10, tried


# What the benchmark measures stays unseen


def test_no_instruction_of_the_benchmark_is_taught() -> None:
    taught = {value for name, value in vars(instructions).items() if name.isupper()}
    taught |= {instructions.INTO.format(named(code)) for code in NAMED} | {
        row.instruction for row in all_kinds()
    }
    taught |= {words for others in OTHER_WORDS.values() for words in others}
    measured = {
        instructed.TRANSLATION,
        instructed.TOPIC,
        instructed.INTENT,
        instructed.SAME_INTENT,
        *instructed.RANDOM,
    }
    assert {words.casefold() for words in taught}.isdisjoint(words.casefold() for words in measured)
    begun = tuple(words.partition("{}")[0] for words in instructed.ASPECTS.values())
    assert not [words for words in taught if words.startswith(begun)]


def test_no_query_of_the_benchmark_is_asked(tmp_path: Path) -> None:
    conditions = [json.loads(line) for line in instructed.MEDICAL.read_text("utf-8").splitlines()]
    queries, texts = (
        {row.pop("condition") for row in conditions},
        {text for row in conditions for text in row.values()},
    )
    assert "asthma" in queries
    pages = [
        Document(name, PAGE.replace("Asthma", name.title()), title, "en")
        for name in queries for title in (None, name, "Health")
    ]  # fmt: skip
    bare = [Document(f"bare {name}", PAGE.replace("Symptoms", name), None, "en") for name in queries]
    rows = [
        row
        for page in pages + bare
        for make in (section_contrasts, heading_contrasts)
        for c in make(page, SETTINGS)
        for row in c
    ]
    asked_for = {row.query.casefold() for row in rows}
    assert len(asked_for) > 20 and asked_for.isdisjoint(queries)
    assert {item.text for row in rows for item in row.positives}.isdisjoint(texts)
    (tmp_path / instructed.SIB200).write_text(json.dumps({"t": ENGLISH, "l": "eng_Latn"}) + "\n", "utf-8")
    leaks = leak_rule(tmp_path, distractors=False)
    assert all(leaks(row) == "benchmark leak: query in cls_bitext_sib200_test" for row in asked(said()))
    assert all(leaks(row) is None for row in rows)


# The stage and its settings


def test_the_stage_makes_every_kind_and_counts_it(tmp_path: Path) -> None:
    write_documents([ASTHMA], tmp_path / "documents.parquet")
    write_pairs([*many(), *code_rows(CodeShares(1.0, 0.0))], tmp_path / "pairs.parquet")
    settings = GenerateSettings(
        structure=StructureSettings(kinds=("heading",)), contrasts=ContrastSettings(cap=40)
    )
    report = generate_pairs(settings, tmp_path, tmp_path / "out")
    rows = list(read_pairs(tmp_path / "out" / "pairs.parquet"))
    kinds = {"translation": 9, "section": 4, "heading": 4, "code": 1}
    assert report.by_kind == {**{f"contrast: {kind}": count for kind, count in kinds.items()}, "heading": 3}
    assert report.rows == len(rows) == 21 and report.notes == ()
    assert rows[0].negatives and not rows[-1].negatives, "curate keeps the first of equal rows"
    assert sum(row.task == "code" for row in rows) == 1


def test_what_there_is_none_of_is_said(tmp_path: Path) -> None:
    settings = GenerateSettings(structure=None, contrasts=ContrastSettings())
    report = generate_pairs(settings, tmp_path, tmp_path / "out")
    assert report.rows == 0 and len(report.notes) == 4
    assert report.notes[0] == "no contrasts of the kind translation: nothing collected has two answers"


def test_rows_of_a_task_are_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    write_pairs([*many(), *code_rows(CodeShares(1.0, 0.0))], path)
    assert {row.task for row in rows_of_task(path, "code")} == {"code"}
    swahili = list(rows_of_task(path, "bitext", ["sw"]))
    assert len(swahili) == 60 and {row.query_language for row in swahili} == {"sw"}
    assert not list(rows_of_task(tmp_path / "none.parquet", "code"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"languages": ("de", "xx")}, {"languages": ("en", "de")}, {"languages": ("de",)}, {"kinds": ()},
        {"kinds": ("code", "code")}, {"cap": 0}, {"answers": 1}, {"unknown": 1},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ContrastSettings(**wrong)
    assert ContrastSettings(kinds=("code",), languages=("de",)).languages == ("de",)
