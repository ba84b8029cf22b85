"""The training loop: a loss for each step in, trained weights out, resumable anywhere.

What a step sees depends on the seed and the step's number alone, so a run that was stopped and
resumed ends with the same weights as one that was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

LossOf = Callable[[np.random.Generator], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast: linear warm-up, then a cosine down to a tenth of the learning rate."""

    steps: int
    learning_rate: float
    warmup_steps: int
    checkpoint_every: int
    weight_decay: float = 0.01
    max_norm: float = 1.0

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


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
    decayed = [p for name, p in module.named_parameters() if p.dim() == 2 and "embed" not in name]
    rest = [p for name, p in module.named_parameters() if p.dim() != 2 or "embed" in name]
    groups: Sequence[dict[str, object]] = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.98), fused=True)


def _step(
    module: nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor, schedule: Schedule, step: int
) -> float:
    if not torch.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss.item()} at step {step}; lower the learning rate")
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(module.parameters(), schedule.max_norm)
    for group in optimizer.param_groups:
        group["lr"] = schedule.rate(step)
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
