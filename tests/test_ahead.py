"""Batches drawn by other processes while the device computes: the same run, and errors where they belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch import nn

from lingxi.train.gradcache import Figures
from lingxi.train.loop import Schedule, train
from toys import toy_tokenizer

STEPS = 7
# Processes are forked from one whose tokenizer has threads, which is what this is about.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


class Reading:
    """A step in two halves whose first tokenizes many texts at once, and fails at step `bad`."""

    def __init__(self, module: nn.Linear, bad: int | None = None) -> None:
        self.module, self.bad, self.drawn = module, bad, 0
        self.tokenizer = Tokenizer.from_str(toy_tokenizer())

    def __call__(self, rng: np.random.Generator) -> Figures:
        return self.compute(self.prepare(rng))

    def prepare(self, rng: np.random.Generator) -> list[list[float]]:
        self.drawn += 1
        if self.bad is not None and self.drawn > self.bad:
            raise ValueError("this row cannot be read")
        texts = [f"text {number}" for number in rng.integers(0, 99, size=64)]
        return [[float(id) for id in found.ids[:3]] for found in self.tokenizer.encode_batch(texts)]

    def compute(self, prepared: list[list[float]]) -> Figures:
        loss = self.module(torch.tensor(prepared) / 512).square().mean()
        loss.backward()
        return {"loss": float(loss.detach())}


def trained(folder: Path, ahead: int, bad: int | None = None) -> tuple[torch.Tensor, Reading]:
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    step = Reading(module, bad)
    schedule = Schedule(STEPS, 1e-2, 1e-2, warmup_steps=1, checkpoint_every=4)
    train(module, step, schedule, folder, 3, ahead=ahead)
    return module.weight.detach(), step


@pytest.mark.parametrize("processes", [1, 3])
def test_a_run_with_batches_drawn_ahead_is_the_run_without(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    alone, here = trained(tmp_path / "alone", 0)
    ahead, there = trained(tmp_path / "ahead", processes)
    assert torch.equal(alone, ahead)
    assert (here.drawn, there.drawn) == (STEPS, 0)


def test_a_resumed_run_draws_the_steps_that_are_left(tmp_path: Path) -> None:
    whole, _ = trained(tmp_path / "whole", 2)
    (tmp_path / "part").mkdir()
    with pytest.raises(ValueError, match="cannot be read"):
        trained(tmp_path / "part", 1, bad=5)
    log = (tmp_path / "part/log.jsonl").read_text().splitlines()
    assert 4 <= len(log) <= 5
    resumed, _ = trained(tmp_path / "part", 2)
    assert torch.equal(whole, resumed)
