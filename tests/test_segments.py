"""Segments embedded in the context of their document."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lingxi import Embedder
from lingxi.engine.run import pooled_states
from lingxi.engine.segments import lay, segment_states
from lingxi.errors import InputError, LingxiWarning
from lingxi.model.packed import Packed
from toys import TEXTS, assert_mendable, gap, random_ids, toy_decoder

DECODER = toy_decoder(hidden=32, head_dim=16, intermediate=48, vocab=64)
SEGMENTS = st.lists(st.integers(1, 20), min_size=1, max_size=15)


class Bidirectional:
    """Tokens' states are what a table says: no prefix, and so no order of sight."""

    hidden = 8
    device = torch.device("cpu")
    table = torch.arange(64 * 8, dtype=torch.float32).view(64, 8).sin()

    def __call__(self, packed: Packed, prefix: Any = None) -> torch.Tensor:
        return torch.stack([self.table[ids].mean(0) for ids in packed.ids.split(self._lengths(packed))])

    def states(self, packed: Packed) -> torch.Tensor:
        return self.table[packed.ids]

    def _lengths(self, packed: Packed) -> list[int]:
        return [run.length for run in packed.runs for _ in range(run.count)]


@given(SEGMENTS, st.integers(20, 60), st.integers(0, 4))
def test_each_segment_is_laid_once_after_what_stands_before_it(
    lengths: list[int], limit: int, overlap: int
) -> None:
    segments = random_ids(lengths, 64)
    laid = list(lay(segments, limit, overlap))
    assert [one.ids[a:b] for one in laid for a, b in one.spans] == segments
    first = 0
    for one in laid:
        assert len(one.ids) <= limit
        assert all(a[1] == b[0] for a, b in pairwise(one.spans)) and one.spans[-1][1] == len(one.ids)
        context = one.ids[: one.spans[0][0]]
        before = [
            [i for s in segments[start:first] for i in s]
            for start in range(max(0, first - overlap), first + 1)
        ]
        assert context in before
        first += len(one.spans)


@settings(max_examples=30, deadline=None)
@given(st.lists(SEGMENTS, min_size=1, max_size=4), st.integers(20, 60), st.integers(1, 200))
def test_a_segment_is_the_end_of_all_before_it(documents: list[list[int]], limit: int, budget: int) -> None:
    laid = [one for n, lengths in enumerate(documents) for one in lay(random_ids(lengths, 64, n), limit, 1)]
    told: list[int] = []
    found = segment_states(DECODER, laid, budget=budget, done=told.append)
    expected = pooled_states(DECODER, [one.ids[:stop] for one in laid for _, stop in one.spans])
    assert gap(found, expected) < 1e-5
    assert sum(told) == len(found)


def test_where_tokens_see_both_ways_the_mean_is_taken() -> None:
    network = Bidirectional()
    segments = random_ids([3, 5, 7], 64)
    found = segment_states(network, list(lay(segments, 100, 0)))
    assert gap(found, torch.stack([network.table[ids].mean(0) for ids in segments])) < 1e-6


def test_one_segment_is_its_document(embedder: Embedder) -> None:
    found = embedder.encode_segments([[text] for text in TEXTS])
    assert gap(np.concatenate(found), embedder.encode_document(TEXTS)) == 0


def test_the_first_segment_is_its_own_and_the_others_have_context(embedder: Embedder) -> None:
    (found,) = embedder.encode_segments([["A force.", "It attracts.", "It attracts."]])
    alone = embedder.encode_document(["A force.", "It attracts.", "It attracts."])
    assert gap(found[0], alone[0]) < 1e-5
    assert gap(found[1], alone[1]) > 1e-2
    assert gap(found[1], found[2]) > 1e-3


def test_documents_keep_their_order_and_their_own_segments(embedder: Embedder) -> None:
    documents = [list(TEXTS[:4]), [], list(TEXTS[4:5]), list(TEXTS[::-1])]
    found = embedder.encode_segments(iter(documents), truncate_dim=32)
    assert [part.shape for part in found] == [(len(d), 32) for d in documents]
    for document, part in zip(documents, found, strict=True):
        assert gap(part, embedder.encode_segments([document], truncate_dim=32)[0]) < 1e-5


def test_a_long_document_is_read_in_parts(embedder_directory: Path) -> None:
    short = Embedder(embedder_directory, max_seq_length=24)
    segments = ["a b c d", "e f g h", "i j k l", "m n o p", "q r s t"] * 2
    (found,) = short.encode_segments([segments], overlap=1)
    (unlimited,) = Embedder(embedder_directory).encode_segments([segments])
    assert found.shape == unlimited.shape
    assert gap(found[0], unlimited[0]) < 1e-5
    assert gap(found[-1], unlimited[-1]) > 1e-4
    with pytest.warns(LingxiWarning, match="1 of 2"):
        assert np.isfinite(short.encode_segments([["gravity " * 40, "a"]])[0]).all()


@pytest.mark.parametrize("documents", ["text", ["text"], [["a", 3]], None])
def test_what_is_no_document_is_named(documents: Any, embedder: Embedder) -> None:
    with pytest.raises(InputError) as caught:
        embedder.encode_segments(documents)
    assert_mendable(caught.value, "segments" if documents not in ("text", None) else "documents")
