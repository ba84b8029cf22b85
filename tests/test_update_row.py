"""Updates in a row: losses are summed, what was taught is kept in mind, a merge of nothing is no release."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lingxi import cli
from lingxi.evaluate.suite import read_suite
from lingxi.index import Index
from lingxi.model.files import read_decoder
from lingxi.records import Pair, read_pairs, write_pairs
from lingxi.train.checkpoint_start import open_for_training
from lingxi.train.held_out import write_suite
from lingxi.update import moving, releases
from lingxi.update.anchors import Held, anchors_of, joined, vectors_of
from lingxi.update.gate import Keep
from lingxi.update.learn import learn
from lingxi.update.run import update
from lingxi.update.served import Served
from test_update import NEW, OLD, QUICK, pair
from toys import write_toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture(scope="module")
def taught(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy that has learnt all there is, so that it has something to lose."""
    asked = QUICK.model_copy(update={"steps": 60, "batch_pairs": 16})
    folder = tmp_path_factory.mktemp("taught")
    learn(toy, [*NEW, *OLD], [], asked, folder, "# x\n")
    return folder / "tuned"


@pytest.fixture(scope="module")
def keep(tmp_path_factory: pytest.TempPathFactory) -> Keep:
    folder = tmp_path_factory.mktemp("suite")
    write_pairs(OLD[:30], folder / "held.parquet")
    path = write_suite(folder / "held.parquet", folder)
    assert path is not None
    return Keep(read_suite(path), None, folder / "cache")


def begun(folder: Path, model: Path) -> Path:
    """A folder of releases whose first is a model."""
    home = folder / "home"
    home.mkdir()
    releases.begin(home, str(model))
    return home


def test_old_pairs_keep_the_vectors_of_the_model_that_stored_them(toy: Path, tmp_path: Path) -> None:
    learn(toy, NEW, [], QUICK.model_copy(update={"anchor": 0.0}), tmp_path / "moved", "# x\n")
    moved = tmp_path / "moved/tuned"
    start = open_for_training(toy)
    first, second = (read_decoder(place, torch.float32) for place in (toy, moved))
    stored = anchors_of(OLD, first, start.tokens, 24)
    near = {}
    for name, held in (("first", toy), ("own", moved)):
        learn(moved, NEW, [Held(OLD, held)], QUICK, tmp_path / name, "# x\n")
        decoder = read_decoder(tmp_path / name / "tuned", torch.float32)
        near[name] = float((vectors_of(decoder, stored.sequences) * stored.vectors).sum(1).mean())
    # Held where the first model stored them they come back towards it, and do not drift on.
    assert near["first"] > near["own"] + 0.01
    both = joined([stored, anchors_of(NEW, second, start.tokens, 24)])
    assert both is not None
    assert torch.equal(both.documents[:60], stored.documents)
    there = vectors_of(second, both.sequences[160:])
    assert torch.allclose(both.documents[60:], there, atol=1e-5)
    assert both.sequences[:60] == stored.sequences[:60]


def wrongly(rows: list[Pair]) -> list[Pair]:
    """The same questions, each with the answer of another."""
    others = [*rows[1:], rows[0]]
    return [replace(row, positives=other.positives) for row, other in zip(rows, others, strict=True)]


def test_small_losses_that_pass_one_by_one_are_stopped_by_their_sum(
    taught: Path, keep: Keep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = begun(tmp_path, taught)
    loose = {"max_drop": 100.0, "max_sum": 100.0, "share": 0.9}
    careless = QUICK.model_copy(update={**loose, "anchor": 0.0, "steps": 30, "learning_rate": 1e-2})
    assert update(home, wrongly(OLD), OLD, keep, careless).promoted
    lost = releases.serving(home).said["cost"]
    assert lost["decision"]["slices"][0]["difference"] < -5
    # Against the release before there is no other one to sum against.
    assert lost["since"] is None
    gentle = QUICK.model_copy(update={**loose, "max_drop": 5.0, "max_sum": 5.0, "learning_rate": 1e-5})
    heard: list[str] = []
    stopped = update(home, NEW, OLD[30:], keep, gentle, say=heard.append)
    assert not stopped.promoted
    assert abs(stopped.release.said["cost"]["decision"]["slices"][0]["difference"]) < 5
    assert any("once more" in line for line in heard)
    assert any("the sum since release 0 stops it" in line for line in stopped.lines)
    assert releases.serving(home).number == 1
    assert cli.run(["update", "show", str(home)]) == 0
    shown = capsys.readouterr().out
    assert f"not promoted, in {home / 'trying/update/half'}" in shown
    assert "  old slices since release 0: -" in shown
    loose_sum = gentle.model_copy(update={"max_sum": 100.0})
    assert update(home, NEW, OLD[30:], keep, loose_sum).promoted
    assert cli.run(["update", "show", str(home)]) == 0
    shown = capsys.readouterr().out
    assert "old slices since release 1" in shown
    assert "old slices since release 0: -" in shown
    assert "losses are summed since release 0" in shown
    assert cli.run(["update", "anchor", str(home)]) == 0
    assert releases.anchor(home).number == 2


def test_an_update_whose_merge_takes_nothing_of_the_new_is_no_release_and_reindex_works_after_it(
    taught: Path, keep: Keep, tmp_path: Path
) -> None:
    home, index = begun(tmp_path, taught), tmp_path / "index"
    (tmp_path / "box.md").write_text("# The box\n\nThe cat lies in the box of the red shelf.\n")
    Index.open(index, Served(home, releases.serving(home))).add([tmp_path / "box.md"])
    little = QUICK.model_copy(update={"steps": 2, "share": 0.9})
    assert update(home, NEW, OLD[30:], keep, little.model_copy(update={"max_sum": 100.0})).promoted
    # What is learnt spoils what is kept, and the search sees it.
    asked = QUICK.model_copy(update={"steps": 40, "anchor": 0.0, "tolerance": 0.0})
    done = update(home, wrongly(OLD), OLD, keep, asked)
    assert not done.promoted
    assert done.release == releases.serving(home)
    assert done.release.number == 1
    assert "nothing was learnt" in done.lines[0]
    assert "gate" not in done.cpu_seconds
    moved = moving.reindex(home, index)
    assert moved.space == moved.model == done.release.model
    # What was taught before is still known there.
    assert (releases.folder_of(home, moved.number) / "learnt.parquet").exists()
    assert moving.opened(home, index)[0].search("where is the cat", top_k=1)


def test_what_earlier_updates_taught_is_kept_in_mind(toy: Path, keep: Keep, tmp_path: Path) -> None:
    home = begun(tmp_path, toy)
    asked = QUICK.model_copy(update={"share": 0.9, "max_sum": 100.0, "recalled": 10, "steps": 2})
    for number, kind in enumerate(("gear", "pipe", "rope")):
        done = update(home, [pair(n, kind, kind) for n in range(40)], OLD[30:], keep, asked)
        assert done.promoted
        assert done.release.said["recalled"] == 10 * number
    held = list(read_pairs(releases.folder_of(home, 3) / "learnt.parquet"))
    assert {row.source for row in held} == {"gear", "pipe", "rope"}
