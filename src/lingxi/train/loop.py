"""The training loop: a loss for each step in, trained weights out, resumable anywhere.

What a step sees depends on the seed and the step's number alone, so a run that was stopped and
resumed ends with the same weights as one that was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

LossOf = Callable[[np.random.Generator], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast: linear warm-up, then a cosine down to a twentieth of the learning rates.

    Token vectors have a rate of their own: a step touches few of them, and each seldom.
    """

    steps: int
    learning_rate: float
    token_learning_rate: float
    warmup_steps: int
    checkpoint_every: int
    weight_decay: float = 0.01
    max_norm: float = 1.0

    def share(self, step: int) -> float:
        """Share of the learning rates that a step takes, 0 to 1."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return 0.05 + 0.475 * (1 + math.cos(math.pi * done))


def train(
    module: nn.Module, loss_of: LossOf, schedule: Schedule, folder: Path, seed: int
) -> dict[str, float]:
    """Train `module` in place; checkpoints and `log.jsonl` go to `folder`, which also resumes it.

    Raises FloatingPointError where the loss is not finite. Returns the last log row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = _optimizer(module, schedule)
    first = _resume(module, optimizer, folder)
    row = _last_logged(folder)
    started = time.perf_counter()
    for step in range(first, schedule.steps):
        loss = _step(module, optimizer, loss_of(np.random.default_rng((seed, step))), schedule, step)
        row = {"step": step, "loss": loss, "seconds": round(time.perf_counter() - started, 1)}
        _log(folder, row)
        if (step + 1) % schedule.checkpoint_every == 0 or step + 1 == schedule.steps:
            _save(module, optimizer, step + 1, folder)
    return row


def _optimizer(module: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    # Norm weights and token vectors are not decayed: rare tokens would fade between their visits.
    named = list(module.named_parameters())
    tokens = [p for name, p in named if "embed" in name]
    matrices = [p for name, p in named if "embed" not in name and p.dim() == 2]
    rest = [p for name, p in named if "embed" not in name and p.dim() != 2]
    groups = [
        {"params": params, "lr": rate, "full": rate, "weight_decay": decay}
        for params, rate, decay in (
            (matrices, schedule.learning_rate, schedule.weight_decay),
            (tokens, schedule.token_learning_rate, 0.0),
            (rest, schedule.learning_rate, 0.0),
        )
        if params
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def _step(
    module: nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor, schedule: Schedule, step: int
) -> float:
    if not torch.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss.item()} at step {step}; lower the learning rate")
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(module.parameters(), schedule.max_norm)
    for group in optimizer.param_groups:
        group["lr"] = group["full"] * schedule.share(step)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return round(float(loss.detach()), 5)


def _save(module: nn.Module, optimizer: torch.optim.Optimizer, step: int, folder: Path) -> None:
    partial = folder / "checkpoint.partial"
    torch.save({"step": step, "module": module.state_dict(), "optimizer": optimizer.state_dict()}, partial)
    partial.replace(folder / "checkpoint.pt")


def _resume(module: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> int:
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True)
    module.load_state_dict(saved["module"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])


def _last_logged(folder: Path) -> dict[str, float]:
    """The last row of the log, which a run that has nothing left to do returns."""
    path = folder / "log.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    row: dict[str, float] = json.loads(lines[-1]) if lines else {}
    return row


def _log(folder: Path, row: dict[str, float]) -> None:
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
