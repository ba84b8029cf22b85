"""Stores of vectors: the same answers from all, exact filters, nothing half done, broken places told of."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from databases import LOCAL, milvus_server, place_of, postgres
from lingxi.errors import InputError, StoreError
from lingxi.index.stores import All, Any, Collection, Compare, Layout, Not, OneOf
from lingxi.index.stores.filters import ancestors, checked, holds
from toys import assert_mendable

FIELDS = {"said": "text", "place": "path", "year": "whole", "weight": "number", "kept": "flag"}
DIM = 32
NAMES = itertools.count()

TEXTS = st.sampled_from(
    [
        "",
        "a",
        "A",
        "a'b",
        'q"',
        "b\\",
        "%",
        "_",
        "\n",
        "é",
        "中文",
        "😀",
        "a b",
        "null",
        "{v}",
        "' OR 1=1 --",
        "\\n",
        "\t",
    ]
) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
PATHS = st.sampled_from(
    [
        "",
        "/",
        "/a",
        "/a/b",
        "/a/b/c.py",
        "/a/bc",
        "/ab",
        "a/b",
        "/a.b",
        "/a0",
        "/a/b'",
        "/中/文",
        "/a//b",
        "/a/",
    ]
)
WHOLES = st.integers(-3, 3) | st.sampled_from([2**53, -(2**53), 2**31, -(2**31) - 1])
NUMBERS = st.sampled_from([0.0, -0.0, 0.5, -1.5, 1e300, -1e-300, 3.0]) | st.floats(
    -1e6, 1e6, allow_nan=False, width=32
)
VALUES = {"said": TEXTS, "place": PATHS, "year": WHOLES, "weight": NUMBERS, "kept": st.booleans()}
ROW = st.fixed_dictionaries(VALUES)


def _compare() -> st.SearchStrategy:
    ops = {"said": ["=", "!="], "place": ["=", "!=", "below"], "kept": ["=", "!="]}
    numeric = ["=", "!=", "<", "<=", ">", ">="]
    one = [
        st.builds(Compare, st.just(field), st.sampled_from(ops.get(field, numeric)), VALUES[field])
        for field in FIELDS
    ]
    several = [
        st.builds(OneOf, st.just(field), st.lists(VALUES[field], max_size=3).map(tuple)) for field in FIELDS
    ]
    return st.one_of(*one, *several)


def _joined(part: st.SearchStrategy) -> st.SearchStrategy:
    parts = st.lists(part, max_size=3)
    return parts.map(lambda p: All(*p)) | parts.map(lambda p: Any(*p)) | part.map(Not)


WHERE = st.recursive(_compare(), _joined, max_leaves=5)


def layout(**said) -> Layout:
    return Layout(**{"dim": DIM, "fields": FIELDS, **said})


def rows(count: int, seed: int = 0):
    draw = np.random.default_rng(seed)
    told = [
        {"said": f"s{n % 3}", "place": f"/d{n % 4}/f{n}", "year": n, "weight": n / 2, "kept": n % 2 == 0}
        for n in range(count)
    ]
    return [f"id{n}" for n in range(count)], draw.standard_normal((count, DIM)).astype(np.float32), told


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory):
    with postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def milvus_url(tmp_path_factory):
    with milvus_server(tmp_path_factory.mktemp("milvus")) as url:
        yield url


@pytest.fixture(params=[*LOCAL, "postgres", pytest.param("milvus-server", marks=pytest.mark.slow)])
def place(request, tmp_path) -> str:
    """A place of its own for a store of each kind."""
    name = f"t{os.getpid()}_{next(NAMES)}"
    if request.param == "postgres":
        return f"{request.getfixturevalue('postgres_url')}#{name}"
    if request.param == "milvus-server":
        return f"milvus+{request.getfixturevalue('milvus_url')}#{name}"
    return place_of(request.param, tmp_path)


def test_what_goes_in_comes_out(place):
    ids, vectors, told = rows(60)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    with Collection.open(place, layout()) as store:
        store.add(ids, vectors, told)
        store.add(ids[:2], vectors[5:7], told[:2], namespace="another")
        assert store.count() == 60 and store.namespaces() == {"": 60, "another": 2}
        for query, found in zip(unit[:5], store.search(vectors[:5], 7), strict=True):
            best = np.argsort(-(unit @ query), kind="stable")[:7]
            assert [one.id for one in found] == [ids[n] for n in best]
            assert [one.score for one in found] == pytest.approx((unit @ query)[best].tolist(), abs=1e-5)
            assert found[0].metadata == told[best[0]]
        assert [one.id for one in store.search(vectors[5], 9, namespace="another")[0]][:1] == ["id0"]
        assert store.search(vectors[0], 3, namespace="nowhere") == [[]]
        assert store.bytes() > 0
    with Collection.open(place) as store:
        assert store.layout == layout()
        scanned = [
            row for part in store.scan() for row in zip(part.ids, part.vectors, part.metadata, strict=True)
        ]
        assert sorted(row[0] for row in scanned) == sorted(ids)
        for name, vector, own in scanned:
            n = int(name[2:])
            assert own == told[n] and np.allclose(vector, unit[n], atol=1e-6)


def test_rows_are_replaced_and_removed(place):
    ids, vectors, told = rows(12)
    with Collection.open(place, layout()) as store:
        store.add(ids, vectors, told)
        with pytest.raises(StoreError) as caught:
            store.add(["new", "id3"], vectors[:2], told[:2])
        assert_mendable(caught.value, "id3")
        assert store.count() == 12
        store.upsert(["id3", "id99"], vectors[[7, 3]], [told[0], told[1]])
        assert store.count() == 13
        (again,) = store.get(["id3"]).metadata
        assert again == told[0]
        assert {one.id for one in store.search(vectors[7], 2)[0]} == {"id3", "id7"}
        assert store.remove(["id3", "id5", "absent"]) == 2
        assert store.count() == 11 and not store.get(["id3", "id5"]).ids
        assert "id5" not in {one.id for one in store.search(vectors[5], 13)[0]}
        store.settle()
        assert store.search(vectors[3], 1)[0][0].id == "id99"
        store.upsert(["id5"], vectors[5:6], told[5:6])
        assert store.search(vectors[5], 1)[0][0].id == "id5"


def test_equal_filters_find_equal_rows(place):
    """Against what a condition means in plain Python, on rows that look like syntax."""
    examples = 60 if place.startswith(("faiss", "postgres")) else 10
    with Collection.open(place, layout()) as store:

        @settings(
            max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None
        )
        @given(st.lists(ROW, min_size=6, max_size=6), st.lists(WHERE, min_size=8, max_size=8))
        def check(told, asked):
            name = f"n{next(NAMES)}"
            ids = [f"r{n}" for n in range(len(told))]
            store.upsert(ids, np.eye(len(told), DIM, dtype=np.float32), told, namespace=name)
            for number, where in enumerate(asked):
                meant = {i for i, own in zip(ids, told, strict=True) if holds(checked(where, FIELDS), own)}
                assert store.count(where, name) == len(meant), where
                if number % 4:
                    continue
                found = store.search(np.ones(DIM, np.float32), 10, where, name)[0]
                assert {one.id for one in found} == meant, where
                assert all(holds(checked(where, FIELDS), one.metadata) for one in found)

        check()


@pytest.mark.parametrize(
    "said",
    [{"look": "ann"}, {"precision": "int8"}, {"precision": "int8", "look": "ann"}, {"precision": "binary"}],
)
def test_codes_and_approximate_indexes_find_the_same(place, said):
    refused = {"postgresql": ["int8"], "milvus": ["int8", "binary"], "milvus+http": ["binary"]}
    if said.get("precision") in refused.get(place.partition(":")[0], []):
        with pytest.raises(InputError):
            Collection.open(place, layout(**said))
        return
    ids, vectors, told = rows(300)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    with Collection.open(place, layout(**said)) as store:
        store.add(ids, vectors, told)
        store.settle()
        queries = unit[:5] + 0.1 * np.random.default_rng(1).standard_normal((5, DIM)).astype(np.float32)
        for where in (None, Compare("year", "<", 20)):
            inside = np.array([where is None or own["year"] < where.value for own in told])
            shared = 0
            for query, found in zip(queries, store.search(queries, 10, where), strict=True):
                scores = np.where(inside, unit @ query, -9)
                shared += len({one.id for one in found} & {ids[n] for n in np.argsort(-scores)[:10]})
                assert len(found) == 10 and all(inside[int(one.id[2:])] for one in found)
                rescored = [
                    float(unit[int(one.id[2:])] @ query) / float(np.linalg.norm(query)) for one in found
                ]
                assert [one.score for one in found] == pytest.approx(rescored, abs=1e-3)
            assert shared / 50 >= 0.9, where


def test_a_filter_is_held_against_the_fields():
    fields = {"said": "text", "year": "whole", "place": "path", "weight": "number"}
    wrong = [
        Compare("absent", "=", 1),
        Compare("year", "=", "1"),
        Compare("year", "=", True),
        Compare("said", "<", "b"),
        Compare("said", "below", "b"),
        Compare("said", "like", "b"),
        Compare("weight", "=", float("nan")),
        OneOf("year", (1, "a")),
        Not(All(Compare("absent", "=", 1))),
        OneOf("year", tuple(range(6000))),
        "year = 1",
    ]
    for where in wrong:
        with pytest.raises(InputError) as caught:
            checked(where, fields)
        assert_mendable(caught.value)
    assert checked(Compare("place", "below", "/a/"), fields) == Compare("place", "below", "/a")


@given(PATHS, PATHS)
def test_ancestors_are_the_places_a_path_is_below(path, place):
    meant = holds(checked(Compare("place", "below", place), FIELDS), {"place": path})
    assert (place.rstrip("/") in ancestors(path)) == meant


def test_wrong_rows_are_told_of(tmp_path):
    ids, vectors, told = rows(3)
    store = Collection.open(place_of("lance", tmp_path), layout())
    wrong = [
        (["a", "a", "b"], vectors, told),
        (ids, vectors[:2], told),
        (ids, vectors, told[:2]),
        (ids, vectors[:, :8], told),
        (ids, np.full_like(vectors, np.nan), told),
        (["", "b", "c"], vectors, told),
        (["a\0", "b", "c"], vectors, told),
        (["a" * 600, "b", "c"], vectors, told),
        (ids, vectors, [told[0], told[1], {"said": "x"}]),
        (ids, vectors, [told[0], told[1], told[2] | {"more": 1}]),
        (ids, vectors, [told[0], told[1], told[2] | {"year": 2**60}]),
        (ids, vectors, [told[0], told[1], told[2] | {"year": 1.5}]),
        (ids, vectors, [told[0], told[1], told[2] | {"said": "\0"}]),
        (ids, vectors, [told[0], told[1], told[2] | {"said": "\ud800"}]),
        (ids, vectors, [told[0], told[1], told[2] | {"said": "x" * 40_000}]),
        (ids, vectors, [told[0], told[1], told[2] | {"weight": float("inf")}]),
    ]
    for given_rows in wrong:
        with pytest.raises(InputError) as caught:
            store.add(*given_rows)
        assert_mendable(caught.value)
    for k in (0, -1, True, 1.5, 20_000):
        with pytest.raises(InputError):
            store.search(vectors[0], k)
    assert store.count() == 0


def test_wrong_layouts_are_told_of():
    for said in (
        {"dim": 0},
        {"dim": True},
        {"precision": "int4"},
        {"look": "maybe"},
        {"rescore": -1},
        {"fields": {"Bad name": "text"}},
        {"fields": {"a; DROP TABLE": "text"}},
        {"fields": {"ok": "date"}},
        {"precision": "binary", "dim": 33},
    ):
        with pytest.raises(InputError) as caught:
            layout(**said)
        assert_mendable(caught.value)


def test_a_store_is_opened_as_it_was_made(place):
    made = layout(model={"name": "one", "weights": "w1"})
    Collection.open(place, made).close()
    Collection.open(place, layout(model={"name": "renamed", "weights": "w1"})).close()
    for other in (
        layout(model={"name": "two", "weights": "w2"}),
        layout(dim=64),
        layout(fields={"said": "text"}),
        layout(rescore=3),
    ):
        with pytest.raises(StoreError) as caught:
            Collection.open(place, other)
        assert_mendable(caught.value)
    with Collection.open(place) as store:
        assert store.layout.model["name"] == "one"


@pytest.mark.parametrize("store", LOCAL)
def test_a_place_that_is_no_store_is_told_of(store, tmp_path):
    place = place_of(store, tmp_path)
    with pytest.raises(StoreError) as caught:
        Collection.open(place)
    assert_mendable(caught.value, "rows")


@pytest.mark.parametrize("store", ["lance", "faiss"])
def test_a_folder_of_other_things_is_left_alone(store, tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError) as caught:
        Collection.open(place_of(store, tmp_path), layout())
    assert_mendable(caught.value, "rows")
    assert [p.name for p in (tmp_path / "rows").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "place",
    [
        "postgresql://postgres@127.0.0.1:9/db#name",
        "qdrant+http://127.0.0.1:9#name",
        "milvus+http://127.0.0.1:9#name",
    ],
)
def test_a_server_that_is_away_is_told_of(place):
    pytest.importorskip({"p": "psycopg", "q": "qdrant_client", "m": "pymilvus"}[place[0]])
    with pytest.raises(StoreError) as caught:
        Collection.open(place, layout())
    assert_mendable(caught.value, "9")


def test_a_password_is_not_said():
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError) as caught:
        Collection.open("postgresql://me:secretword@127.0.0.1:9/db#name", layout())
    assert "secretword" not in str(caught.value)


@pytest.mark.parametrize(
    "place", ["", "postgresql://h/db", "qdrant+http://h#a b", "milvus:x.sqlite", "faiss:"]
)
def test_a_place_that_is_none_is_told_of(place):
    with pytest.raises(InputError) as caught:
        Collection.open(place, layout())
    assert_mendable(caught.value)


def filled(place: str, **said):
    ids, vectors, told = rows(40)
    with Collection.open(place, layout(**said)) as store:
        store.add(ids, vectors, told)
        store.settle()
    return ids, vectors


def test_damaged_files_are_told_of(tmp_path):
    place = place_of("lance", tmp_path)
    _, vectors = filled(place)
    for file in (tmp_path / "rows").rglob("*.lance"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(StoreError) as caught:
        Collection.open(place).search(vectors[0])
    assert_mendable(caught.value, "rows")


def test_a_damaged_faiss_index_is_made_anew_and_damaged_rows_are_told_of(tmp_path):
    place = place_of("faiss", tmp_path)
    _, vectors = filled(place)
    (index,) = (tmp_path / "rows").glob("index.*")
    index.write_bytes(b"no index")
    with Collection.open(place) as store:
        assert store.search(vectors[3], 1)[0][0].id == "id3"
    (tmp_path / "rows" / "rows.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError) as caught:
        Collection.open(place)
    assert_mendable(caught.value, "rows")


def test_a_store_of_another_version_is_told_of(tmp_path):
    place = place_of("faiss", tmp_path)
    filled(place)
    rows_file = sqlite3.connect(tmp_path / "rows" / "rows.sqlite")
    (said,) = rows_file.execute("SELECT layout FROM made").fetchone()
    rows_file.execute("UPDATE made SET layout = ?", (json.dumps(json.loads(said) | {"lingxi": 99}),))
    rows_file.commit()
    rows_file.close()
    with pytest.raises(StoreError) as caught:
        Collection.open(place)
    assert_mendable(caught.value, "99")


def test_faiss_slots_of_removed_rows_are_given_back(tmp_path):
    place = place_of("faiss", tmp_path)
    ids, vectors, told = rows(50)
    with Collection.open(place, layout()) as store, Collection.open(place) as beside:
        store.add(ids, vectors, told)
        for _ in range(3):
            store.upsert(ids, vectors, told)
        store.remove(ids[:10])
        assert beside.search(vectors[20], 1)[0][0].id == "id20"
        store.settle()
        assert [p.name for p in (tmp_path / "rows").glob("index.*")] == ["index.1"]
        for one in (store, beside):
            assert one.search(vectors[20], 1)[0][0].id == "id20"
            assert one.count() == 40


_WRITER = """
import sys, numpy as np
sys.path[:0] = {paths!r}
from test_stores import rows, layout
from lingxi.index.stores import Collection
ids, vectors, told = rows(4000, seed=2)
store = Collection.open({place!r}, layout())
print("ready", flush=True)
for round in range(1000):
    for start in range(0, 4000, 100):
        own = [row | {{"year": round}} for row in told[start : start + 100]]
        store.upsert(ids[start : start + 100], vectors[start : start + 100], own)
        print(round, start, flush=True)
"""


def write_and_kill(place: str, after: float) -> int:
    """Upsert in another process, kill -9; the commits it said it had made."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parent / "src")]
    program = _WRITER.format(paths=paths, place=place)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(after)
        os.kill(child.pid, signal.SIGKILL)
        return child.stdout.read().count("\n")


@pytest.mark.slow
@pytest.mark.parametrize("store", ["lance", "faiss", "postgres"])
def test_a_write_that_is_killed_is_whole_or_not_there(store, tmp_path, request):
    if store == "postgres":
        place = f"{request.getfixturevalue('postgres_url')}#k{os.getpid()}_{next(NAMES)}"
    else:
        place = place_of(store, tmp_path)
    for after in (0.15, 0.4, 0.8):
        said = write_and_kill(place, after)
        with Collection.open(place) as found:
            count = found.count()
            assert count % 100 == 0 and count >= min(4000, 100 * said)
            for part in found.scan():
                for name, own in zip(part.ids, part.metadata, strict=True):
                    start = int(name[2:]) // 100 * 100
                    mates = (
                        found.get([f"id{start}", f"id{start + 99}"]).metadata if name == f"id{start}" else ()
                    )
                    assert all(mate["year"] == own["year"] for mate in mates)


def _fill_disk(place: str, pipe) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = Collection.open(place)
    try:
        for round in range(3):
            ids, vectors, told = rows(8000, seed=round)
            store.upsert([f"{round}-{name}" for name in ids], vectors, told)
        pipe.send("all was written")
    except StoreError as error:
        pipe.send(str(error))


@pytest.mark.parametrize("store", ["lance", "faiss"])
def test_a_file_that_cannot_grow_is_told_of_and_what_was_there_stays(store, tmp_path):
    place = place_of(store, tmp_path)
    _, vectors = filled(place)
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=_fill_disk, args=(place, theirs))
    child.start()
    assert ours.poll(60)
    said = ours.recv()
    child.join()
    assert "rows" in said and "all was written" not in said
    with Collection.open(place) as found:
        assert found.search(vectors[3], 1)[0][0].id == "id3"
        assert (found.count() - 40) % 8000 == 0
    shutil.rmtree(tmp_path / "rows")
