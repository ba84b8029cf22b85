"""Equal texts are computed once, and what was computed once is kept where it is asked for."""

from __future__ import annotations

import sqlite3
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lingxi import Embedder, Reranker
from lingxi.engine.cache import VectorCache
from lingxi.errors import InputError, LingxiWarning, StoreError
from toys import TEXTS, assert_mendable, gap

WIDTH = 64


def entries(count: int, start: int = 0) -> dict[bytes, Any]:
    rng = np.random.default_rng(start)
    return {
        f"key {i:012}".encode(): rng.standard_normal(WIDTH).astype(np.float32)
        for i in range(start, start + count)
    }


def fill(path: Path, start: int) -> bool:
    cache = VectorCache(path)
    for at in range(start, start + 200, 20):
        cache.write(entries(20, at))
    return True


class Counted(Embedder):
    """Notes how many texts it computed."""

    computed = 0

    def _computed(self, texts: Any, *rest: Any) -> Any:
        self.computed += len(texts)
        return super()._computed(texts, *rest)


# --- equal inputs --------------------------------------------------------------------------------


def test_equal_texts_are_computed_once(embedder_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lingxi.texts._WINDOW_ITEMS", 10)
    embedder = Counted(embedder_directory)
    texts = [*TEXTS, *TEXTS[::-1], "new", *TEXTS]
    found = embedder.encode(texts)
    assert embedder.computed == len(TEXTS) + 1
    assert gap(found, np.concatenate([embedder.encode([text]) for text in texts])) < 1e-5
    assert (found[: len(TEXTS)] == found[-len(TEXTS) :]).all()
    assert embedder.encode(["a"] * 3, precision="ubinary").shape == (3, WIDTH // 8)


def test_equal_pairs_are_judged_once(reranker: Reranker) -> None:
    pairs = [("q", "a"), ("q", "b"), ("qa", ""), ("q", "a"), ("qa", "")]
    scores = reranker.predict(pairs)
    assert scores[0] == scores[3] and scores[2] == scores[4]
    assert gap(scores, np.concatenate([reranker.predict([pair]) for pair in pairs])) < 1e-5


# --- the cache -----------------------------------------------------------------------------------


def test_a_second_run_computes_nothing(embedder_directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    first = Counted(embedder_directory, cache=path)
    found = first.encode(TEXTS)
    again = Counted(embedder_directory, cache=path)
    assert (again.encode(TEXTS) == found).all()
    assert again.computed == 0
    assert gap(again.encode(TEXTS, truncate_dim=32), first.encode(TEXTS, truncate_dim=32)) == 0
    assert again.computed == 0
    assert gap(found, Embedder(embedder_directory).encode(TEXTS)) < 1e-6
    again.encode([*TEXTS, "one more"])
    assert again.computed == 1
    assert again.encode([]).shape == (0, WIDTH)


def test_what_a_vector_depends_on_is_in_its_key(embedder_directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    text = ["gravity " * 30 + "<|im_end|>"]
    for options in ({}, {"max_seq_length": 20}, {"dtype": "bfloat16"}, {"reference_specials": True}):
        embedder = Counted(embedder_directory, cache=path, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LingxiWarning)
            embedder.encode(text)
            embedder.encode_query(text)
            embedder.encode_query(text, instruction="Find twins")
        assert embedder.computed == 3, options


def test_a_cut_text_is_said_whoever_computed_it(embedder_directory: Path, tmp_path: Path) -> None:
    embedder = Embedder(embedder_directory, cache=tmp_path / "c", max_seq_length=8)
    for _ in range(2):
        with pytest.warns(LingxiWarning, match="2 of 3"):
            embedder.encode(["gravity " * 30, "a", "gravity " * 30])


def test_a_full_cache_forgets_the_oldest_and_keeps_its_bound(tmp_path: Path) -> None:
    limit = 1 << 20
    cache = VectorCache(tmp_path / "c", limit)
    for start in range(0, 8000, 500):
        cache.write(entries(500, start))
        assert cache.path.stat().st_size <= limit
    newest = entries(500, 7500)
    found = cache.read(list(newest), WIDTH)
    assert found.keys() == newest.keys()
    assert all((found[key] == newest[key]).all() for key in newest)
    assert not cache.read(list(entries(500)), WIDTH)
    held = sum(len(cache.read(list(entries(500, start)), WIDTH)) for start in range(0, 8000, 500))
    assert held > 1500  # 1 MiB of vectors of 256 bytes, and their keys


def test_more_than_it_may_hold_is_not_kept(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "c", 1 << 20)
    cache.write({b"0" * 16: np.zeros(1 << 20, np.float32)})
    assert cache.path.stat().st_size < 1 << 20


def test_threads_share_a_cache(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "c")
    expected = entries(640)

    def work(number: int) -> int:
        for start in range(0, 640, 64):
            cache.write(entries(64, start))
            cache.read(list(entries(64, start)), WIDTH)
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == list(range(8))
    found = cache.read(list(expected), WIDTH)
    assert found.keys() == expected.keys()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_processes_share_a_cache(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        assert all(pool.map(fill, [tmp_path / "c"] * 2, (0, 200)))
    assert len(VectorCache(tmp_path / "c").read(list(entries(400)), WIDTH)) == 400


def test_a_damaged_or_foreign_file_is_refused_in_words(tmp_path: Path, embedder_directory: Path) -> None:
    (tmp_path / "text").write_text("no database " * 100)
    sqlite = sqlite3.connect(tmp_path / "other")
    sqlite.execute("CREATE TABLE a (b)")
    sqlite.close()
    for name in ("text", "other"):
        with pytest.raises(StoreError) as caught:
            Embedder(embedder_directory, cache=tmp_path / name)
        assert_mendable(caught.value, name, "cache of vectors")


def test_damage_inside_is_told(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "c")
    cache.write(entries(2000))
    data = bytearray(cache.path.read_bytes())
    data[40_000:-100] = b"\xff" * (len(data) - 40_100)
    cache.path.write_bytes(data)
    with pytest.raises(StoreError) as caught:
        cache.read(list(entries(2000)), WIDTH)
    assert_mendable(caught.value, "delete")


def test_a_vector_of_another_width_is_told(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "c")
    cache.write(entries(1))
    with pytest.raises(StoreError):
        cache.read(list(entries(1)), WIDTH + 1)


def test_a_place_that_cannot_be_written_and_a_small_limit_are_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        VectorCache(tmp_path / "nowhere" / "c")
    assert_mendable(caught.value, "nowhere")
    with pytest.raises(InputError):
        VectorCache(tmp_path / "c", 100)
