"""Turns: every round each system runs once, in an order drawn anew, so that a busy machine slows all."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from speed.process import Absent, Lap, Memory, Worker

Opener = Callable[[], Worker | Absent]


@dataclass(slots=True)
class Taken:
    """What was measured: laps by label, the last outputs, memory, notes, and who was absent."""

    laps: dict[str, list[Lap]] = field(default_factory=dict)
    outputs: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    absent: list[Absent] = field(default_factory=list)


def take(openers: Sequence[Opener], rounds: int, seed: int, each_round: Callable[[], None]) -> Taken:
    """Open all, run `rounds` of shuffled turns, close all. `each_round` is called before each round."""
    taken = Taken()
    workers: dict[str, Worker] = {}
    try:
        for opener in openers:
            _seat(opener(), workers, taken)
        rng = random.Random(seed)
        for _ in range(rounds):
            each_round()
            order = list(workers)
            rng.shuffle(order)
            for label in order:
                _turn(label, workers, taken)
        for label, worker in workers.items():
            taken.outputs[label], taken.memory[label] = worker.outputs(), worker.memory()
    finally:
        for worker in workers.values():
            worker.close()
    return taken


def take_alone(openers: Sequence[Opener], rounds: int, each_round: Callable[[], None]) -> Taken:
    """Each system by itself, opened and closed before the next: for networks too large to hold many times."""
    whole = Taken()
    for opener in openers:
        one = take([opener], rounds, 0, each_round)
        for mine, found in zip(_parts(whole), _parts(one), strict=True):
            mine.update(found)
        whole.absent += one.absent
    return whole


def _parts(taken: Taken) -> tuple[dict[str, object], ...]:
    return taken.laps, taken.outputs, taken.memory, taken.notes  # type: ignore[return-value]


def _seat(found: Worker | Absent, workers: dict[str, Worker], taken: Taken) -> None:
    if isinstance(found, Absent):
        taken.absent.append(found)
        return
    workers[found.label] = found
    taken.notes[found.label], taken.laps[found.label] = found.note, []


def _turn(label: str, workers: dict[str, Worker], taken: Taken) -> None:
    """One lap; who fails in a round is named as absent and leaves, the others go on."""
    try:
        taken.laps[label].append(workers[label].lap())
    except RuntimeError as error:
        taken.absent.append(Absent(label, str(error)))
        workers.pop(label).close()
        for found in (taken.laps, taken.notes):
            found.pop(label)  # type: ignore[attr-defined]


def agreement(outputs: Mapping[str, NDArray[np.float32]], reference: str) -> dict[str, tuple[str, float]]:
    """To the reference: ("cosine", least) of vectors, ("score", largest difference) of scores."""
    truth = outputs[reference]
    found: dict[str, tuple[str, float]] = {}
    for label, mine in outputs.items():
        if mine.shape != truth.shape:
            continue
        if mine.ndim == 1:
            found[label] = ("score", float(np.abs(mine - truth).max()))
        else:
            found[label] = ("cosine", float((mine.astype(np.float64) * truth).sum(1).min()))
    return found
