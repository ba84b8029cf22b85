"""A whole life in miniature: the tiny recipe, resumed, skipped and resolved."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lingxi import cli, config, life, manifest
from lingxi.check import check_model
from lingxi.embedder import Embedder
from lingxi.errors import RecipeError
from lingxi.reranker import Reranker
from lingxi.train.parallel import ALONE

ROOT = Path(__file__).parent.parent
SHORT = (
    f'collect.labelled="{ROOT / "tests/data/tiny"}"',
    "train.lexicon.steps=40",
    "train.language.steps=2",
    "train.weak.steps=8",
    "train.supervised.steps=4",
    "train.reranker.steps=3",
)


@pytest.fixture(scope="session")
def lived(tmp_path_factory):
    """The tiny recipe, run once, with what it said."""
    runs, said = tmp_path_factory.mktemp("runs"), []
    report = life.run(ROOT / "recipes/tiny.toml", SHORT, runs=runs, say=said.append)
    return runs, said, report


def test_the_tiny_recipe_makes_models_that_prove_themselves(lived):
    runs, _, report = lived
    trained = runs / "tiny" / "4-train"
    held = manifest.read(runs / "tiny" / "3-curate").counts["total"]["kept"]
    held -= report["stages"]["train"]["pairs"]
    assert 50 < held < 110, "a fifth is held out"
    for name in ("embedder", "reranker", "weak"):
        assert check_model(trained / name).ok
    assert (trained / "curves.png").exists()
    assert (trained / "held-out" / "suite.toml").exists()


def test_kept_checkpoints_are_merged_into_the_finished_model(lived):
    runs, _, report = lived
    assert report["stages"]["merge"] == {"embedder": {"models": 2, "weights": [0.5, 0.5]}}
    run = runs / "tiny"
    assert life.model_of(run, "embedder") == run / "5-merge" / "embedder"
    assert life.model_of(run, "reranker") == run / "4-train" / "reranker"
    assert check_model(run / "5-merge" / "embedder").ok
    card = (run / "5-merge" / "embedder" / "README.md").read_text(encoding="utf-8")
    assert "bitext_zh_en_msdocs" in card and "## Merge" in card


def test_the_tiny_embedder_has_learned_its_sentences(lived):
    runs, _, _ = lived
    embedder = Embedder(runs / "tiny" / "4-train" / "embedder")
    lines = (
        (ROOT / "tests/data/tiny/bitext_zh_en_msdocs.jsonl").read_text(encoding="utf-8").splitlines()[:100]
    )
    rows = [json.loads(line) for line in lines]
    left = embedder.encode([r["a"] for r in rows], instruction="Retrieve parallel sentences")
    right = embedder.encode([r["b"] for r in rows], instruction="Retrieve parallel sentences")
    found = (embedder.similarity(left, right).argmax(1) == np.arange(len(rows))).mean()
    assert found > 0.3, "chance is 0.01"


def test_the_tiny_reranker_answers_between_no_and_yes(lived):
    runs, _, _ = lived
    ranked = Reranker(runs / "tiny" / "4-train" / "reranker").rank("猫", ["The cat sleeps", "A bus"])
    assert all(0 < row["score"] < 1 for row in ranked)


def test_manifests_say_what_went_in_and_out(lived):
    runs, _, _ = lived
    found = manifest.read(runs / "tiny" / "3-curate")
    assert found.counts["total"]["rows"] == 400
    assert set(found.outputs) == {"pairs.parquet", "dropped.parquet", "ledger.json", "ledger.md"}
    assert found.inputs["collect"] == manifest.read(runs / "tiny" / "1-collect").key
    card = (runs / "tiny" / "4-train" / "embedder" / "README.md").read_text(encoding="utf-8")
    assert "bitext_zh_en_msdocs" in card


def test_an_unchanged_run_is_skipped_and_a_changed_stage_runs_again(lived, tmp_path):
    runs, _, _ = lived
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    said: list[str] = []
    life.run(ROOT / "recipes/tiny.toml", SHORT, runs=copy, say=said.append)
    assert said == [f"{stage}: unchanged, skipped" for stage in ("collect", "curate", "train", "merge")]
    (copy / "tiny" / "4-train" / "manifest.json").unlink()
    shutil.rmtree(copy / "tiny" / "4-train" / "reranker")
    said.clear()
    life.run(ROOT / "recipes/tiny.toml", SHORT, runs=copy, say=said.append)
    assert said[:2] == ["collect: unchanged, skipped", "curate: unchanged, skipped"]
    whole, again = (
        (folder / "tiny/4-train/reranker/model.safetensors").read_bytes() for folder in (runs, copy)
    )
    assert whole == again, "a resumed run gives the same weights"


def test_dry_run_resolves_and_writes_nothing(tmp_path):
    report = life.run(ROOT / "recipes/tiny.toml", ["train.seed=7"], runs=tmp_path, dry_run=True)
    assert report["recipe"]["train"]["seed"] == 7
    assert not list(tmp_path.iterdir())


def test_a_damaged_manifest_is_named(tmp_path):
    (tmp_path / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(RecipeError, match="damaged"):
        manifest.read(tmp_path)


def test_a_run_ends_where_it_is_told(tmp_path, capsys):
    arguments = ["curate", str(ROOT / "recipes/tiny.toml"), SHORT[0], "--runs", str(tmp_path), "--json"]
    assert cli.run(arguments) == 0
    assert set(json.loads(capsys.readouterr().out)["stages"]) == {"collect", "curate"}
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == ["1-collect", "3-curate"]


def test_what_is_measured_must_be_trained(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "r"\n[collect]\n[curate]\n[evaluate]\nroot = "."\n')
    with pytest.raises(RecipeError, match=r"add a table \[train\]"):
        life.run(recipe, runs=tmp_path)


TINY = ROOT / "recipes" / "tiny.toml"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["train.weak.stepps=3"], "unknown key 'train.weak.stepps'"),
        (["train.embedder.steps=3"], "unknown key 'train.embedder'"),
        (["train.weak.learning_rate=-1e-3"], "train.weak.learning_rate"),
        (["train.weak.steps=0"], "train.weak.steps"),
        (["train.dims=[64, 32]"], "dims must rise"),
        (["train.dim_weights=[1, 2, 3]", "train.dims=[32, 64]"], "3 dim_weights for 2 dims"),
        (["train.last_layers=1"], "last_layers is for all weights"),
        (["train.dim_weights=[0, 0]", "train.dims=[32, 64]"], "one of them above 0"),
        (["train.supervised.keep=0"], "[merge] needs checkpoints"),
        (["train.supervised.keep=1"], "[merge] needs checkpoints"),
        (["merge.weights=[0.2, 0.3, 0.5]"], "merge.weights has 3 numbers, embedders kept are 2"),
        (["merge.search={}", "train.held_out=0.0"], "set train.held_out above 0"),
        (["train.lora={}"], "from scratch all weights are trained"),
        (['train.start="some/model"'], "is for networks from scratch"),
        (["train.lexicon.keep=2"], "leave out keep"),
        (["train.lexicon.raw_query_rate=0.3"], "leave out raw_query_rate"),
        (["train.supervised.negatives=0"], "mining is for hard negatives"),
        (["train.weak.hardness=5"], "hardness is for hard negatives"),
        (["train.reranker.agreement=1"], "set teacher.package"),
        (["train.language.keep=2"], "leave out keep"),
        (["train.reranker.easy_negatives=4"], "4 queries do not give 4 easy negatives"),
    ],
)
def test_a_bad_recipe_does_not_resolve(tmp_path, capsys, overrides, words):
    assert cli.run(["train", str(TINY), *overrides, "--runs", str(tmp_path / "runs")]) == 2
    _, err = capsys.readouterr()
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_how_a_stage_is_trained_may_change_while_it_goes_on():
    def key(*overrides):
        settings = config.to_json(config.load(TINY, life.Recipe, overrides))
        return manifest.key_of("train", {}, settings["train"], "code")

    assert key("train.guards.loss_within=900") == key()
    assert key("train.weak.checkpoint_every=3", "train.weak.chunk_tokens=512") == key()
    assert key("train.weak.steps=21") != key()
    assert key('train.guards.benchmark="elsewhere"') != key()


def test_a_model_that_changes_makes_training_run_again(tmp_path):
    """Of the base and of the miner, where they are directories."""
    for name in ("base", "miner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f'''name = "r"
[collect]
[curate]
[train]
start = "{tmp_path / "base"}"
[train.reranker]
steps = 1
batch_queries = 4
learning_rate = 1e-3
token_learning_rate = 1e-3
warmup_steps = 0
miner = "{tmp_path / "miner"}"
'''
    )
    resolved = config.load(recipe, life.Recipe)
    before = manifest.Manifest("curate", "k", {}, {}, {}, {}, 0.0)

    def key() -> str:
        done = {"curate": before}
        return life.STAGES["train"](life.Life(resolved, tmp_path, done, print, ALONE)).key

    keys = [key()]
    for name in ("base", "miner"):
        (tmp_path / name / "config.json").write_text('{"a": 1}')
        keys.append(key())
    assert len(set(keys)) == 3


def torchrun(processes: int, *arguments: object) -> None:
    """The command line under torchrun, as many processes."""
    how = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "--no-python"]
    command = [sys.executable, "-c", "from lingxi.cli import main; main()", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *how, *command], env=environment, capture_output=True, text=True, timeout=560
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.slow
def test_two_processes_live_one_life(lived, tmp_path):
    """Both phases from scratch, mined negatives, a dev probe, averaged weights, and a merge."""
    overrides = [*SHORT, "train.lexicon.ema=0.9", "train.supervised.ema=0.5"]
    torchrun(2, "run", TINY, *overrides, "--runs", tmp_path / "two")
    life.run(TINY, overrides, runs=tmp_path / "one")
    for name in ("4-train/embedder", "4-train/reranker", "5-merge/embedder"):
        assert check_model(tmp_path / "two/tiny" / name).ok
    rows = [
        [json.loads(line) for line in (run / phase / "log.jsonl").read_text().splitlines()]
        for phase in ("lexicon", "weak", "supervised", "reranker")
        for run in (tmp_path / runs / "tiny/4-train/phases" for runs in ("one", "two"))
    ]
    for one, two in zip(rows[::2], rows[1::2], strict=True):
        assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=1e-2)


OWN = """
name = "own"
[collect]
mediawiki = "none"
[[collect.sources]]
reader = "parallel"
paths = ["{folder}"]
licence = "CC0"
[curate]
"""


def test_a_stage_runs_again_for_what_it_makes_not_for_how(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "a.tsv").write_text("de\ten\nIch habe großen Hunger.\tI am very hungry.\n")
    recipe = tmp_path / "own.toml"
    recipe.write_text(OWN.format(folder=folder))
    said: list[str] = []

    def again(*overrides: str) -> list[str]:
        said.clear()
        life.run(recipe, overrides, runs=tmp_path / "runs", say=said.append)
        return [line for line in said if "skipped" in line]

    assert again() == []
    assert len(again(f'collect.cache="{tmp_path}"', 'curate.runner="native"')) == 2
    parts = set((tmp_path / "runs/own/1-collect/parts").iterdir())
    assert len(again("collect.topic_share=0.2")) == 0
    assert set((tmp_path / "runs/own/1-collect/parts").iterdir()) == parts, "pieces serve another run"
    (folder / "a.tsv").write_text("de\ten\nIch bin sehr müde heute.\tI am very tired today.\n")
    assert again("collect.topic_share=0.2") == []


def test_what_did_not_come_is_told(tmp_path):
    recipe = tmp_path / "own.toml"
    recipe.write_text(OWN.format(folder=tmp_path / "none"))
    said: list[str] = []
    life.run(recipe, runs=tmp_path / "runs", until="collect", say=said.append)
    assert any("left out 1" in line for line in said)


def test_a_stage_without_a_table_is_no_stage(tmp_path):
    recipe = tmp_path / "own.toml"
    recipe.write_text(OWN.format(folder=tmp_path))
    with pytest.raises(RecipeError, match=r"no table \[generate\]"):
        life.run(recipe, runs=tmp_path / "runs", until="generate")
