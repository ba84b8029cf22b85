"""Checkpoints that hold numbers and nothing else: safetensors and JSON, no pickle.

`checkpoint-STEP/` holds the weights, the optimizer's moments, the averaged weights where a run keeps
them, and `state.json`. It is written beside and renamed, and the one before goes only then: a run
killed at any moment finds a whole one.

Under FSDP2 the tensors are put together one at a time and the first rank writes them; each rank reads
its own part, so a run may go on with another number of processes. torch's distributed checkpoint
would write in parallel, but pickles its metadata, and its safetensors form holds model weights only;
the price is that the first rank's memory must hold one file (the moments: twice the weights).
All ranks must see the same folder.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from lingxi.errors import TrainingError
from lingxi.train.parallel import ALONE, Ranks, fill, whole

_WEIGHTS, _MOMENTS, _AVERAGE, _STATE = (
    "weights.safetensors",
    "moments.safetensors",
    "average.safetensors",
    "state.json",
)
_REMEDY = "restore the recipe that began this run, or delete the folder to begin anew"
Average = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Run:
    """What a checkpoint is of: everything that training changes, and the `recipe` it must be resumed with."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average | None
    recipe: Mapping[str, Any]
    ranks: Ranks = ALONE


def trained(module: nn.Module) -> dict[str, torch.Tensor]:
    """Tensors of `state_dict` that training changes: all but the frozen parameters."""
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    return {name: t.detach() for name, t in module.state_dict().items() if name not in frozen}


def save(run: Run, step: int, folder: Path) -> None:
    """Write the state after `step` steps and remove the checkpoints before it (all ranks must call)."""
    partial, done = folder / "checkpoint.partial", folder / f"checkpoint-{step:08d}"
    if run.ranks.first:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    _write(trained(run.module), partial / _WEIGHTS, run.ranks)
    _write(dict(_moments(run)), partial / _MOMENTS, run.ranks)
    if run.average is not None:
        _write(run.average, partial / _AVERAGE, run.ranks)
    if run.ranks.first:
        state = {"step": step, "recipe": dict(run.recipe)}
        (partial / _STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        _settle(partial)
        shutil.rmtree(done, ignore_errors=True)
        partial.rename(done)
        for path in _checkpoints(folder):
            if path != done:
                shutil.rmtree(path)
    run.ranks.wait()


def keep_weights(module: nn.Module, step: int, folder: Path, ranks: Ranks = ALONE) -> None:
    """Write `weights-STEP.safetensors`, which stays: a point of the run's path, to merge with others."""
    path = folder / f"weights-{step}.safetensors"
    _write(trained(module), path.with_suffix(".partial"), ranks)
    if ranks.first:
        path.with_suffix(".partial").replace(path)


def resume(run: Run, folder: Path) -> int:
    """Fill the run from its last checkpoint; the number of steps done, 0 without one.

    Raises TrainingError where it is of another recipe or shape, or damaged.
    """
    path = latest(folder)
    if path is None:
        return 0
    state = _state(path)
    _check_recipe(path, state["recipe"], run.recipe)
    _prepare(run, _shapes(path / _MOMENTS))
    _fill(trained(run.module), path / _WEIGHTS)
    _fill(dict(_moments(run)), path / _MOMENTS)
    if run.average is not None:
        _fill(run.average, path / _AVERAGE)
    return int(state["step"])


def latest(folder: Path) -> Path | None:
    """The last whole checkpoint of a run's folder."""
    return max(_checkpoints(folder), default=None)


def steps_done(folder: Path) -> int:
    """Steps that the last whole checkpoint of a run's folder is of, 0 without one."""
    path = latest(folder)
    return 0 if path is None else int(path.name.rpartition("-")[2])


def ema_state(folder: Path) -> dict[str, torch.Tensor]:
    """The averaged weights of the last checkpoint, by name; raises TrainingError where none were kept."""
    path = latest(folder)
    if path is None or not (path / _AVERAGE).exists():
        raise TrainingError(f"{folder}: no averaged weights", "train with `ema` set in the phase's table")
    return load_file(path / _AVERAGE)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("checkpoint-*") if p.is_dir())


def _moments(run: Run) -> Iterator[tuple[str, torch.Tensor]]:
    """The optimizer's tensors as `PARAMETER/MOMENT`."""
    for name, parameter in run.module.named_parameters():
        for moment, value in run.optimizer.state.get(parameter, {}).items():
            yield f"{name}/{moment}", value


def _prepare(run: Run, saved: Mapping[str, list[int]]) -> None:
    """Let the optimizer make the moments that were saved, by a step from no gradient."""
    known = {name.rpartition("/")[0] for name in saved}
    for name, parameter in run.module.named_parameters():
        parameter.grad = torch.zeros_like(parameter) if name in known else None
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)


def _write(tensors: Mapping[str, torch.Tensor], path: Path, ranks: Ranks) -> None:
    held = {}
    for name, tensor in tensors.items():
        full = whole(tensor)
        if ranks.first:
            held[name] = full.cpu().contiguous()
    if ranks.first:
        save_file(held, path)


def _settle(folder: Path) -> None:
    """To the disk before the rename, so that a power cut leaves no empty files under the new name."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((path / _STATE).read_text(encoding="utf-8"))
        return {"step": int(state["step"]), "recipe": dict(state["recipe"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: damaged ({error})", "delete it to begin anew") from None


def _check_recipe(path: Path, saved: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    # Through JSON, as the saved one went.
    now = json.loads(json.dumps(dict(recipe)))
    for key in sorted({*saved, *now}):
        if saved.get(key) != now.get(key):
            was, is_now = saved.get(key), now.get(key)
            raise TrainingError(f"{path}: made with {key} = {was}, this run has {key} = {is_now}", _REMEDY)


def _fill(targets: Mapping[str, torch.Tensor], path: Path) -> None:
    _check_shapes(targets, _shapes(path), path)
    with safe_open(path, framework="pt") as file, torch.no_grad():
        for name, target in targets.items():
            fill(target, file.get_tensor(name))


def _shapes(path: Path) -> dict[str, list[int]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_slice(name).get_shape() for name in names}
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path}: damaged ({error})", "delete the checkpoint to begin anew") from None


def _check_shapes(targets: Mapping[str, torch.Tensor], saved: Mapping[str, list[int]], path: Path) -> None:
    for name in sorted({*targets, *saved}):
        here = list(targets[name].shape) if name in targets else None
        if here != saved.get(name):
            there = saved.get(name) or "nothing"
            raise TrainingError(
                f"{path}: holds {there} for {name!r}, the network {here or 'nothing'}", _REMEDY
            )
