"""Rows on disk: what comes out is what went in, in bounded memory, and broken input is told of in words."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingxi import manifest
from lingxi.errors import InputError
from lingxi.records import (
    Pair,
    Passage,
    pair_columns,
    pair_schema,
    passage,
    read_pairs,
    stable_hash,
    write_pairs,
)
from lingxi.train.orders import contrasts, sorted_rows
from lingxi.train.store import open_store
from lingxi.train.storing import build_store


def pair(number: int, **given) -> Pair:
    """A pair of its own query, text and group, where nothing else is given."""
    query = given.pop("query", f"query 北京 {number}")
    fields = {
        "id": str(number),
        "group": f"g{number}",
        "positives": (passage(f"the text of {number}"),),
        "negatives": (),
        "instruction": "find it",
        "task": "retrieval",
        "query_language": "zh",
        "document_language": "en",
        "source": "test",
        "licence": "CC0",
    }
    return Pair(query=query, **fields | given)


def built(folder, pairs, seed=0):
    folder.mkdir(exist_ok=True)
    write_pairs(pairs, folder / "pairs.parquet")
    return build_store([folder / "pairs.parquet"], folder / "store", seed)


def check_same(store, pairs):
    assert len(store) == len(pairs)
    for row, known in zip(store.rows(range(len(pairs))), pairs, strict=True):
        assert (row.query, row.instruction, row.task, row.source) == (
            known.query,
            known.instruction,
            known.task,
            known.source,
        )
        assert (row.query_language, row.document_language) == (known.query_language, known.document_language)
        assert row.group == stable_hash(known.group)
        for found, wanted in ((row.positives, known.positives), (row.negatives, known.negatives)):
            assert [each.text for each in found] == [each.text for each in wanted]
            named = [stable_hash(f"{known.source}\x1f{each.id or each.text}") for each in wanted]
            assert [each.id for each in found] == named
            scores = [np.nan if each.score is None else each.score for each in wanted]
            np.testing.assert_array_equal([each.score for each in found], np.array(scores, np.float32))
        for value, key in ((row.similarity, "similarity"), (row.teacher, "teacher")):
            np.testing.assert_array_equal(value, np.float32(known.scores.get(key, np.nan)))


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
NAME = st.sampled_from(["a", "b", "ü"])
PASSAGES = st.builds(
    Passage, st.sampled_from(["", "1", "2"]), TEXT, st.none(), st.none() | st.floats(0, 1, width=32)
)
PAIRS = st.builds(
    Pair,
    TEXT,
    TEXT,
    TEXT,
    st.lists(PASSAGES, min_size=1, max_size=3).map(tuple),
    st.lists(PASSAGES, max_size=3).map(tuple),
    NAME,
    NAME,
    NAME,
    NAME,
    NAME,
    NAME,
    st.dictionaries(st.sampled_from(["similarity", "teacher", "other"]), st.floats(0, 5, width=32)),
)


@settings(max_examples=8, deadline=None)
@given(st.lists(PAIRS, min_size=1, max_size=12), st.lists(PAIRS, max_size=4))
def test_what_comes_out_is_what_went_in(tmp_path_factory, pairs, dropped):
    folder = tmp_path_factory.mktemp("rows")
    gone = [replace(each, dropped="too long") for each in dropped]
    store = built(folder, [*gone[:1], *pairs, *gone[1:]])
    check_same(store, pairs)
    assert store.counts["left_out"].get("too long", 0) == len(dropped)
    own = sum(
        any(
            wrong.text == right.text or (wrong.id or wrong.text) == (right.id or right.text)
            for right in p.positives
        )
        for p in pairs
        for wrong in p.negatives
    )
    assert store.counts["own_positives"] == own


def test_shards_and_batches_are_joined(tmp_path):
    pairs = [pair(n, negatives=tuple(passage(f"no {n} {k}") for k in range(n % 3))) for n in range(700)]
    for number, start in enumerate((0, 300)):
        path = tmp_path / f"{number}.parquet"
        table = pa.table(_columns(pairs[start : start + 300 + 100 * number]), schema=pair_schema())
        pq.write_table(table, path, row_group_size=64)
    store = build_store([tmp_path / "0.parquet", tmp_path / "1.parquet"], tmp_path / "store", 0)
    check_same(store, pairs)


def _columns(pairs):
    return dict(zip(pair_schema().names, pair_columns(pairs), strict=True))


def test_rows_that_cannot_be_trained_on_are_counted_by_reason(tmp_path):
    pairs = [
        pair(0),
        pair(1, dropped="a leak"),
        pair(2, positives=()),
        pair(3, query=""),
        pair(4, positives=(passage("yes"), Passage("x", None, "picture.png"))),
        pair(5, negatives=(Passage("x", ""),)),
        pair(6),
    ]
    pq.write_table(pa.table(_columns(pairs), schema=pair_schema()), tmp_path / "pairs.parquet")
    store = build_store([tmp_path / "pairs.parquet"], tmp_path / "store", 0)
    assert [row.query for row in store.rows([0, 1])] == [pairs[0].query, pairs[6].query]
    assert store.counts["left_out"] == {"a leak": 1, "without positives": 1, "without text": 3}
    assert (store.counts["rows_in"], store.counts["rows"]) == (7, 2)


def test_negatives_that_are_own_positives_are_counted(tmp_path):
    right = (Passage("7", "right"), Passage("", "also right"))
    wrong = (Passage("7", "by id"), passage("right"), passage("also right"), passage("wrong"))
    store = built(
        tmp_path, [pair(0, positives=right, negatives=wrong), pair(1, negatives=(passage("right"),))]
    )
    assert store.counts["own_positives"] == 3


def test_equal_ids_of_two_sources_are_two_documents(tmp_path):
    rows = built(
        tmp_path,
        [
            pair(n, source=source, positives=(Passage("17", text),))
            for n, (source, text) in enumerate(SOURCES)
        ],
    ).rows(range(3))
    ids = [row.positives[0].id for row in rows]
    assert ids[0] == ids[1] != ids[2]


SOURCES = (("one", "a"), ("one", "b"), ("two", "c"))


def test_texts_are_all_there_in_an_order_by_seed(tmp_path):
    positives = [(passage(f"one {n}"), passage(f"two {n}")) for n in range(900)]
    pairs = [pair(n, positives=positives[n], negatives=(passage("never"),)) for n in range(900)]
    first, again, other = (list(built(tmp_path, pairs, seed).texts()) for seed in (1, 1, 2))
    wanted = [
        each
        for p in pairs
        for each in (("zh", p.query), ("en", p.positives[0].text), ("en", p.positives[1].text))
    ]
    assert sorted(first) == sorted(wanted)
    assert first == again != other


def test_rows_lie_by_stratum(tmp_path):
    pairs = [
        pair(n, query_language="zh" if n % 3 else "es", task="code" if n % 7 else "sts") for n in range(90)
    ]
    store = built(tmp_path, pairs)
    order = store.columns["by_stratum"]
    named = [(row.task, row.query_language) for row in store.rows(order)]
    assert sorted(order) == list(range(90)) and named == sorted(named)
    assert sum(stratum.rows for stratum in store.strata) == 90


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.permutations(range(5)), st.integers(1, 8))
def test_the_order_by_stratum_is_a_stable_sort(strata, order, at_once):
    column, target = np.array(strata, np.uint32), np.zeros(len(strata), np.uint32)
    sorted_rows(column, order, [strata.count(n) for n in range(5)], target, at_once)
    rank = np.argsort(order)
    assert target.tolist() == sorted(range(len(strata)), key=lambda row: rank[strata[row]])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 5, 2**63, 2**64 - 1]), st.integers(0, 3)), min_size=1, max_size=40
    ),
    st.integers(1, 50),
)
def test_contrasts_are_queries_under_two_instructions_of_one_task(rows, at_once):
    kinds = [("a", "x"), ("a", "y"), ("b", "x"), ("a", "x")]
    hashes, strata = (np.array([row[n] for row in rows], kind) for n, kind in ((0, "u8"), (1, "u4")))
    found_hashes, found = contrasts(hashes, strata, kinds, at_once)
    wanted = [
        n
        for n, (hashed, stratum) in enumerate(rows)
        if any(
            hashed == other and kinds[stratum][0] == kinds[s][0] and kinds[stratum] != kinds[s]
            for other, s in rows
        )
    ]
    assert sorted(found) == wanted
    assert (np.diff(found_hashes.astype(object)) >= 0).all() and (hashes[found] == found_hashes).all()


def test_a_store_of_the_same_pairs_is_kept_and_another_is_built_anew(tmp_path):
    built(tmp_path, [pair(1)])
    finished = manifest.read(tmp_path / "store")
    built(tmp_path, [pair(1)])
    assert manifest.read(tmp_path / "store") == finished
    assert len(built(tmp_path, [pair(1), pair(2)])) == 2


def test_a_build_that_was_stopped_leaves_nothing_and_runs_again(tmp_path, monkeypatch):
    write_pairs([pair(1)], tmp_path / "pairs.parquet")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("lingxi.train.storing.contrasts", stop)
        build_store([tmp_path / "pairs.parquet"], tmp_path / "store", 0)
    assert not (tmp_path / "store").exists()
    assert len(build_store([tmp_path / "pairs.parquet"], tmp_path / "store", 0)) == 1


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="no store"):
        built(tmp_path, [pair(1)])
    assert (tmp_path / "store" / "thesis.txt").exists()


def test_no_pairs_are_refused_in_words(tmp_path):
    with pytest.raises(InputError, match="no files"):
        build_store([], tmp_path / "store", 0)
    with pytest.raises(InputError, match=r"pairs\.parquet has no rows: there are no pairs"):
        built(tmp_path, [])
    with pytest.raises(InputError, match=r"no pairs to train on: all are left out.*a leak"):
        built(tmp_path, [pair(1, dropped="a leak")])


def test_an_empty_shard_among_others_is_named(tmp_path):
    for name, pairs in (("full", [pair(1)]), ("empty", [])):
        write_pairs(pairs, tmp_path / f"{name}.parquet")
    with pytest.raises(InputError, match=r"empty\.parquet has no rows"):
        build_store([tmp_path / "full.parquet", tmp_path / "empty.parquet"], tmp_path / "store", 0)


def test_the_same_shard_twice_is_refused(tmp_path):
    for name in "ab":
        write_pairs([pair(1)], tmp_path / f"{name}.parquet")
    with pytest.raises(InputError, match="hold the same"):
        build_store([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "store", 0)


def test_missing_and_wrong_columns_are_named(tmp_path):
    path = tmp_path / "pairs.parquet"
    whole = pa.table(_columns([pair(1)]), schema=pair_schema())
    pq.write_table(whole.drop_columns(["group", "negatives"]), path)
    with pytest.raises(InputError, match="lacks the columns group, negatives"):
        build_store([path], tmp_path / "store", 0)
    pq.write_table(whole.set_column(3, "positives", pa.array([5])), path)
    with pytest.raises(InputError, match="other columns than pairs"):
        build_store([path], tmp_path / "store", 0)
    pq.write_table(whole.set_column(1, "group", pa.array([None], pa.string())), path)
    with pytest.raises(InputError, match="group have empty cells"):
        build_store([path], tmp_path / "store", 0)
    with pytest.raises(InputError, match="no Parquet file"):
        build_store([tmp_path / "absent.parquet"], tmp_path / "store", 0)


def test_a_torn_or_foreign_store_is_told_of(tmp_path):
    with pytest.raises(InputError, match="no store of rows"):
        open_store(tmp_path / "store")
    store = built(tmp_path, [pair(1), pair(2)])
    whole = (store.folder / "queries.bytes").read_bytes()
    for name in ("queries.bytes", "groups", "positives.ids"):
        held = (store.folder / name).read_bytes()
        (store.folder / name).write_bytes(held[:-8])
        with pytest.raises(InputError, match="torn"):
            open_store(store.folder)
        (store.folder / name).write_bytes(held)
    assert (store.folder / "queries.bytes").read_bytes() == whole and len(open_store(store.folder)) == 2
    (store.folder / "groups").unlink()
    with pytest.raises(InputError, match="missing"):
        open_store(store.folder)


def test_opening_does_not_read_the_texts(tmp_path):
    """Every column is a map of its file: what is not touched is not in memory."""
    store = built(tmp_path, [pair(n) for n in range(10)])
    arrays = [store.queries.data, store.positives.texts.data, *store.columns.values()]
    assert not any(array.flags.owndata for array in arrays if len(array))
    assert len(list(read_pairs(tmp_path / "pairs.parquet"))) == 10
