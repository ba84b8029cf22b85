"""The embedder as a user holds it."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lingxi import Embedder, prompts
from lingxi.errors import InputError, LingxiWarning
from toys import TEXTS, assert_mendable, gap, write_toy

WORDS = st.text(st.sampled_from("gravity of the capital 北京\n\t0<|>"), max_size=80)


def test_shapes_and_lengths(embedder: Embedder) -> None:
    one = embedder.encode("a text")
    assert one.shape == (64,) and one.dtype == np.float32
    many = embedder.encode(TEXTS)
    assert many.shape == (len(TEXTS), 64)
    assert gap(np.linalg.norm(many, axis=1), np.ones(len(TEXTS))) < 1e-6
    assert gap(embedder.encode([TEXTS[0]])[0], embedder.encode(TEXTS[0])) == 0
    assert embedder.dim == embedder.hidden == embedder.get_embedding_dimension() == 64


def test_an_empty_list_gives_no_rows(embedder: Embedder) -> None:
    assert embedder.encode([]).shape == (0, 64)
    codes = embedder.encode(iter(()), truncate_dim=32, precision="ubinary")
    assert codes.shape == (0, 4) and codes.dtype == np.uint8


def test_empty_and_blank_texts_are_finite_unit_vectors(embedder: Embedder) -> None:
    for text in ("", " ", "\n", "\x00", "\ud800", "\ufeff"):
        vector = embedder.encode(text)
        assert np.isfinite(vector).all()
        assert abs(float(np.linalg.norm(vector)) - 1) < 1e-6
    # The empty text is the end token alone.
    assert embedder.count_tokens(["", "a"]) == [1, 2]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS, min_size=1, max_size=6), st.integers(0, 5))
def test_a_vector_is_its_texts_own(embedder: Embedder, texts: list[str], which: int) -> None:
    index = which % len(texts)
    assert gap(embedder.encode(texts)[index], embedder.encode(texts[index])) < 1e-5
    assert gap(embedder.encode(texts[::-1])[::-1], embedder.encode(texts)) < 1e-5


def test_prompts_stand_before_the_text(embedder: Embedder) -> None:
    raw = embedder.encode(TEXTS)
    assert gap(embedder.encode_document(TEXTS), raw) == 0
    queries = embedder.encode_query(TEXTS)
    assert gap(queries, embedder.encode([prompts.query(t) for t in TEXTS])) == 0
    assert gap(queries, embedder.encode(TEXTS, prompt_name="query")) == 0
    tasked = embedder.encode_query(TEXTS, instruction="Find twins")
    assert gap(tasked, embedder.encode([f"Instruct: Find twins\nQuery:{t}" for t in TEXTS])) == 0
    assert gap(tasked, embedder.encode(TEXTS, instruction="Find twins")) == 0
    assert gap(embedder.encode(TEXTS, prompt="p: "), embedder.encode([f"p: {t}" for t in TEXTS])) == 0
    assert gap(queries, raw) > 1e-3


def test_prompts_exclude_each_other(embedder: Embedder) -> None:
    with pytest.raises(InputError) as caught:
        embedder.encode("x", instruction="a", prompt="b")
    assert_mendable(caught.value, "exclude")
    with pytest.raises(InputError) as caught:
        embedder.encode("x", prompt_name="qurey")
    assert_mendable(caught.value, "qurey", "query, document")


def test_widths_are_cut_before_normalising(embedder: Embedder, embedder_directory: Path) -> None:
    full = embedder.encode(TEXTS)[:, :40]
    expected = full / np.linalg.norm(full, axis=1, keepdims=True)
    assert gap(embedder.encode(TEXTS, truncate_dim=40), expected) < 1e-6
    narrow = Embedder(embedder_directory, truncate_dim=40)
    assert narrow.dim == 40
    assert gap(narrow.encode(TEXTS), expected) < 1e-6
    assert narrow.encode(TEXTS, truncate_dim=48).shape == (len(TEXTS), 48)


@pytest.mark.parametrize("dim", [0, 31, 65, True, 64.0])
def test_widths_out_of_range_are_refused(dim: Any, embedder: Embedder, embedder_directory: Path) -> None:
    for attempt in (
        lambda: embedder.encode("x", truncate_dim=dim),
        lambda: Embedder(embedder_directory, truncate_dim=dim),
    ):
        with pytest.raises(InputError) as caught:
            attempt()
        assert_mendable(caught.value, repr(dim), "32 to 64")


def test_precisions(embedder: Embedder) -> None:
    shapes = {"float32": 64, "int8": 64, "uint8": 64, "binary": 8, "ubinary": 8}
    for precision, width in shapes.items():
        codes = embedder.encode(TEXTS, precision=precision)
        assert codes.shape == (len(TEXTS), width)
        assert codes.dtype.name == {"binary": "int8", "ubinary": "uint8"}.get(precision, precision)
    with pytest.raises(InputError) as caught:
        embedder.encode("x", precision="int4")
    assert_mendable(caught.value, "int4")


def test_int8_codes_do_not_depend_on_the_batch(embedder: Embedder) -> None:
    together = embedder.encode(TEXTS, precision="int8")
    loud = embedder.encode([TEXTS[3], "北京 " * 50], precision="int8")
    for index, text in enumerate(TEXTS):
        alone = embedder.encode(text, precision="int8")
        # Sums in another order may move a component that lies between two codes, by one.
        assert np.abs(alone.astype(int) - together[index]).max() <= 1
        assert (alone != together[index]).mean() < 0.05
    assert np.abs(loud[0].astype(int) - together[3]).max() <= 1
    floats = embedder.encode(TEXTS)
    cosines = embedder.similarity(together.astype(np.float32), floats).diagonal()
    assert cosines.min() > 0.999


def test_int8_has_a_scale_without_a_golden_file(embedder: Embedder, tmp_path: Path) -> None:
    codes = embedder.encode(TEXTS, precision="int8", truncate_dim=32)
    assert 60 < np.abs(codes.astype(int)).max() <= 127


def test_a_long_text_is_cut_and_said_once(embedder_directory: Path) -> None:
    short = Embedder(embedder_directory, max_seq_length=16)
    long = "gravity is a force " * 30
    with pytest.warns(LingxiWarning) as caught:
        vectors = short.encode([long] * 3 + ["short"] + [long] * 5000)
    assert len(caught) == 1
    assert "5003 of 5004 texts are longer than 16 tokens" in str(caught[0].message)
    assert caught[0].filename == __file__
    cut = short.tokenizer.user.decode(short.tokenizer.texts([long])[0][:15])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gap(short.encode(cut), vectors[0]) < 1e-5


@pytest.mark.parametrize("length", [0, 1, 513, -3, True, "64"])
def test_a_length_out_of_range_is_refused(length: Any, embedder_directory: Path) -> None:
    with pytest.raises(InputError) as caught:
        Embedder(embedder_directory, max_seq_length=length)
    assert_mendable(caught.value, "2 to 512")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (["a", 3], "item 1 is int"),
        (["a", None], "item 1 is NoneType"),
        ([b"bytes"], "item 0 is bytes"),
        (b"bytes", "item 0 is int"),
        ([["a"]], "item 0 is list"),
        (None, "NoneType"),
        (7, "int"),
        ((t for t in ["a", "b", 2.5]), "item 2 is float"),
    ],
)
def test_what_is_not_text_is_named(inputs: Any, words: str, embedder: Embedder) -> None:
    with pytest.raises(InputError) as caught:
        embedder.encode(inputs)
    assert_mendable(caught.value, words)


def test_a_generator_is_read_in_order(embedder: Embedder) -> None:
    assert gap(embedder.encode(t for t in TEXTS), embedder.encode(list(TEXTS))) == 0
    assert gap(embedder.encode(np.array(TEXTS)), embedder.encode(TEXTS)) == 0


def test_a_long_generator_is_not_held(embedder: Embedder) -> None:
    """Three times the texts take no more memory: they are read a window (2 MB) at a time."""
    limited = Embedder(embedder.directory, max_seq_length=4)

    def peak(count: int) -> int:
        tracemalloc.start()
        with pytest.warns(LingxiWarning):
            codes = limited.encode((f"{i} " + "gravity " * 125 for i in range(count)), precision="ubinary")
        assert codes.shape == (count, 8)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    assert peak(7500) < 1.2 * peak(2500)


def test_fingerprints_tell_models_apart(embedder: Embedder, tmp_path: Path) -> None:
    found = embedder.fingerprint()
    assert set(found) == {"name", "weights", "prompt", "dim", "precision"}
    assert found["name"] == "toy-embedder" and found["dim"] == 64
    assert Embedder(embedder.directory).fingerprint() == found
    assert Embedder(embedder.directory, truncate_dim=32).fingerprint()["dim"] == 32
    other = write_toy(tmp_path / "other", seed=1)
    assert Embedder(other).fingerprint()["weights"] != found["weights"]


def test_similarity(embedder: Embedder) -> None:
    a, b = embedder.encode(TEXTS[:3]), embedder.encode(TEXTS[3:])
    assert gap(embedder.similarity(a, b), a @ b.T) < 1e-6


def test_a_progress_bar_stands_on_stderr(embedder: Embedder, capsys: pytest.CaptureFixture[str]) -> None:
    embedder.encode(TEXTS, show_progress_bar=True)
    shown = capsys.readouterr()
    assert shown.out == "" and "embedding" in shown.err
    embedder.encode(TEXTS, show_progress_bar=None)
    assert capsys.readouterr().err == ""
