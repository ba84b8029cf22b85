"""Rows: what is written is what is read, in bounded batches; damaged files are named."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingxi import languages
from lingxi.errors import InputError
from lingxi.records import (
    Document,
    Pair,
    Passage,
    batches,
    digest,
    document_schema,
    pair_schema,
    passage,
    read_documents,
    read_pairs,
    write_documents,
    write_pairs,
)

PAIR = Pair(
    id="1",
    group="g",
    query="¿Qué?",
    positives=(passage("uno", 1.0), Passage("m", "dos", "picture.png", None)),
    negatives=(),
    instruction="Find it",
    task="retrieval",
    query_language="es",
    document_language="en",
    source="made",
    licence="CC0",
    scores={"similarity": 2.5, "teacher": 0.5},
)


def test_schemas_hold_every_field_in_order() -> None:
    assert pair_schema().names == [item.name for item in fields(Pair)]
    assert document_schema().names == [item.name for item in fields(Document)]


def test_pairs_survive_the_file(tmp_path: Path) -> None:
    rows = [PAIR, replace(PAIR, id="2", positives=(), scores={}, dropped="too short")]
    assert write_pairs(iter(rows), tmp_path / "deep" / "pairs.parquet") == 2
    assert list(read_pairs(tmp_path / "deep" / "pairs.parquet")) == rows
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["pairs.parquet"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("rows") / "documents.parquet"
    rows = [Document(id=digest(a, b), text=a, title=b, language="en") for a, b in texts]
    assert write_documents(rows, path) == len(rows)
    assert list(read_documents(path)) == rows


def test_more_rows_than_a_batch(tmp_path: Path) -> None:
    rows = (Document(id=str(number), text="t") for number in range(20_001))
    assert write_documents(rows, tmp_path / "d.parquet") == 20_001
    assert [row.id for row in read_documents(tmp_path / "d.parquet")][-1] == "20000"


def test_a_batch_ends_where_its_text_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lingxi.records.BATCH_SIZE", 100_000)
    path = tmp_path / "d.parquet"
    rows = [Document(id=str(number), text=f"{number:05}" * 4000) for number in range(40)]
    assert write_documents(rows, path) == 40
    sizes = [batch.num_rows for batch in batches(path, document_schema())]
    assert max(sizes) <= 5 and list(read_documents(path)) == rows
    # A file that others wrote in one piece.
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pq.read_table(path), path, row_group_size=40)
    sizes = [batch.num_rows for batch in batches(path, document_schema())]
    assert max(sizes) <= 5 and list(read_documents(path)) == rows
    pairs = [replace(PAIR, id=str(n), negatives=(passage("x" * 60_000),)) for n in range(4)]
    write_pairs(pairs, path)
    assert [batch.num_rows for batch in batches(path, pair_schema())] == [2, 2]
    assert list(read_pairs(path)) == pairs


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "no.parquet").write_text("nothing")
    write_documents([Document("1", "t")], tmp_path / "d.parquet")
    for name, said in (
        ("none.parquet", "no Parquet file"),
        ("no.parquet", "no readable"),
        ("d.parquet", "lacks"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            list(read_pairs(tmp_path / name))
        assert name in caught.value.reason


def test_an_interrupted_write_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[Pair]:
        yield PAIR
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pairs(broken(), tmp_path / "p.parquet")
    assert not (tmp_path / "p.parquet").exists()


def test_digest_minds_the_borders() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert passage("x").id == passage("x", 0.5).id


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("zh-hans", "zh"),
        ("zho_Hant", "zh-hant"),
        ("zh-tw", "zh-hant"),
        ("no", "nb"),
        ("tl", "fil"),
        ("kmr_Latn", "ku"),
        ("eng_Latn", "en"),
        ("cmn", "zh"),
        ("swh_Latn", "sw"),
        ("sr-el", "sr-latn"),
        ("sr-ec", "sr"),
        ("be-tarask", "be"),
        ("kk-cyrl", "kk"),
        ("kk-arab", "kk-arab"),
        ("min_Arab", "min-arab"),
        ("xx", "xx"),
    ],
)
def test_codes(code: str, ours: str) -> None:
    assert languages.normalise(code) == ours
    assert languages.normalise(ours) == ours


def test_scripts() -> None:
    assert languages.script("sr-latn") == "Latn"
    assert languages.script("min_Arab") == "Arab"
    assert languages.script("zh-hant") == "Hani"
    assert languages.script("xx") is None
    assert not languages.is_spaced("th")
    assert languages.script_share("Привет abc", "Cyrl") == pytest.approx(6 / 9)
    assert languages.script_share("123 …", "Cyrl") is None
    assert languages.weighted_length("ab漢") == 4.5
