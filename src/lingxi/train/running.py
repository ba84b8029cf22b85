"""One phase of a run: what it is trained with beside its step, and how it goes on where it was stopped."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from lingxi.model.varlen import varlen_for
from lingxi.train.checkpoint_start import Start
from lingxi.train.checkpoints import ema_state, steps_done
from lingxi.train.encoders import recompute
from lingxi.train.gradcache import Figures, Step
from lingxi.train.held_out import Split, probe
from lingxi.train.loop import Listener, Schedule, train
from lingxi.train.parallel import Ranks, fill
from lingxi.train.phases import ContrastiveSettings, PhaseSettings
from lingxi.train.progress import live_line, tensorboard
from lingxi.train.settings import TrainSettings
from lingxi.train.store import Store
from lingxi.train.teachers import Teacher
from lingxi.train.watches import DevWatch, LossFalls, dev_watch, remembering

Made = TypeVar("Made")
MakeGolden = Callable[[Path], None]
PHASES = "phases"
# A batch of a thousand pairs takes a process half a second, and a GPU less.
_DRAWING = 8


@dataclass(frozen=True, slots=True)
class Card:
    """What the model cards say that training does not know: the text of each README.md."""

    embedder: str
    reranker: str


@dataclass(frozen=True, slots=True)
class Training:
    """One run: what it trains on and with, where it writes, and what gives a directory its golden file."""

    pairs: Split
    store: Store
    settings: TrainSettings
    folder: Path
    card: Card
    make_golden: MakeGolden
    ranks: Ranks
    teacher: Teacher | None

    def phase(self, name: str) -> Path:
        """The folder of a phase."""
        return self.folder / PHASES / name


def first(ranks: Ranks, make: Callable[[], Made]) -> Made:
    """What the first rank makes and the others then find made."""
    if not ranks.first:
        ranks.wait()
        return make()
    made = make()
    ranks.wait()
    return made


def placed(start: Start, run: Training) -> Start:
    """The start on this process's device, computing as the recipe asks."""
    device = run.ranks.device
    head = None if start.head is None else nn.Parameter(start.head.to(device))
    if run.settings.recompute:
        recompute(start.network)
    start.network.use_varlen(varlen_for(device, amp(run) or torch.float32))
    return replace(start, network=start.network.to(device), head=head)


def run_phase(
    run: Training,
    name: str,
    phase: PhaseSettings,
    module: nn.Module,
    step: Step,
    watch: DevWatch | None = None,
    chance: float | None = None,
) -> Figures:
    """Train a module through one phase, watched; it ends with the averaged weights where those are kept."""
    folder, guards = run.phase(name), run.settings.guards
    listeners: list[Listener] = [remembering(LossFalls(guards, phase.warmup_steps, chance), folder)]
    if watch is not None:
        listeners.append(watch)
    with ExitStack() as shown:
        if run.ranks.first:
            done = steps_done(folder)
            listeners.append(shown.enter_context(live_line(name, phase.steps, done)))
            listeners.append(shown.enter_context(tensorboard(folder, done)))
        figures = train(
            module, step, _schedule(phase), folder, seed_of(run.settings.seed, name),
            listeners=listeners, recipe=_learnt(run, phase), ranks=run.ranks, ahead=_ahead(run.ranks),
        )  # fmt: skip
    if phase.ema is not None:
        _fill(module, ema_state(folder))
    return figures


def _ahead(ranks: Ranks) -> int:
    """Processes that draw what a GPU reads next; on a CPU they would take what the step computes with."""
    if ranks.device.type == "cpu" or "fork" not in multiprocessing.get_all_start_methods():
        return 0
    spare = (os.cpu_count() or 1) // ranks.size - 2
    return max(0, min(_DRAWING, spare))


def seed_of(seed: int, phase: str) -> int:
    """A phase's own seed: with one for all, each would draw the batches of the one before it again."""
    return int(np.random.SeedSequence((seed, *phase.encode())).generate_state(1)[0])


@torch.no_grad()
def _fill(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Take the tensors of a state that training changes; of a split one each rank takes its part."""
    own = module.state_dict()
    for name, tensor in state.items():
        fill(own[name], tensor)


def _schedule(phase: PhaseSettings) -> Schedule:
    return Schedule(
        phase.steps,
        phase.learning_rate,
        phase.token_learning_rate,
        phase.warmup_steps,
        phase.checkpoint_every,
        phase.weight_decay,
        phase.max_norm,
        phase.ema,
        phase.kept_steps(),
    )


def _learnt(run: Training, phase: PhaseSettings) -> Mapping[str, Any]:
    """What else the outcome of a phase depends on: a checkpoint of another recipe is not gone on with."""
    return {"phase": json.loads(phase.model_dump_json(exclude={"checkpoint_every", "chunk_tokens"}))}


def watch(run: Training, name: str, start: Start, phase: ContrastiveSettings) -> DevWatch | None:
    """The watch of the dev probe, where rows that rank are held out."""
    if run.pairs.held is None:
        return None
    score = probe(run.pairs.held, start.network, start.tokens, phase.max_tokens)
    if score is None:
        return None
    return dev_watch(score, run.phase(name), run.settings.guards, phase.steps, writes=run.ranks.first)


def amp(run: Training) -> torch.dtype | None:
    """What products are computed in: as the recipe says, or bfloat16 on a GPU and fp32 on a CPU."""
    if run.settings.products is None:
        return torch.bfloat16 if run.ranks.device.type == "cuda" else None
    return torch.bfloat16 if run.settings.products == "bfloat16" else None
