"""Passages longer than a model reads: their vectors are of all their words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingxi.embedder import Embedder
from lingxi.index.whole import whole_vectors
from toys import toy_size, write_toy


class Words:
    """An embedder of at most 20 words, two of them counted as the prompt's room: a direction a word."""

    max_seq_length = 20

    def __init__(self) -> None:
        self.longest = 0

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def encode_document(self, inputs: list[str], *, show_progress_bar: bool | None = None) -> Any:
        self.longest = max([self.longest, *self.count_tokens(inputs)])
        rows = np.zeros((len(inputs), 100), np.float32)
        for row, text in zip(rows, inputs, strict=True):
            for word in text.split():
                row[int(word)] += 1
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


@given(st.lists(st.lists(st.integers(0, 99), max_size=90), max_size=4))
def test_no_part_is_too_long_and_no_word_is_lost(passages: list[list[int]]) -> None:
    embedder = Words()
    found = whole_vectors(embedder, [" ".join(map(str, words)) for words in passages])
    assert len(found) == len(passages)
    assert embedder.longest <= embedder.max_seq_length - 8
    for words, vector in zip(passages, found, strict=True):
        assert set(np.flatnonzero(vector)) == set(words)
        assert not words or np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_what_fits_is_embedded_as_ever() -> None:
    assert np.array_equal(whole_vectors(Words(), ["1 2 3"])[0], Words().encode_document(["1 2 3"])[0])
    assert whole_vectors(Words(), []) == []


def test_a_real_embedder_cuts_nothing(tmp_path: Path) -> None:
    embedder = Embedder(write_toy(tmp_path / "toy", size=toy_size(), max_seq_length=64), device="cpu")
    long, short = "gravity attracts bodies. " * 60, "gravity"
    vectors = whole_vectors(embedder, [long, short])  # a cut would warn, and a warning is an error
    assert np.allclose(vectors[1], embedder.encode_document([short])[0])
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-5)
