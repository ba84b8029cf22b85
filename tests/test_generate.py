"""Pairs out of documents and translations: what is made of which text, and what never is."""

import random
import re
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lingxi.collect import instructions
from lingxi.collect.origin import Origin, translation
from lingxi.generate import GenerateSettings, generate_pairs
from lingxi.generate.passages import clipped, paragraphs, parts, title_of
from lingxi.generate.pivot import pivot
from lingxi.generate.settings import PivotSettings, StructureSettings
from lingxi.generate.structure import KINDS, is_question, structured_pairs
from lingxi.records import Document, Pair, read_pairs, write_documents, write_pairs

LEAD = "Tea is a drink made by pouring hot water over the leaves of an evergreen shrub of Asia. It is old."
HISTORY = "Tea was first drunk in China. It came to Europe by ship. That was late. England liked it most."
STEEP = "Green tea takes two minutes. Black tea takes four. Longer than that, and either of them is bitter."
PAGE = f"""# Tea

{LEAD}

## History

{HISTORY}

### Trade

| port | year |
|---|---|
| Canton | 1700 |

Ships raced home with the first leaves of the season, and the fastest of them were paid the most for it.

## How long does it steep?

{STEEP}

## References

A book about tea, and another book about tea, and a third one, all of them long and all of them printed.
"""
TEA = Document("page:tea", PAGE, "Tea", "en", "handbook", "CC-BY-4.0", "https://example.org/tea")
SETTINGS = StructureSettings()


def made(kind: str, document: Document = TEA, settings: StructureSettings = SETTINGS) -> list[Pair]:
    return list(KINDS[kind](document, settings))


def test_a_title_asks_for_the_lead() -> None:
    (row,) = made("title")
    assert (row.query, row.positives[0].text, row.instruction) == ("Tea", LEAD, instructions.TITLE)
    assert (row.group, row.source, row.licence) == ("page:tea", "handbook", "CC-BY-4.0")
    assert (row.task, row.query_language, row.document_language) == ("retrieval", "en", "en")


def test_a_heading_asks_for_its_section_and_a_question_is_a_kind_of_its_own() -> None:
    rows = made("heading")
    assert [row.query for row in rows] == ["Tea: History", "Tea: History, Trade"]
    assert rows[0].positives[0].text == HISTORY
    (asked,) = made("question")
    assert (asked.query, asked.positives[0].text) == ("How long does it steep?", STEEP)
    assert asked.instruction == instructions.ANSWER


def test_what_every_page_has_is_left_out() -> None:
    rows = [row for _, row in structured_pairs(TEA, SETTINGS)]
    assert not any("third one" in row.query or "third one" in row.positives[0].text for row in rows)


@pytest.mark.parametrize(
    ("heading", "code"),
    [
        ("What is tea?", "en"), ("茶是什么？", "zh"), ("ما هو الشاي؟", "ar"), ("Τι είναι το τσάι;", "el"),
        ("ሻይ ምንድን ነው፧", "am"), ("Ի՞նչ է թեյը", "hy"), ("**Who drinks it?**", "en"), ("(なぜですか？)", "ja"),
    ],
)  # fmt: skip
def test_questions_are_known_in_any_script(heading: str, code: str) -> None:
    assert is_question(heading, code)


def test_what_is_no_question_is_known_too() -> None:
    assert not any(is_question(text, "en") for text in ("Tea", "Tea;", "Why? Because", ""))


@pytest.mark.parametrize("heading", ["Abstract", "Zusammenfassung", "摘要", "TL;DR:", "Tóm tắt", "چکیده"])
def test_an_abstract_asks_for_its_article(heading: str) -> None:
    page = f"# On tea\n\n## {heading}\n\n{STEEP}\n\n## Methods\n\n{HISTORY}\n\n## Results\n\n{LEAD}\n"
    (row,) = made("abstract", Document("p", page))
    assert row.query == STEEP
    assert row.positives[0].text == f"{HISTORY}\n\n{LEAD}"
    assert row.instruction == instructions.ABSTRACT
    assert not made("abstract")


def test_neighbours_ask_for_one_another() -> None:
    found = [(row.query, row.positives[0].text) for row in made("adjacent")]
    assert found[0] == (LEAD, HISTORY)
    assert len(found) == 3


def test_a_table_does_not_ask_for_its_neighbour() -> None:
    table = "| port | year |\n|---|---|\n" + "| Canton | 1700 |\n" * 9
    page = f"# Tea\n\n{LEAD}\n\n## Ports\n\n{table}\n\n## History\n\n{HISTORY}\n"
    (row,) = made("adjacent", Document("p", page))
    assert row.query == LEAD and row.positives[0].text == table.strip()


def test_a_sentence_is_taken_out_of_its_paragraph() -> None:
    seeds = [StructureSettings(seed=seed, least_text=40, least_query=10) for seed in range(8)]
    rows = [row for settings in seeds for row in made("cloze", TEA, settings)]
    assert len(rows) == 16, "two paragraphs have three sentences"
    assert len({row.query for row in rows}) > 4
    for row in rows:
        whole = HISTORY if row.query in HISTORY else STEEP
        assert row.positives[0].text.split() == whole.replace(row.query, "").split()
    assert made("cloze", TEA, seeds[0]) == made("cloze", TEA, seeds[0])


def test_a_sentence_that_is_said_twice_is_not_taken_out() -> None:
    twice = Document("p", f"{STEEP} {STEEP}", language="en")
    assert not made("cloze", twice, StructureSettings(least_text=40, least_query=10))


def test_unspaced_scripts_are_measured_by_what_they_say() -> None:
    body = "茶是用热水冲泡茶树叶子而成的饮料。它起源于中国南方。十六世纪由商船带到欧洲。"
    page = f"# 茶\n\n{body}\n"
    (row,) = made("title", Document("p", page, language="zh"))
    assert row.positives[0].text == body and row.query == "茶"
    assert not made("title", Document("p", page, language="en")), "40 Latin letters say little"
    (row,) = made("cloze", Document("p", page, language="zh"), StructureSettings(least_text=50))
    assert row.positives[0].text == body.replace(row.query, "")


def test_most_rows_are_drawn_by_seed() -> None:
    page = "# Many\n\n" + "".join(f"## Part {i}\n\n{i} {LEAD}\n\n" for i in range(30))
    few = StructureSettings(kinds=("heading",), most_rows=5)
    first = [row for _, row in structured_pairs(Document("p", page), few)]
    other = [row for _, row in structured_pairs(Document("p", page), few.model_copy(update={"seed": 1}))]
    assert len(first) == len(other) == 5 and first != other
    order = [int(row.query.split()[-1]) for row in first]
    assert order == sorted(order)


def test_what_a_document_does_not_state_is_said() -> None:
    (row,) = made("title", replace(TEA, language=None, source=None, licence=None))
    assert (row.query_language, row.source, row.licence) == ("und", "not stated", "not stated")


def test_code_tables_and_lists_are_no_prose() -> None:
    text = "Prose.\n\n```py\nx = 1\n\ny = 2\n```\n\n- a list\n\n| a | table |\n\n> quoted\n\n    code\n\nEnd."
    assert paragraphs(text) == ["Prose.", "End."]
    assert paragraphs("Before.\n\n```\nnever closed\n\nso all code") == ["Before."]


def test_a_page_may_name_itself_or_not() -> None:
    assert title_of(Document("p", "# [Tea](x.md) **now**\n\nText")) == "Tea now"
    assert title_of(Document("p", "## Tea\n\nText")) == ""
    assert [part.path for part in parts(Document("p", "# A\n\nx\n\n## B\n\ny\n\n# C\n\nz\n", "Other"))] == [
        (), ("B",), ("C",),
    ]  # fmt: skip


@given(
    st.text(st.sampled_from("ab .。\n茶"), max_size=300), st.integers(1, 80), st.sampled_from(("en", "zh"))
)
def test_a_cut_text_is_the_beginning_and_short_enough(text: str, most: int, code: str) -> None:
    cut = clipped(text, most, code)
    assert text.startswith(cut)
    assert len(cut) <= (most if code == "en" else int(most / 2.5))


@given(st.text(st.sampled_from("#a? .\n`|-=茶。；"), max_size=200))
def test_any_text_gives_pairs_of_one_group_within_bounds(text: str) -> None:
    bounds = StructureSettings(least_text=5, most_text=40, least_query=1, most_query=30)
    for _, row in structured_pairs(Document("p", text, language="en"), bounds):
        assert row.group == "p" and row.query.strip()
        assert len(row.query) <= 30 and 1 <= len(row.positives[0].text) <= 40


# Pivots


def rows_of(texts: dict[str, str], group: str = "g", english: str = "Tea", source: str = "one") -> list[Pair]:
    origin = Origin(source, "MIT")
    return [translation(origin, group, code, text, english) for code, text in texts.items()]


def test_two_translations_of_one_english_are_translations() -> None:
    rows = rows_of({"de": "Tee", "sw": "Chai"}) + rows_of({"fr": "Thé"}, english="tea")
    found = list(pivot(rows, PivotSettings()))
    sides = [((r.query_language, r.query), (r.document_language, r.positives[0].text)) for r in found]
    assert set(map(frozenset, sides)) == {
        frozenset((("de", "Tee"), ("sw", "Chai"))),
        frozenset((("de", "Tee"), ("fr", "Thé"))),
        frozenset((("fr", "Thé"), ("sw", "Chai"))),
    }  # fmt: skip
    assert all(
        r.group == "g" and r.task == "bitext" and r.instruction == instructions.PARALLEL for r in found
    )
    assert len({r.id for r in found}) == 3
    assert (found[0].source, found[0].licence) == ("one", "MIT")


def test_other_english_other_group_and_one_language_are_no_pivots() -> None:
    rows = [
        *rows_of({"de": "Tee"}), *rows_of({"sw": "Kahawa"}, english="Coffee"),
        *rows_of({"fr": "Thé"}, group="h"),
        *rows_of({"de": "der Tee"}), *rows_of({"en": "Tea"}),
        replace(rows_of({"it": "Tè"})[0], dropped="noise"),
        replace(rows_of({"es": "Té"})[0], task="retrieval"),
    ]  # fmt: skip
    assert not list(pivot(rows, PivotSettings()))


def test_two_sources_and_two_licences_are_both_named() -> None:
    rows = rows_of({"de": "Tee"}) + [
        replace(r, licence="GPL-2+") for r in rows_of({"sw": "Chai"}, source="two")
    ]
    (found,) = pivot(rows, PivotSettings())
    assert (found.source, found.licence) == ("one / two", "GPL-2+ / MIT")


def many() -> list[Pair]:
    return [
        row
        for i in range(50)
        for row in rows_of({code: f"{code} {i}" for code in ("de", "fr", "sw")}, f"g{i}", f"word {i}")
    ]


def test_the_cap_holds_and_the_order_of_the_rows_does_not_matter() -> None:
    rows, settings = many(), PivotSettings(cap=20)
    found = list(pivot(rows, settings))
    assert Counter(frozenset((r.query_language, r.document_language)) for r in found) == {
        frozenset(pair): 20 for pair in (("de", "fr"), ("de", "sw"), ("fr", "sw"))
    }
    random.Random(1).shuffle(rows)
    assert list(pivot(rows, settings)) == found
    assert {r.group for r in pivot(rows, PivotSettings(cap=20, seed=1))} != {r.group for r in found}
    both = Counter((r.query_language, r.document_language) for r in pivot(rows, PivotSettings()))
    assert len(both) == 6, "each pair of languages goes both ways"


def test_chosen_languages_and_a_share() -> None:
    chosen = list(pivot(many(), PivotSettings(pairs=(("sw", "fr"),))))
    assert len(chosen) == 50 and {(r.query_language, r.document_language) for r in chosen} == {("sw", "fr")}
    part = list(pivot(many(), PivotSettings(share=0.3)))
    assert 20 <= len(part) <= 70
    with pytest.raises(ValidationError, match="no codes of ours"):
        PivotSettings(pairs=(("swa", "fr"),))


# The stage


def test_the_stage_writes_rows_and_counts_them(tmp_path: Path) -> None:
    write_documents([TEA], tmp_path / "documents.parquet")
    write_pairs(many(), tmp_path / "pairs.parquet")
    report = generate_pairs(
        GenerateSettings(structure=StructureSettings(least_text=40), pivot=PivotSettings(cap=5)),
        tmp_path,
        tmp_path / "out",
    )
    rows = list(read_pairs(tmp_path / "out" / "pairs.parquet"))
    assert report.rows == len(rows) == sum(report.by_kind.values()) == sum(report.by_language.values())
    assert report.by_kind == {"pivot": 15, "adjacent": 3, "cloze": 2, "heading": 2, "title": 1, "question": 1}
    assert (report.calls, report.cost, report.refused, report.notes) == (0, None, {}, ())


def test_nothing_to_work_on_is_said_and_no_error(tmp_path: Path) -> None:
    report = generate_pairs(GenerateSettings(pivot=PivotSettings()), tmp_path, tmp_path / "out")
    assert report.rows == 0 and not list(read_pairs(tmp_path / "out" / "pairs.parquet"))
    assert report.notes == (
        "no documents: there is no documents.parquet", "nothing to pivot: there is no pairs.parquet",
    )  # fmt: skip
    write_documents([], tmp_path / "documents.parquet")
    write_pairs(rows_of({"de": "Tee"}), tmp_path / "pairs.parquet")
    report = generate_pairs(GenerateSettings(pivot=PivotSettings()), tmp_path, tmp_path / "out")
    assert report.notes == (
        "no documents: documents.parquet is empty",
        "nothing to pivot: no two translations share their English",
    )  # fmt: skip


def test_the_example_of_the_docs_resolves() -> None:
    text = (Path(__file__).parent.parent / "docs" / "data.md").read_text("utf-8")
    (example,) = (block for block in re.findall(r"```toml\n(.*?)```", text, re.S) if "[generate" in block)
    found = GenerateSettings.model_validate(tomllib.loads(example)["generate"])
    assert found.written is not None and found.pivot is not None
