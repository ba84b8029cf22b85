"""What an index would cost, and its passages in other stores of vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from databases import LOCAL, place_of
from lingxi.errors import InputError
from lingxi.index import Index
from lingxi.index.estimate import estimate
from lingxi.index.publish import layout_of, publish
from lingxi.index.stores import Collection, Compare
from stand_in import WordEmbedder
from toys import assert_mendable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "docs"
    place.mkdir()
    for n in range(40):
        (place / f"{n:02}.md").write_text(
            f"# Part {n}\n\nthing{n} and word{n % 7}.\n\n## More\n\nother{n} too.\n"
        )
    (place / "code.py").write_text("def thing1():\n    return 1\n")
    return place


@pytest.mark.parametrize("store", LOCAL)
def test_a_published_index_answers_as_the_index_does(store, folder, tmp_path):
    model = WordEmbedder()
    index = Index.open(tmp_path / "an.index", model)
    index.add([folder])
    layout = layout_of(tmp_path / "an.index")
    with Collection.open(place_of(store, tmp_path, "out"), layout) as out:
        first = publish(tmp_path / "an.index", out)
        assert first.written == first.held == index.stats().segments == 81
        query = model.encode_query(["thing7"])
        (found,) = out.search(query, 5)
        near = sorted(index.search("thing7", top_k=100), key=lambda hit: -hit.scores.get("vector", -9))
        assert found[0].metadata["path"].endswith("07.md")
        assert found[0].score == pytest.approx(near[0].scores["vector"], abs=1e-5)
        assert out.count(Compare("language", "=", "python")) == 1
        assert out.count(Compare("path", "below", str(folder))) == 81
        assert publish(tmp_path / "an.index", out).written == 0
        (folder / "07.md").write_text("# Part 7\n\nentirely new\n")
        (folder / "08.md").unlink()
        index.add([folder])
        again = publish(tmp_path / "an.index", out)
        assert (again.written, again.removed, again.held) == (1, 3, 78)
        assert out.search(model.encode_query(["entirely new"]), 1)[0][0].metadata["path"].endswith("07.md")


def test_a_width_the_index_lacks_is_told_of(folder, tmp_path):
    Index.open(tmp_path / "an.index", WordEmbedder()).add([folder])
    assert layout_of(tmp_path / "an.index", dim=32, precision="binary").dim == 32
    with pytest.raises(InputError) as caught:
        layout_of(tmp_path / "an.index", dim=128)
    assert_mendable(caught.value, "128", "64")


def test_an_estimate_counts_what_an_index_will_hold(folder, tmp_path):
    model = WordEmbedder()
    found = estimate(model, [folder], sample=60)
    assert model.embedded == found.sample == 60
    report = Index.open(tmp_path / "an.index", WordEmbedder()).add([folder])
    assert (found.files, found.segments) == (report.added, report.segments)
    forms = {(form.dim, form.precision): form for form in found.forms}
    assert forms[64, "float32"].recall == 1.0 and forms[64, "float32"].bytes_read == 81 * 64 * 4
    assert forms[64, "binary"].bytes_read == 81 * 8 and forms[64, "int8"].bytes_kept == 81 * 64 * 5
    assert 0 < forms[64, "binary"].recall <= forms[64, "binary"].rescored <= 1
    assert forms[64, "int8"].recall > 0.8


def test_an_estimate_of_recall_is_that_of_the_store(tmp_path, folder):
    """The figure for binary codes is what a binary store finds among the same vectors."""
    pytest.importorskip("faiss")
    from lingxi.index.estimate import _forms
    from lingxi.index.stores import Layout

    draw = np.random.default_rng(0).standard_normal((300, 64)).astype(np.float32)
    full = draw / np.linalg.norm(draw, axis=1, keepdims=True)
    told = {(form.dim, form.precision): form for form in _forms(full, 300, 0)}
    queries = np.random.default_rng(0).permutation(300)[:100]
    for precision, rescore in (("binary", 10), ("binary", 0), ("int8", 0)):
        layout = Layout(64, precision=precision, rescore=rescore)
        with Collection.open(f"faiss:{tmp_path / f'{precision}{rescore}'}", layout) as store:
            store.add([str(n) for n in range(300)], full)
            found = [
                [int(one.id) for one in hits if int(one.id) != query][:10]
                for query, hits in zip(queries, store.search(full[queries], 11), strict=True)
            ]
        exact = np.argsort(-(full[queries] @ full.T), axis=1)[:, 1:11]
        shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact.tolist(), strict=True)])
        form = told[64, precision]
        assert shared == pytest.approx(form.rescored if rescore else form.recall, abs=0.03)


def test_nothing_to_estimate_is_told_of(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\0\1")
    with pytest.raises(InputError) as caught:
        estimate(WordEmbedder(), [tmp_path])
    assert_mendable(caught.value)
    with pytest.raises(InputError):
        estimate(WordEmbedder(), [tmp_path], sample=3)
