"""Fine-tuning: recipes resolve, the tutorial's steps work in miniature, and published shapes learn."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from lingxi import cli, life
from lingxi.model.layout import ModelFiles, write_directory
from lingxi.model.sizes import size_named
from lingxi.records import Pair, passage, write_pairs
from lingxi.train.phases import ContrastiveSettings, MixtureSettings
from lingxi.train.settings import TokenizerSettings, TrainSettings
from lingxi.train.stages import Card, train_models
from lingxi.train.start import fresh_decoder
from lingxi.train.tokenizer import train_tokenizer

ROOT = Path(__file__).parent.parent
# Those of students, of pictures and of late interaction have tests of their own.
RECIPES = [
    path
    for path in sorted((ROOT / "recipes").glob("*.toml"))
    if not path.stem.startswith(("distil-", "nano-start", "nano-reranker", "nano-vl"))
]
TUTORIAL = (ROOT / "docs/finetune.md").read_text(encoding="utf-8")
TRAINING = (ROOT / "docs/train.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def steps(verb: str) -> list[str]:
    """The tutorial's command of a verb, as arguments."""
    lines = [line for block in blocks(TUTORIAL, "sh") for line in block.splitlines()]
    return next(shlex.split(line)[1:] for line in lines if line.startswith(f"lingxi {verb} "))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_resolves(recipe: Path, tmp_path: Path) -> None:
    resolved = life.run(recipe, runs=tmp_path, dry_run=True)["recipe"]
    assert resolved["name"] == recipe.stem
    assert not list(tmp_path.iterdir())


def test_the_tutorial_shows_the_recipe_that_it_runs() -> None:
    shown, own = (tomllib.loads(text) for text in (blocks(TUTORIAL, "toml")[0], _recipe()))
    assert shown == own


def _recipe() -> str:
    return (ROOT / "recipes/finetune.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", range(len(blocks(TRAINING, "toml"))))
def test_settings_shown_are_settings(number: int) -> None:
    tables = [tomllib.loads(block)["train"] for block in blocks(TRAINING, "toml")]
    # A block that shows a part is put beside a whole phase.
    reranker = next(table["reranker"] for table in tables if "reranker" in table)
    begun = {"start": "lingxi-pico", "reranker": {"miner": "lingxi-pico", **reranker}}
    TrainSettings.model_validate({**begun, **tables[number]})


def test_what_the_page_says_of_settings_is_so() -> None:
    """Names of the table are fields, and the numbers that it states are their defaults."""
    table = TRAINING.split("## Settings of a contrastive phase")[1].split("##")[0]
    lines = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    assert len(lines) > 10
    for cell, stated in lines:
        names = re.findall(r"`([\w.]+)`", cell)
        record = MixtureSettings if names[0].startswith("mixture.") else ContrastiveSettings
        fields = [record.model_fields[name.removeprefix("mixture.")] for name in names]
        for field, value in zip(fields, stated.strip().split(", "), strict=False):
            if value[:1].isdigit():
                assert field.default == float(value.replace(",", "")), cell
            elif value == "true":
                assert field.default is True, cell


@pytest.mark.slow
def test_the_tutorial_in_miniature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its script, recipe and commands, with few pairs and steps."""
    monkeypatch.chdir(tmp_path)
    made = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", blocks(TUTORIAL, "python")[0]], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    lines = (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 1_000
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines[:300]) + "\n", encoding="utf-8")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/finetune.toml").write_text(blocks(TUTORIAL, "toml")[0], encoding="utf-8")
    short = {"steps": 12, "batch_pairs": 16, "max_tokens": 48, "warmup_steps": 2}
    changes = [f"train.supervised.{name}={value}" for name, value in short.items()]
    assert cli.run([*steps("run"), *changes, "train.guards.dev_every=6"]) == 0
    scores = [
        json.loads(line)["score"]
        for line in Path("runs/finetune/4-train/phases/supervised/dev.jsonl").read_text().splitlines()
    ]
    assert len(scores) == 3
    assert scores[-1] > scores[0], "twelve steps help already"
    cache = ["--cache", str(tmp_path / "cache")]
    assert cli.run([*steps("evaluate"), *cache]) == 0
    shown = capsys.readouterr().out
    assert "lingxi-pico" in shown
    assert cli.run([*steps("gate"), *cache, "--json"]) in (0, 1)
    assert json.loads(capsys.readouterr().out)["verdict"] in ("passes", "undecided")


def _pairs(path: Path) -> Path:
    lines = (ROOT / "tests/data/tiny/bitext_zh_en_msdocs.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    write_pairs(
        (
            Pair(
                id=str(n), group=str(n), query=row["a"], positives=(passage(row["b"]),), negatives=(),
                instruction="Retrieve parallel sentences", task="bitext", query_language="zh",
                document_language="en", source="tiny", licence="CC0", scores={},
            )
            for n, row in enumerate(rows)
        ),
        path,
    )  # fmt: skip
    return path


def _two_layers_of_the_smallest(folder: Path) -> Path:
    """A directory of the widths of Qwen3-Embedding-0.6B, with two of its layers and a cut vocabulary."""
    lines = (ROOT / "tests/data/tiny/bitext_zh_en_msdocs.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [(side, json.loads(line)[name]) for line in lines for side, name in (("zh", "a"), ("en", "b"))]
    size = replace(size_named("embedding-0.6B"), layers=2, vocab=2_000)
    files = ModelFiles(
        kind="embedder",
        size=size,
        state=fresh_decoder(size, seed=0).state_dict(),
        tokenizer=train_tokenizer(texts, TokenizerSettings(vocab=600, characters_per_language=100_000)),
        card="# Two layers\n",
        max_seq_length=2_048,
    )
    return write_directory(files, folder, "float32")


@pytest.mark.slow
@pytest.mark.parametrize(
    "lora", [None, {"rank": 8, "alpha": 32, "targets": "all-linear"}], ids=["full", "lora"]
)
def test_the_widths_of_the_published_model_train(lora: Mapping[str, Any] | None, tmp_path: Path) -> None:
    """Reports tokens a second (pytest -s)."""
    rate = 1e-4 if lora is None else 1e-3
    phase = {
        "steps": 30, "batch_pairs": 24, "learning_rate": rate, "token_learning_rate": 1e-3,
        "warmup_steps": 3, "max_tokens": 48, "mixture": {"tasks": {"bitext": 1.0}},
    }  # fmt: skip
    settings = TrainSettings.model_validate(
        {
            "start": str(_two_layers_of_the_smallest(tmp_path / "start")),
            "dims": [256, 1024],
            "supervised": phase,
            "lora": lora,
        }
    )
    card = Card("# Trained\n", "")
    train_models(_pairs(tmp_path / "pairs.parquet"), settings, tmp_path / "out", card, lambda path: None)
    log = (tmp_path / "out/phases/supervised/log.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in log]
    first, last = (fmean(row["loss"] for row in part) for part in (rows[:5], rows[-5:]))
    tokens = sum(row["tokens"] for row in rows) / rows[-1]["seconds"]
    print(f"\n{'lora' if lora else 'full'}: loss {first:.3f} → {last:.3f}, {tokens:,.0f} tokens/s")
    assert last < 0.9 * first
    assert (tmp_path / "out/adapter-embedder").exists() == (lora is not None)
