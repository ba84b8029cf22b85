"""Finished vectors: cut, normalised, quantized, compared."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lingxi import vectors
from lingxi.errors import InputError
from toys import assert_mendable, gap

FLOATS = st.floats(-100, 100, width=32)
STATES = arrays(np.float32, st.tuples(st.integers(1, 6), st.just(48)), elements=FLOATS)


def rows(count: int, dim: int = 64) -> vectors.Floats:
    states = np.random.default_rng(0).normal(size=(count, dim)).astype(np.float32)
    return vectors.cut(states, dim)


@given(STATES, st.integers(1, 48))
def test_cut_then_normalise(states: vectors.Floats, dim: int) -> None:
    out = vectors.cut(states, dim)
    assert out.shape == (len(states), dim) and out.dtype == np.float32
    norms = np.linalg.norm(states[:, :dim].astype(np.float64), axis=1)
    for row, norm, state in zip(out, norms, states, strict=True):
        if norm > 1e-6:
            assert gap(row, state[:dim] / norm) < 1e-5
    assert np.isfinite(out).all()


def test_a_zero_row_stays_zero_and_the_input_is_kept() -> None:
    states = np.zeros((2, 8), np.float32)
    states[1] = 3
    out = vectors.cut(states, 4)
    assert out[0].tolist() == [0, 0, 0, 0]
    assert out[1].tolist() == [0.5, 0.5, 0.5, 0.5]
    assert states[1, 0] == 3


@pytest.mark.parametrize("dim", [0, 31, 1025, -1, True, False, 64.0, "64", None])
def test_a_width_out_of_range_is_refused(dim: Any) -> None:
    with pytest.raises(InputError) as caught:
        vectors.check_dim(dim, 1024)
    assert_mendable(caught.value, repr(dim), "32 to 1024")


@pytest.mark.parametrize("dim", [32, 33, 1000, 1024])
def test_every_width_in_range_is_taken(dim: int) -> None:
    assert vectors.check_dim(dim, 1024) == dim


def test_precisions_have_their_shapes_and_types() -> None:
    unit = rows(5)
    scale = vectors.int8_scale(unit, 64)
    kinds = {p: vectors.quantize(unit, p, scale) for p in vectors.PRECISIONS}
    found = {p: (codes.dtype.name, codes.shape) for p, codes in kinds.items()}
    assert found == {
        "float32": ("float32", (5, 64)),
        "int8": ("int8", (5, 64)),
        "uint8": ("uint8", (5, 64)),
        "binary": ("int8", (5, 8)),
        "ubinary": ("uint8", (5, 8)),
    }
    assert (kinds["uint8"].astype(int) - 128 == kinds["int8"]).all()
    assert (kinds["ubinary"].astype(int) - 128 == kinds["binary"]).all()


def test_binary_codes_equal_sentence_transformers() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers.util import quantize_embeddings
    unit = rows(7)
    for precision in ("binary", "ubinary"):
        assert (vectors.quantize(unit, precision) == quantize_embeddings(unit, precision)).all()


@given(arrays(np.float32, (4, 40), elements=st.floats(-1, 1, width=32)), st.integers(1, 3))
def test_an_int8_code_is_its_vectors_own(states: vectors.Floats, first: int) -> None:
    unit = vectors.cut(states, 40)
    scale = vectors.int8_scale(rows(20), 40)
    together = vectors.quantize(unit, "int8", scale)
    assert (together[:first] == vectors.quantize(unit[:first], "int8", scale)).all()
    inside = np.abs(unit) <= 127 * scale
    assert (np.abs(together * scale - unit)[inside] <= scale / 2 + 1e-6).all()


def test_int8_keeps_the_cosine() -> None:
    unit = rows(50, 256)
    codes = vectors.quantize(unit, "int8", vectors.int8_scale(unit, 256)).astype(np.float32)
    assert gap(vectors.similarity(codes, codes), vectors.similarity(unit, unit)) < 0.01


def test_int8_without_a_scale_and_unknown_precisions_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        vectors.quantize(rows(1), "int8")
    assert_mendable(caught.value, "scale")
    with pytest.raises(InputError) as caught:
        vectors.check_precision("int4")
    assert_mendable(caught.value, "int4", "ubinary")


def test_similarity_is_the_cosine() -> None:
    a, b = rows(3), rows(4)
    found = vectors.similarity(a * 5, b * 0.1)
    assert found.shape == (3, 4)
    assert gap(found, a @ b.T) < 1e-6
    assert vectors.similarity(a[0], b[0]).shape == (1, 1)
    with pytest.raises(InputError) as caught:
        vectors.similarity(a, b[:, :32])
    assert_mendable(caught.value, "64", "32")
