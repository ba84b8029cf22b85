"""Curating: no row goes without a reason, every rule on rows that fall and rows that stay."""

import json
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingxi.collect import CollectSettings, collect_pairs
from lingxi.curate import CurateSettings, curate_pairs
from lingxi.curate.duplicates import near_duplicate_rule, over_cap, repeated
from lingxi.curate.leaks import barred_rule, benchmark_texts, leak_rule
from lingxi.curate.rowwise import Columns, key_of
from lingxi.curate.rules import RuleSettings, first_reason, folded, licence_reason, rules
from lingxi.errors import InputError
from lingxi.records import Pair, digest, pair_schema, passage, read_pairs, write_pairs

DATA = Path(__file__).parent / "data"
RULES = rules(RuleSettings())


def pair(query: str, *positives: str, **other: object) -> Pair:
    values: dict[str, object] = {
        "id": digest(query, *positives),
        "group": query,
        "negatives": (),
        "instruction": "Retrieve parallel sentences",
        "task": "bitext",
        "query_language": "de",
        "document_language": "en",
        "source": "made",
        "licence": "CC0",
    }
    return Pair(query=query, positives=tuple(passage(text) for text in positives), **{**values, **other})


@pytest.mark.parametrize(
    "licence",
    [
        "CC BY 4.0",
        "CC BY-SA 4.0 (SQuAD v1.1 train part; 0 overlap with XQuAD)",
        "CC BY-SA (STSb); non-en = DeepL MT",
        "CC BY-SA 4.0 (FLORES-200), repo Apache-2.0",
        "CC BY 2.0 FR",
        "CC0",
        "MIT",
        "MIT / C-UDA",
        "C-UDA 1.0",
        "Apache-2.0",
        "BSD-3-Clause",
        "Unicode",
    ],
)
def test_licences_that_are_allowed(licence: str) -> None:
    assert licence_reason("some", licence, (), ()) is None


@pytest.mark.parametrize(
    "licence",
    [
        "CC BY-NC 4.0",
        "CC BY-NC-SA 4.0",
        "CC BY-ND 4.0",
        "research/non-commercial (Flickr30k)",
        "Open-i IU (check: CC BY-NC-ND on Open-i)",
        "MSR",
        "TREC, research",
        "research",
        "per-source; ML research use",
        "not stated",
        "GPL-2+",
        "MIT / proprietary",
        "MITRE",
        "",
    ],
)
def test_licences_that_are_denied(licence: str) -> None:
    assert licence_reason("some", licence, (), ())


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("GPL-2+__and__LGPL-2+", True),
        ("LGPL-2.1-only_OR_LGPL-3.0-only_OR_LicenseRef-KDE-Accepted-LGPL", True),
        ("LGPL-2+ and sun-permissive", True),
        ("ISC", True),
        ("DFSG-free", True),
        ("UNLICENSED", False),
        ("SEE LICENSE IN EULA", False),
        ("not stated", False),
        ("CC BY-NC 4.0 and GPL-2+", False),
    ],
)
def test_free_packages_by_pattern(licence: str, allowed: bool) -> None:
    assert (licence_reason("lib-a", licence, ("lib-*",), ()) is None) is allowed
    assert licence_reason("other", licence, ("lib-*",), ())


def test_named_packages_and_unverified_sources() -> None:
    assert licence_reason("mediawiki", "GPL-2+", ("mediawiki",), ()) is None
    assert licence_reason("mediawiki2", "GPL-2+", ("mediawiki",), ())
    assert "not verified" in str(licence_reason("pair_zh_cmedqq", "Apache-2.0", (), ("zh_cmed",)))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (pair("Der Hund schläft heute.", "The dog sleeps today."), None),
        (pair("", "The dog sleeps today."), "empty query"),
        (pair("Der Hund schläft."), "no positive"),
        (pair("Wikimedia Commons!", "wikimedia commons"), "identical sides"),
        (pair("Datei %s wurde gelöscht.", "File %s was deleted."), "format placeholder"),
        (pair("Starte {0} noch einmal.", "Start {0} once again."), "format placeholder"),
        (pair("Ein Zimmer kostet 20% des Lohns.", "A room costs 20% of the wage, US$30."), None),
        (pair("Verschieben", "Move the page"), "too short"),
        (pair("请说明编辑", "Explain your edit", query_language="zh"), None),
        (pair("编辑", "Edit the page", query_language="zh"), "too short"),
        (pair("Ja, bitte sehr gern.", "Yes, " + "please " * 20), "length ratio"),
        (pair("Write a short note.", "Write one short note.", query_language="ru"), "wrong script"),
        (pair("Напишите заметку в Wiki.", "Write one short note.", query_language="ru"), None),
        (pair("ls", "ls", task="code"), "identical sides"),
        (pair("q" * 4001, "an answer", task="retrieval"), "query too long"),
        (pair("why", "because", task="retrieval"), None),
        (
            pair("Der Hund schläft heute.", "The dog sleeps today.", licence="CC BY-NC 4.0"),
            "licence not allowed",
        ),
    ],
)
def test_rules(row: Pair, reason: str | None) -> None:
    found = first_reason(row, RULES)
    assert found is None if reason is None else str(found).startswith(reason)


@given(st.text())
def test_folding_is_stable(text: str) -> None:
    assert folded(folded(text)) == folded(text)


def test_a_duplicate_is_a_later_row_of_equal_words() -> None:
    rows = [
        pair("Guten Tag!", "Good day."),
        pair("guten tag", "good day"),
        pair("guten tag", "hello there"),
        pair("guten tag", "good day", task="retrieval"),
    ]
    keys = np.array([key_of(row) for row in rows], np.uint64)
    assert repeated(keys).tolist() == [False, True, False, False]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=60), st.integers(1, 8), st.randoms()
)
def test_the_cap_is_drawn_not_taken_in_order(rows: list[tuple[int, int]], most: int, random: Random) -> None:
    rows = list(dict.fromkeys(rows))

    def kept(order: list[tuple[int, int]], most: int) -> set[tuple[int, int]]:
        kinds, draws = (np.array(column) for column in zip(*order, strict=True)) if order else ([], [])
        lost = over_cap(np.asarray(kinds, np.int64), np.asarray(draws, np.uint64), most)
        return {row for row, over in zip(order, lost, strict=True) if not over}

    shuffled = random.sample(rows, len(rows))
    assert kept(rows, most) == kept(shuffled, most) <= kept(rows, most + 1)
    of_kind = {kind: sorted(draw for k, draw in rows if k == kind) for kind, _ in rows}
    assert kept(rows, most) == {(kind, draw) for kind, own in of_kind.items() for draw in own[:most]}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_processes_and_pieces_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [pair(f"Satz mit der Nummer {n % 70}", f"Sentence with number {n % 70}") for n in range(100)]
    write_pairs(rows, tmp_path / "pairs.parquet")
    one = curate_pairs(CurateSettings(cap=30), tmp_path / "pairs.parquet", tmp_path / "one")
    assert one.total.dropped == {"over the cap": 40, "duplicate": 30}
    monkeypatch.setattr("lingxi.records.BATCH_ROWS", 7)
    monkeypatch.setattr("lingxi.curate.rowwise._GROUPS", 3)
    write_pairs(rows, tmp_path / "small.parquet")
    other = curate_pairs(
        CurateSettings(cap=30, runner="native"), tmp_path / "small.parquet", tmp_path / "other"
    )
    assert other == one and len(list((tmp_path / "other" / "rows").iterdir())) == 5
    for name in ("pairs.parquet", "dropped.parquet"):
        assert list(read_pairs(tmp_path / "one" / name)) == list(read_pairs(tmp_path / "other" / name))


def test_leaks_name_the_set() -> None:
    rule = leak_rule(DATA / "benchmark", distractors=False)
    assert rule(pair("mañana iremos al mercado", "x")) == "benchmark leak: query in bitext_tatoeba"
    assert rule(pair("x", "The dog is sleeping")) == "benchmark leak: positive in bitext_tatoeba"
    assert rule(pair("python read a file", "x", task="code")) == "benchmark leak: query in cosqa_test"
    assert rule(pair("sum", "def total(a):\n    return sum(a)", task="code")) is None
    everything = leak_rule(DATA / "benchmark", distractors=True)
    assert everything(pair("sum", "def total(a):\n    return sum(a)", task="code"))
    with pytest.raises(InputError, match="no benchmark"):
        list(benchmark_texts(DATA / "none", distractors=False))


def test_nothing_goes_without_a_reason(tmp_path: Path) -> None:
    sources = CollectSettings(labelled=DATA / "labelled", mediawiki=str(DATA / "mediawiki"), seed=3)
    collected = collect_pairs(sources, tmp_path / "1")
    report = curate_pairs(CurateSettings(benchmark=DATA / "benchmark"), tmp_path / "1", tmp_path / "2")
    kept, dropped = (list(read_pairs(tmp_path / "2" / name)) for name in ("pairs.parquet", "dropped.parquet"))
    assert len(kept) + len(dropped) == collected.rows == report.total.rows
    assert all(row.dropped is None for row in kept) and all(row.dropped for row in dropped)
    assert report.total.dropped == Counter(row.dropped for row in dropped)
    assert report.total.kept == len(kept) == sum(counts.kept for counts in report.by_source.values())
    assert sum(counts.rows for counts in report.by_language.values()) == collected.rows
    reasons = {row.source: row.dropped for row in dropped}
    assert str(reasons["pair_zh_cmedqq"]).startswith("licence of the data not verified")
    assert str(reasons["bitext_en_sw_lafand"]).startswith("licence not allowed")
    assert reasons["code_cosqa_dev"] == "no positive"
    ledger = json.loads((tmp_path / "2" / "ledger.json").read_text("utf-8"))
    assert ledger["total"]["kept"] == len(kept)


def test_rows_keep_their_order_and_their_reasons(tmp_path: Path) -> None:
    rows = [pair(f"Satz mit der Nummer {n}", f"Sentence with the number {n}") for n in range(30)]
    rows[4] = pair("Satz vier ist schlecht", "Sentence four is bad", dropped="by hand")
    write_pairs(rows, tmp_path / "pairs.parquet")
    report = curate_pairs(CurateSettings(cap=20), tmp_path / "pairs.parquet", tmp_path / "out")
    assert report.total.dropped == {"over the cap": 9, "by hand": 1}
    kept = [row.query for row in read_pairs(tmp_path / "out" / "pairs.parquet")]
    assert kept == [row.query for row in rows if row.query in set(kept)]
    again = curate_pairs(CurateSettings(cap=20), tmp_path / "pairs.parquet", tmp_path / "again")
    assert again == report
    assert [row.query for row in read_pairs(tmp_path / "again" / "pairs.parquet")] == kept


def test_a_file_without_rows_is_curated(tmp_path: Path) -> None:
    pq.write_table(pair_schema().empty_table(), tmp_path / "pairs.parquet")
    assert pq.ParquetFile(tmp_path / "pairs.parquet").num_row_groups == 1
    settings = CurateSettings(near_duplicates=True)
    report = curate_pairs(settings, tmp_path / "pairs.parquet", tmp_path / "out")
    assert (report.total.rows, report.total.kept) == (0, 0)
    assert not list(read_pairs(tmp_path / "out" / "pairs.parquet"))
    # Beside others it changes nothing.
    write_pairs([pair("Der Hund schläft heute.", "The dog sleeps today.")], tmp_path / "one.parquet")
    both = [tmp_path / "pairs.parquet", tmp_path / "one.parquet"]
    assert curate_pairs(settings, both, tmp_path / "both").total.kept == 1


def test_a_first_reason_stands() -> None:
    none = np.zeros(4, np.uint64)
    columns = Columns(["kept"], np.zeros(4, np.int32), none, none)
    columns.drop(np.array([1, 2]), "first")
    columns.drop(np.array([2, 3]), "second")
    assert [columns.reasons[number] for number in columns.reason] == ["kept", "first", "first", "second"]


WORDS = " ".join(f"word{i}" for i in range(60))


def test_long_passages_that_are_nearly_equal_are_copies() -> None:
    rule = near_duplicate_rule()
    rows = [
        pair("q1", WORDS, task="retrieval"),
        pair("q2", WORDS.replace("word30", "other"), task="retrieval"),
        pair("q3", WORDS, task="retrieval", instruction="another"),
        pair("q4", " ".join(reversed(WORDS.split())), task="retrieval"),
        pair("q5", WORDS[:100], task="retrieval"),
        pair("q6", WORDS[:100], task="retrieval"),
        pair("q7", WORDS),
    ]
    assert [rule(row) for row in rows] == [None, "near duplicate", None, None, None, None, None]
    again = [pair(f"again {row.query}", row.positives[0].text, task="retrieval") for row in rows[:2]]
    assert [rule(row) for row in again] == [None, "near duplicate"], "a copy that is repeated is one still"


def test_nearly_the_benchmark_is_a_leak(tmp_path: Path) -> None:
    chinese = "敏捷的棕色狐狸跳过了那只懒惰的狗然后跑进了森林深处再也没有人看见过它们的踪影直到第二年春天来临"
    (tmp_path / "set.jsonl").write_text(json.dumps({"q": "short one", "p": WORDS}) + "\n")
    (tmp_path / "zh.jsonl").write_text(json.dumps({"q": "又一个", "p": chinese}) + "\n")
    rule = leak_rule(tmp_path, distractors=False)
    assert rule(pair("fresh", "Before it. " + WORDS + " And after it.")) == "benchmark leak: positive near"
    assert rule(pair("fresh", chinese + "。就是这样。")) == "benchmark leak: positive near"
    assert rule(pair("fresh", " ".join(reversed(WORDS.split())))) is None
    assert (
        rule(
            pair("fresh", "敏捷的狐狸住在森林里,春天来临的时候它们会跑出来寻找食物,然后再回到森林深处去休息")
        )
        is None
    )


@pytest.mark.parametrize("source", [
    "ruby-mail", "ruby-mail 2.8.1", "ruby-mail@2", "ruby-mail:lib/mail.rb", "other 1 / ruby-mail 2",
    "a / b / ruby-mail",
])  # fmt: skip
def test_sources_of_a_benchmark_are_barred(source: str) -> None:
    assert barred_rule(["ruby-mail"])(pair("q", "p", source=source)) == "benchmark source: ruby-mail"


def test_other_sources_are_not_barred(tmp_path: Path) -> None:
    assert barred_rule(["ruby-mail"])(pair("q", "p", source="ruby-mailbox / mail")) is None
    rows = [
        pair("Ich habe Hunger.", "I am hungry.", source="twig 3"),
        pair("Wo ist der Bahnhof?", "Where is the station?"),
    ]
    write_pairs(rows, tmp_path / "pairs.parquet")
    curate_pairs(CurateSettings(), tmp_path / "pairs.parquet", tmp_path / "out", ["twig"])
    assert [row.source for row in read_pairs(tmp_path / "out" / "pairs.parquet")] == ["made"]
    (dropped,) = read_pairs(tmp_path / "out" / "dropped.parquet")
    assert dropped.dropped == "benchmark source: twig"


def test_vowel_signs_are_no_borders() -> None:
    assert folded("राम की") != folded("राम का") and len(folded("हिन्दी में").split()) == 2


@pytest.mark.parametrize(
    "licence", ["MIT AND GPL-3.0-only", "Apache-2.0 and GPL-2+", "BSD-3-clause and Proprietary", "MITM"]
)
def test_every_licence_of_a_row_is_asked(licence: str) -> None:
    assert licence_reason("some", licence, (), ()) is not None


@pytest.mark.parametrize("text", ["Copy %1 to %2", "Copied %ld files", "Hello {name}", "$1 edited the page"])
def test_placeholders_of_every_kind(text: str) -> None:
    row = pair(text + " right now", text + " jetzt gleich hier")
    assert first_reason(row, RULES) == "format placeholder"


def test_several_questions_of_one_passage_stay() -> None:
    rule = near_duplicate_rule()
    rows = [pair(f"question {i}", WORDS, task="retrieval") for i in range(3)]
    assert [rule(row) for row in rows] == [None, None, None]
