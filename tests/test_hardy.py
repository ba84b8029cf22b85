"""Any text of any length, from any thread: vectors and scores that are numbers, and the same ones."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingxi import Embedder, Reranker
from lingxi.engine.run import pooled_states
from lingxi.engine.tuning import tune
from lingxi.errors import LingxiWarning
from toys import TEXTS, gap, random_ids, toy_decoder

# Any code point, lone surrogates too, and the same words over and over.
ANY = st.text(st.characters(), max_size=60) | st.builds(
    lambda t, n: t * n, st.text(max_size=8), st.integers(0, 90)
)


@pytest.fixture(scope="module")
def shipped() -> Embedder:
    return Embedder(max_seq_length=64)


@pytest.fixture(scope="module")
def shipped_reranker() -> Reranker:
    return Reranker(max_length=192)


@settings(max_examples=25, deadline=None)
@given(st.lists(ANY, min_size=1, max_size=5))
def test_any_text_gets_a_vector(shipped: Embedder, texts: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LingxiWarning)
        found = shipped.encode(texts)
        in_context = np.concatenate(shipped.encode_segments([texts]))
        alone = shipped.encode(texts[0])
    assert np.isfinite(found).all() and np.isfinite(in_context).all()
    assert gap(np.linalg.norm(found, axis=1), np.ones(len(texts))) < 1e-5
    assert gap(found[0], alone) < 1e-5


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(ANY, ANY), min_size=1, max_size=4))
def test_any_pair_gets_a_score(shipped_reranker: Reranker, pairs: list[tuple[str, str]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LingxiWarning)
        scores = shipped_reranker.predict(pairs)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_eight_threads_share_a_model(embedder: Embedder, reranker: Reranker) -> None:
    texts = [f"{text} {n}" for n in range(3) for text in TEXTS]
    pairs = [("q", text) for text in texts]
    vectors, scores = embedder.encode(texts), reranker.predict(pairs)
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(embedder.encode, texts) for _ in range(16)]
        judged = [pool.submit(reranker.predict, pairs) for _ in range(16)]
    assert all((one.result() == vectors).all() for one in found)
    assert all((one.result() == scores).all() for one in judged)


# --- the budget ----------------------------------------------------------------------------------


def test_the_smallest_budget_near_the_best_is_taken() -> None:
    seconds = {16: [9.0, 4.0], 32: [2.0, 1.02], 64: [1.0, 1.5]}
    durations = [seconds[budget][turn] for turn in range(2) for budget in (16, 32, 64)]
    now, ticks = 0.0, count()

    def clock() -> float:
        nonlocal now
        tick = next(ticks)
        now += durations[tick // 2] if tick % 2 else 0.0
        return now

    decoder = toy_decoder()
    found = tune(decoder, random_ids([10] * 10, 64), budgets=(16, 32, 64), rounds=2, clock=clock)
    assert found.budget == 32
    assert found.speeds[64] == pytest.approx(100)


def test_a_tuned_embedder_gives_the_same_vectors(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lingxi.embedder.budgets_for", lambda device: (32, 64))
    used: list[int | None] = []

    def noting(*args: object, budget: int | None = None, **options: object) -> object:
        used.append(budget)
        return pooled_states(*args, budget=budget, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("lingxi.engine.seen.pooled_states", noting)
    tuned = Embedder(embedder.directory)
    found = tuned.tune(list(TEXTS))
    assert gap(tuned.encode(TEXTS), embedder.encode(TEXTS)) < 1e-5
    assert used[0] == found.budget
