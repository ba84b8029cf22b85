"""The training loop: steps in, trained weights out, resumable anywhere.

What a step sees depends on the seed and the step's number alone, so a run that was stopped and
resumed ends with the same weights as one that was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.distributed.tensor import DTensor

from lingxi.errors import TrainingError
from lingxi.train.ahead import TwoHalves, prepared
from lingxi.train.checkpoints import Average, Run, keep_weights, latest, resume, save, trained
from lingxi.train.gradcache import Figures, Step
from lingxi.train.parallel import ALONE, Ranks, whole

Listener = Callable[[int, Figures], None]
# Fields of a schedule that say when to write, and change nothing of what is learnt.
_HOW = frozenset({"checkpoint_every", "keep"})


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast: linear warm-up, then a cosine down to a twentieth of the learning rates.

    Token vectors have a rate of their own: a step touches few of them, and each seldom. `ema_decay`
    keeps a running mean of the weights. `keep` are numbers of steps after which the weights are kept.
    """

    steps: int
    learning_rate: float
    token_learning_rate: float
    warmup_steps: int
    checkpoint_every: int
    weight_decay: float = 0.01
    max_norm: float = 1.0
    ema_decay: float | None = None
    keep: tuple[int, ...] = ()

    def share(self, step: int) -> float:
        """Share of the learning rates that a step takes, 0 to 1."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return 0.05 + 0.475 * (1 + math.cos(math.pi * done))


def train(
    module: nn.Module,
    step: Step,
    schedule: Schedule,
    folder: Path,
    seed: int,
    *,
    listeners: Sequence[Listener] = (),
    recipe: Mapping[str, Any] | None = None,
    ranks: Ranks = ALONE,
    ahead: int = 0,
) -> Figures:
    """Train `module` in place; checkpoints and `log.jsonl` go to `folder`, which also resumes it.

    `listeners` are told each step's number and log row, on every rank; one that raises stops the
    run. `recipe` is what else the outcome depends on (a checkpoint of another one is refused). `ahead`
    processes draw what the next steps read, where a step is in two halves; the outcome is the same.
    Raises TrainingError where a figure is not finite, before the weights change. Returns the last row.
    """
    optimizer = _optimizer(module, schedule)
    average = None if schedule.ema_decay is None else {n: t.clone() for n, t in trained(module).items()}
    run = Run(module, optimizer, average, _recipe(schedule, seed, recipe), ranks)
    first = resume(run, folder)
    log = _Log(folder / "log.jsonl", first, ranks)
    began = time.perf_counter()
    for number, work in _works(step, seed, range(first, schedule.steps), ahead):
        torch.manual_seed(int(np.random.SeedSequence((seed, number)).generate_state(1)[0]))
        figures = dict(work())
        figures["gradient_norm"] = _clip(module, schedule.max_norm)
        _check(figures, number, folder)
        figures["rate"] = _descend(optimizer, schedule, number)
        if average is not None and schedule.ema_decay is not None:
            _mean(average, trained(module), schedule.ema_decay, number)
        row = log.add(number, figures, time.perf_counter() - began)
        for listener in listeners:
            listener(number, row)
        if number + 1 in schedule.keep:
            keep_weights(module, number + 1, folder, ranks)
        if (number + 1) % schedule.checkpoint_every == 0 or number + 1 == schedule.steps:
            save(run, number + 1, folder)
        began = time.perf_counter()
    return log.last


def _works(step: Step, seed: int, numbers: range, ahead: int) -> Iterator[tuple[int, Callable[[], Figures]]]:
    """Each step's number and what is left to do of it."""
    if not ahead or not isinstance(step, TwoHalves):
        for number in numbers:
            yield number, partial(step, np.random.default_rng((seed, number)))
        return
    made = prepared(step.prepare, seed, numbers, ahead, depth=2 * ahead)
    for number, drawn in zip(numbers, made, strict=True):
        yield number, partial(step.compute, drawn)


def _recipe(schedule: Schedule, seed: int, recipe: Mapping[str, Any] | None) -> dict[str, Any]:
    learnt = {name: value for name, value in asdict(schedule).items() if name not in _HOW}
    return {**learnt, "seed": seed, **(recipe or {})}


def _optimizer(module: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    # Norm weights and token vectors are not decayed: rare tokens would fade between their visits. A head of
    # its own has a row for each token too.
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    tokens = [p for name, p in named if _of_tokens(name)]
    matrices = [p for name, p in named if not _of_tokens(name) and p.dim() == 2]
    rest = [p for name, p in named if not _of_tokens(name) and p.dim() != 2]
    groups = [
        {"params": alike, "lr": rate, "full": rate, "weight_decay": decay}
        for params, rate, decay in (
            (matrices, schedule.learning_rate, schedule.weight_decay),
            (tokens, schedule.token_learning_rate, 0.0),
            (rest, schedule.learning_rate, 0.0),
        )
        for alike in _alike(params)
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def _of_tokens(name: str) -> bool:
    return "embed" in name or name == "head"


def _alike(tensors: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Tensors that FSDP split, and the others: no operation on many at once takes both."""
    parts = [[t for t in tensors if isinstance(t, DTensor) is split] for split in (True, False)]
    return [part for part in parts if part]


def _clip(module: nn.Module, most: float) -> float:
    """Scale the gradients down to this norm; the norm they had."""
    parts = _alike([p.grad for p in module.parameters() if p.grad is not None])
    if len(parts) < 2:
        return float(whole(nn.utils.clip_grad_norm_(module.parameters(), most)))
    norm = math.hypot(*(float(whole(nn.utils.get_total_norm(part))) for part in parts))
    for part in parts:
        torch._foreach_mul_(part, min(1.0, most / (norm + 1e-6)))
    return norm


def _check(figures: Figures, step: int, folder: Path) -> None:
    for name, value in figures.items():
        if not math.isfinite(value):
            saved = latest(folder)
            where = f"the last good checkpoint is {saved}" if saved else "there is no checkpoint yet"
            raise TrainingError(
                f"{name} is {value} at step {step}; the weights were not changed by it, {where}",
                "lower the learning rate, or look for what is odd in that step's texts",
            )


def _descend(optimizer: torch.optim.Optimizer, schedule: Schedule, step: int) -> float:
    share = schedule.share(step)
    for group in optimizer.param_groups:
        group["lr"] = group["full"] * share
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return share


@torch.no_grad()
def _mean(average: Average, weights: Average, decay: float, step: int) -> None:
    """Draw the mean to the weights; faster at first, so that the starting point is soon forgotten."""
    share = max(1 - decay, 9 / (10 + step))
    for name, mean in average.items():
        if mean.is_floating_point():
            mean.lerp_(weights[name], share)


class _Log:
    """`log.jsonl`, one row a step; rows of steps that a resumed run will take again are dropped."""

    def __init__(self, path: Path, first: int, ranks: Ranks) -> None:
        self.path, self.writes = path, ranks.first
        rows = [row for row in _rows(path) if row["step"] < first]
        self.last: dict[str, float] = rows[-1] if rows else {}
        ranks.wait()
        if self.writes:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".partial").write_text("".join(map(_line, rows)), encoding="utf-8")
            path.with_suffix(".partial").replace(path)

    def add(self, step: int, figures: Figures, seconds: float) -> dict[str, float]:
        """Write and return a step's row; `seconds` adds up over the run, stops left out."""
        total = self.last.get("seconds", 0.0) + seconds
        row = {"step": step, **{name: float(f"{value:.6g}") for name, value in figures.items()}}
        if "tokens" in figures:
            row["tokens_per_second"] = round(figures["tokens"] / seconds, 1)
        self.last = {**row, "seconds": round(total, 3)}
        if self.writes:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(self.last))
        return self.last


def _line(row: Mapping[str, float]) -> str:
    return json.dumps(row) + "\n"


def _rows(path: Path) -> list[dict[str, float]]:
    """Whole rows of a log; the last line may be half written."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
