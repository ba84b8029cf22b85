"""Updates: what learns and what stays, maps between spaces, releases that survive kills, the whole flow."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lingxi import cli
from lingxi.errors import InputError, StoreError
from lingxi.evaluate.suite import read_suite
from lingxi.model.files import read_decoder
from lingxi.records import Pair, passage, write_pairs
from lingxi.train.checkpoint_start import open_for_training
from lingxi.train.held_out import write_suite
from lingxi.update import bridge, releases
from lingxi.update.anchors import Held, anchors_of, new_rows, vectors_of
from lingxi.update.blend import Tried, choose, found, shares
from lingxi.update.gate import Keep
from lingxi.update.learn import learn
from lingxi.update.material import read_rows, sample_file, sampled, split
from lingxi.update.objective import Objective
from lingxi.update.releases import Release
from lingxi.update.run import update
from lingxi.update.served import Served
from lingxi.update.settings import UpdateSettings
from lingxi.update.tuned import TokenRows, finished, freed
from lingxi.vectors import cut
from toys import write_toy

QUICK = UpdateSettings(
    threads=1, steps=6, batch_pairs=4, kept_pairs=4, replay=40, dev_rows=10, dev=0.2, max_tokens=24, trials=1,
    warmup_steps=1, learning_rate=1e-3, max_drop=100.0, dtype="float32", anchor=30.0,
)  # fmt: skip


def pair(number: int, kind: str, source: str = "made") -> Pair:
    query, answer = (
        f"where is the {kind} number {number}",
        f"The {kind} {number} lies in box {number * 7 % 101}.",
    )
    return Pair(
        f"{kind}{number}", f"{kind}{number}", query, (passage(answer),), (), "Find the box.", "retrieval",
        "en", "en", source, "CC0",
    )  # fmt: skip


NEW = [pair(number, "gear") for number in range(40)]
OLD = [pair(number, "cat") for number in range(60)]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lingxi.check import make_golden

    path = write_toy(tmp_path_factory.mktemp("toy") / "model")
    make_golden(path)
    return path


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    write_pairs(OLD[:30], folder / "held.parquet")
    path = write_suite(folder / "held.parquet", folder)
    assert path is not None
    return path


def test_tokens_that_the_new_data_do_not_hold_stay_as_they_were(toy: Path) -> None:
    start = open_for_training(toy)
    before = start.decoder.embed_tokens.weight.detach().clone()
    decoder = freed(start, QUICK, [3, 5, 8])
    assert isinstance(decoder.embed_tokens, TokenRows)
    assert torch.equal(decoder.embed_tokens(torch.tensor([3, 4])), before[[3, 4]])
    with torch.no_grad():
        decoder.embed_tokens.rows += 1
    after = finished(start, QUICK).embed_tokens.weight
    moved = (after != before).any(1).nonzero().flatten().tolist()
    assert moved == [3, 5, 8]
    assert torch.allclose(after[3], before[3] + 1)


@pytest.mark.parametrize("weights", ["all", "lora"])
def test_an_update_learns_and_keeps_old_vectors_nearer_than_one_without_anchors(
    toy: Path, tmp_path: Path, weights: str
) -> None:
    asked = QUICK.model_copy(update={"weights": weights, "steps": 12})
    before = read_decoder(toy, torch.float32)
    start = open_for_training(toy)
    kept = anchors_of(OLD, before, start.tokens, 24)
    learn(toy, NEW, [Held(OLD, toy)], asked, tmp_path / "ours", "# x\n")
    learn(toy, NEW, [], asked.model_copy(update={"anchor": 0.0}), tmp_path / "naive", "# x\n")
    moved = {}
    for name in ("ours", "naive"):
        decoder = read_decoder(tmp_path / name / "tuned", torch.float32)
        moved[name] = float((1 - (vectors_of(decoder, kept.sequences) * kept.vectors).sum(1)).mean())
    assert moved["ours"] < 0.7 * moved["naive"]
    rows = new_rows(NEW, before, start.tokens, 24)
    tuned = read_decoder(tmp_path / "ours/tuned", torch.float32)
    assert found(tuned, rows, stored=False).mean() > found(before, rows, stored=False).mean()


def test_a_step_compares_new_queries_with_stored_documents_of_other_groups(toy: Path) -> None:
    start = open_for_training(toy)
    rows = new_rows(NEW, start.decoder, start.tokens, 24)
    kept = anchors_of(OLD, start.decoder, start.tokens, 24)
    objective = Objective(rows, kept, QUICK, (32, 64))
    batch = objective(np.random.default_rng(0))
    assert len(batch.sequences) == 2 * QUICK.batch_pairs + 2 * QUICK.kept_pairs
    states = vectors_of(start.decoder, batch.sequences).requires_grad_()
    loss, figures = batch.loss(states)
    # Nothing has moved yet, so the anchors cost nothing and pull nowhere.
    assert figures["moved"] == pytest.approx(0, abs=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert states.grad is not None
    assert states.grad[: 2 * QUICK.batch_pairs].abs().max() > 0.01
    alike = replace(rows, alike=np.zeros(40, np.int64), groups=np.zeros(40, np.int64))
    alone, _ = Objective(alike, None, QUICK, (64,))(np.random.default_rng(0)).loss(states.detach())
    assert float(alone) == pytest.approx(0, abs=1e-5)


def test_a_killed_learning_goes_on_and_ends_with_the_same_weights(toy: Path, tmp_path: Path) -> None:
    asked = QUICK.model_copy(update={"checkpoint_every": 2})

    class Stopped(Exception):
        pass

    def stop(step: int, _: object) -> None:
        if step == 3:
            raise Stopped

    with pytest.raises(Stopped):
        learn(toy, NEW, [Held(OLD, toy)], asked, tmp_path / "stopped", "# x\n", [stop])
    learn(toy, NEW, [Held(OLD, toy)], asked, tmp_path / "stopped", "# x\n")
    learn(toy, NEW, [Held(OLD, toy)], asked, tmp_path / "whole", "# x\n")
    one, two = ((tmp_path / name / "tuned/model.safetensors").read_bytes() for name in ("stopped", "whole"))
    assert one == two


def test_the_largest_share_within_an_error_of_the_best_is_merged() -> None:
    assert shares(3) == [0, 0.25, 0.5, 0.75, 1]
    rng = np.random.default_rng(0)
    plain = rng.uniform(size=60)

    def tried(*means: float) -> list[Tried]:
        """Shares whose rows have these means, and differ by much from row to row."""
        rows = [plain + m + rng.permutation(np.tile((-0.2, 0.2), 30)) for m in means]
        return [Tried(s, float(r.mean()), 0.0, r) for s, r in zip(shares(3), rows, strict=True)]

    # The error of a paired difference is about .2 · √2 / √60 = .037.
    assert choose(tried(0, 0.1, 0.1, 0.12, 0.1)) == 1
    assert choose(tried(0, 0.1, 0.12, 0.03, 0)) == 0.5
    assert choose(tried(0.1, 0.09, 0, 0, 0)) == 0


def random_units(rows: int, dim: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return cut(found, dim)


def test_a_turned_space_is_bridged() -> None:
    old = random_units(400, 32, 0)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(32, 32)))
    new = (old @ turn).astype(np.float32)
    made = bridge.fit(old, new)
    assert made.name == "orthogonal"
    assert made.cosine > 0.999 > 0.5 > made.cosine_before
    queries = cut(new[:5] + 0.1 * random_units(5, 32, 2), 32)
    assert np.allclose(made.queries(queries) @ old.T, queries @ new.T, atol=1e-3)
    assert np.allclose(made.documents(new), old, atol=1e-3)


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_new_queries_see_new_documents_over_the_map_in_the_same_order(seed: int) -> None:
    old = random_units(60, 8, seed)
    new = cut(old @ (np.eye(8) + 0.2 * random_units(8, 8, seed + 1)).astype(np.float32), 8)
    made = bridge.fit(old, new)
    query, documents = random_units(1, 8, seed + 2), random_units(2, 8, seed + 3)
    plain = (query @ documents.T)[0]
    if abs(plain[0] - plain[1]) > 0.35:
        over = (made.queries(query) @ made.documents(documents).T)[0]
        assert (over[0] > over[1]) == (plain[0] > plain[1])


def test_a_bridge_comes_back_from_its_file_and_refuses_too_little(tmp_path: Path) -> None:
    made = bridge.fit(random_units(50, 8, 0), random_units(50, 8, 1))
    bridge.save(made, tmp_path / "b.safetensors")
    again = bridge.load(tmp_path / "b.safetensors")
    assert np.array_equal(made.matrix, again.matrix)
    assert again.name == made.name
    with pytest.raises(InputError, match="20 or more"):
        bridge.fit(random_units(5, 8, 0), random_units(5, 8, 1))
    (tmp_path / "b.safetensors").write_bytes(b"xx")
    with pytest.raises(InputError, match="run the update again"):
        bridge.load(tmp_path / "b.safetensors")


def release_folder(home: Path, number: int) -> Path:
    folder = home / "trying" / "x"
    (folder / "embedder").mkdir(parents=True, exist_ok=True)
    (folder / "embedder" / "weights").write_text("w" * 2000)
    place = str(releases.folder_of(home, number) / "embedder")
    releases.write(folder, Release(number, place, place, said={"before": number - 1 if number else None}))
    return folder


def test_releases_are_promoted_gone_back_from_and_tidied(tmp_path: Path) -> None:
    for number in range(6):
        assert releases.next_number(tmp_path) == number
        releases.promote(tmp_path, release_folder(tmp_path, number), number - 1 if number else None)
        releases.tidy(tmp_path)
    assert releases.serving(tmp_path).number == 5
    # The first stays: losses are summed against it.
    assert releases.numbers(tmp_path) == [0, 3, 4, 5]
    assert releases.back(tmp_path).number == 4
    assert releases.back(tmp_path).number == 3
    with pytest.raises(StoreError, match="no release before"):
        releases.back(tmp_path)
    (tmp_path / "serving.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        releases.serving(tmp_path)


def test_the_release_that_losses_are_summed_against_is_kept_until_another_is_named(tmp_path: Path) -> None:
    for number in range(4):
        releases.promote(tmp_path, release_folder(tmp_path, number), number - 1 if number else None)
    assert releases.anchor(tmp_path).number == 0
    with pytest.raises(InputError, match="name one of 0, 1, 2, 3"):
        releases.name_anchor(tmp_path, 9)
    assert releases.name_anchor(tmp_path, 1).number == releases.anchor(tmp_path).number == 1
    for number in range(4, 8):
        releases.promote(tmp_path, release_folder(tmp_path, number), number - 1)
        releases.tidy(tmp_path)
    assert releases.numbers(tmp_path) == [1, 5, 6, 7]
    shutil.rmtree(releases.folder_of(tmp_path, 1))
    with pytest.raises(StoreError, match="lingxi update anchor"):
        releases.anchor(tmp_path)
    (tmp_path / "anchor.json").write_text("1")
    with pytest.raises(StoreError, match="cannot be read"):
        releases.anchor(tmp_path)


def promote_for_ever(home: Path) -> None:
    while True:
        number = releases.next_number(home)
        releases.promote(home, release_folder(home, number), number - 1)
        releases.tidy(home)


def test_a_kill_during_promotion_leaves_a_whole_release_serving(tmp_path: Path) -> None:
    releases.promote(tmp_path, release_folder(tmp_path, 0), None)
    before = 0
    for moment in np.random.default_rng(0).uniform(0.01, 0.3, 8):
        with warnings.catch_warnings():
            # The child writes files and nothing else; a new interpreter would take seconds to start.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            promote_for_ever(tmp_path)
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        serving = releases.serving(tmp_path)
        assert (Path(serving.model) / "weights").read_text() == "w" * 2000
        assert serving.number >= before
        before = serving.number
    assert before > 3


_UPDATES = """
import sys
from pathlib import Path
from lingxi.evaluate.suite import read_suite
from lingxi.update.material import read_rows
from lingxi.update.gate import Keep
from lingxi.update.run import update
from lingxi.update.settings import UpdateSettings
place = Path(sys.argv[1])
rows = [read_rows(place / f"{name}.parquet", "en") for name in ("new", "old")]
settings = UpdateSettings.model_validate_json((place / "settings.json").read_text())
print("ready", flush=True)
update(place / "home", *rows, Keep(read_suite(sys.argv[2]), None, place / "cache"), settings)
"""


@pytest.mark.slow
def test_a_kill_during_an_update_leaves_the_release_before_and_the_next_call_ends_it(
    toy: Path, suite: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    releases.begin(home, str(toy))
    write_pairs(NEW, tmp_path / "new.parquet")
    write_pairs(OLD[30:], tmp_path / "old.parquet")
    asked = QUICK.model_copy(update={"checkpoint_every": 1})
    (tmp_path / "settings.json").write_text(asked.model_dump_json())
    command = [sys.executable, "-c", _UPDATES, str(tmp_path), str(suite)]
    for moment in (0.3, 1.0, 2.0, 3.5):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as run:
            assert run.stdout is not None
            assert run.stdout.readline() == b"ready\n"
            time.sleep(moment)
            run.send_signal(signal.SIGKILL)
        release = releases.serving(home)
        assert Served(home, release).encode_query("where is it").shape == (64,)
    while releases.serving(home).number == 0:
        assert subprocess.run(command, check=True, capture_output=True).returncode == 0
    assert releases.serving(home).number >= 1


def test_an_update_is_promoted_or_not_by_the_gate(toy: Path, suite: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert releases.begin(home, str(toy)).number == 0
    keep = Keep(read_suite(suite), None, tmp_path / "cache")
    strict = QUICK.model_copy(update={"max_drop": 0.0, "seed": 1, "tolerance": 1.0})
    heard: list[str] = []
    stopped = update(home, NEW, OLD[30:], keep, strict, strict=True, say=heard.append)
    assert not stopped.promoted
    # Half of what was learnt was asked about too, and lies there beside the whole.
    trying = home / "trying/update"
    whole, half = (
        json.loads((trying / name / "embedder/merge.json").read_text("utf-8"))["inputs"][1]["weight"]
        for name in ("release", "half")
    )
    assert half == pytest.approx(whole / 2)
    assert stopped.release.said["share"] == half
    assert any("once more" in line for line in heard)
    assert str(trying / "half") in stopped.lines[-1]
    assert releases.serving(home).number == 0
    done = update(home, NEW, OLD[30:], keep, QUICK)
    assert done.promoted, done.lines
    now = releases.serving(home)
    assert now.number == 1
    assert now.space == str(toy)
    said = json.loads(json.dumps(now.said))
    assert {"old", "stored", "bridged", "new"} == set(said["cost"]["means"])
    served = Served(home, now)
    # What is stored by the first model is what the release reads: one fingerprint.
    assert served.fingerprint() == Served(home, replace(now, model=str(toy), bridged=False)).fingerprint()
    assert served.encode_query("where is it").shape == (served.dim,)
    assert (Path(now.model) / "golden").is_dir()
    assert releases.back(home).number == 0


def test_the_command_teaches_and_says_what_it_costs(
    toy: Path, suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pairs(NEW, tmp_path / "new.parquet")
    write_pairs(OLD[30:], tmp_path / "old.parquet")
    options = [
        f"--set={name}={value}"
        for name, value in QUICK.model_dump(mode="json", exclude_none=True).items()
        if name != "lora"
    ]
    code = cli.run(
        ["update", str(toy), "--new", str(tmp_path / "new.parquet"), "--keep", str(suite), "--replay",
         str(tmp_path / "old.parquet"), "--home", str(tmp_path / "home"), "--cache", str(tmp_path / "c"),
         *options]
    )  # fmt: skip
    shown = capsys.readouterr()
    assert code == 0, shown
    assert "of what embedding again gives" in shown.out
    assert "release 1 serves" in shown.out
    assert cli.run(["update", "show", str(tmp_path / "home"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["number"] == 1
    assert cli.run(["update", "back", str(tmp_path / "home")]) == 0
    assert cli.run(["update", "back", str(tmp_path / "home")]) == 2
    assert cli.run(["update", "show", str(tmp_path / "nowhere")]) == 2


def test_rows_are_split_by_group_and_sampled_over_sources(tmp_path: Path) -> None:
    rows = [*NEW, *(replace(row, id=f"{row.id}b") for row in NEW)]
    parts = split(rows, 0.3, 100, 0)
    assert not {row.group for row in parts.train} & {row.group for row in parts.dev}
    with pytest.raises(InputError, match="more pairs"):
        split(NEW[:2], 0.1, 10, 0)
    mixed = [*OLD, *(pair(n, "rare", "small") for n in range(5))]
    few = sampled(mixed, 20, 0)
    assert len(few) == 20
    assert sum(row.source == "small" for row in few) == 5
    write_pairs(mixed, tmp_path / "rows.parquet")
    assert sample_file(tmp_path / "rows.parquet", 20, 0) == few
    with pytest.raises(InputError, match="not there"):
        read_rows(tmp_path / "none", "en")


def test_documents_make_pairs_that_name_their_file(tmp_path: Path) -> None:
    body = "A long enough text about how the pump of the house is mended when it stands still in winter. " * 2
    (tmp_path / "pump.rst").write_text(
        f"Pumps\n=====\n\n{body}\n\nMending a pump\n--------------\n\n{body}\n"
    )
    rows = read_rows(tmp_path, "en")
    assert {row.source for row in rows} == {str((tmp_path / "pump.rst").resolve())}
    assert any("Mending a pump" in row.query for row in rows)
