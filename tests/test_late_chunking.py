"""An index whose segments are embedded in the context of their file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lingxi import Embedder
from lingxi.errors import InputError, StoreError
from lingxi.index import Index
from lingxi.index.store import LanceStore
from stand_in import WordEmbedder
from toys import assert_mendable, gap

SECTIONS = "".join(f"# Part {n}\n\n{'word ' * 20}number {n}.\n\n" for n in range(4))


class InContext(WordEmbedder):
    """A segment's vector is that of all before it and itself."""

    def encode_segments(self, documents: Sequence[Sequence[str]], **_: Any) -> list[np.ndarray]:
        return [self.encode_document(["\n".join(d[: n + 1]) for n in range(len(d))]) for d in documents]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "docs"
    place.mkdir()
    (place / "a.md").write_text(SECTIONS)
    (place / "b.txt").write_text("One segment.")
    return place


def vectors_of(place: Path) -> dict[str, np.ndarray]:
    rows = LanceStore(place, None)._table.to_arrow().to_pylist()
    return {f"{Path(r['path']).name}#{r['ordinal']}": np.array(r["vector"]) for r in rows if r["vector"]}


def test_segments_are_embedded_in_their_file(folder: Path, tmp_path: Path) -> None:
    Index.open(tmp_path / "late", InContext(), late_chunking=True).add([folder])
    Index.open(tmp_path / "alone", InContext()).add([folder])
    late, alone = vectors_of(tmp_path / "late"), vectors_of(tmp_path / "alone")
    assert late.keys() == alone.keys() and len(late) == 5
    same = {key for key in late if gap(late[key], alone[key]) < 1e-6}
    assert same == {"a.md#0", "b.txt#0"}
    assert Index.open(tmp_path / "late").stats().late_chunking
    assert not Index.open(tmp_path / "alone").stats().late_chunking


def test_a_changed_file_is_embedded_whole_and_a_touched_one_not_at_all(folder: Path, tmp_path: Path) -> None:
    embedder = InContext()
    index = Index.open(tmp_path / "late", embedder, late_chunking=True)
    index.add([folder])
    assert embedder.embedded == 5
    before = vectors_of(tmp_path / "late")
    os.utime(folder / "a.md", ns=(1, 1))
    index.add([folder])
    assert embedder.embedded == 5
    after = vectors_of(tmp_path / "late")
    assert all(gap(before[key], after[key]) == 0 for key in before)
    (folder / "a.md").write_text(SECTIONS.replace("number 0", "number zero"))
    index.add([folder])
    assert embedder.embedded == 9
    changed = vectors_of(tmp_path / "late")
    assert all((gap(before[key], changed[key]) > 1e-6) == key.startswith("a.md") for key in before)


def test_the_two_ways_do_not_mix(folder: Path, tmp_path: Path) -> None:
    for place, made in ((tmp_path / "late", True), (tmp_path / "alone", False)):
        Index.open(place, InContext(), late_chunking=made).add([folder])
        with pytest.raises(StoreError) as caught:
            Index.open(place, InContext(), late_chunking=not made)
        assert_mendable(caught.value, place.name)
        assert Index.open(place, InContext()).stats().late_chunking == made


def test_an_embedder_without_segments_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Index.open(tmp_path / "late", WordEmbedder(), late_chunking=True)
    assert_mendable(caught.value, "encode_segments")


def test_a_model_fills_such_an_index(folder: Path, tmp_path: Path, embedder: Embedder) -> None:
    index = Index.open(tmp_path / "late", embedder, late_chunking=True)
    index.add([folder])
    assert len(index.search("number 3", top_k=3)) == 3
