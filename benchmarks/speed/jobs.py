"""What a worker is told, and what a system must answer with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Task = Literal["embed", "rerank"]
Family = Literal["qwen3", "bert"]
Weights = Literal["float32", "int8"]


class UnfitError(Exception):
    """A system that cannot do this workload, with the reason in words."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What every system gets: texts to embed, or one query with its documents, and the ids they come to.

    `ids` are for those whose interface begins at tokens; `yes` and `no` are the answers' ids.
    """

    texts: tuple[str, ...] = ()
    query: str = ""
    ids: tuple[tuple[int, ...], ...] = ()
    yes: int = 0
    no: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, step: int) -> Inputs:
        """Every `step`-th of them."""
        return Inputs(self.texts[::step], self.query, self.ids[::step], self.yes, self.no)


@dataclass(frozen=True, slots=True)
class Job:
    """One system with one workload: `module` has `open_system(job)`, and `prepare(job)` where it `prepares`.

    `folder` keeps what was converted, beside the model's `directory`. `batches` are the sizes to
    choose from; the fastest on a part of the inputs is taken.
    """

    system: str
    module: str
    weights: Weights
    task: Task
    family: Family
    directory: str
    folder: str
    inputs: str
    threads: int = 1
    batches: tuple[int, ...] = (1, 8, 32)
    engine: str = ""
    prepares: bool = False

    @property
    def label(self) -> str:
        """The name in tables."""
        return self.system if self.threads == 1 else f"{self.system} · {self.threads} threads"

    def read_inputs(self) -> Inputs:
        """The inputs, from their file."""
        found: dict[str, Any] = json.loads(Path(self.inputs).read_text(encoding="utf-8"))
        ids = tuple(tuple(sequence) for sequence in found.pop("ids"))
        return Inputs(**{**found, "texts": tuple(found["texts"]), "ids": ids})


Run = Callable[[Inputs, int], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Opened:
    """A system ready to run: `run(inputs, batch size)` gives unit vectors [n, dim] or probabilities [n].

    `sized` is false where the system chooses its batches itself.
    """

    run: Run
    sized: bool = True
    note: str = ""


def write_inputs(inputs: Inputs, path: Path) -> Path:
    """Write what `Job.read_inputs` reads."""
    path.write_text(json.dumps(asdict(inputs)), encoding="utf-8")
    return path


def read_job(path: Path) -> Job:
    """A job from its file."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Job(**{**found, "batches": tuple(found["batches"])})


def write_job(job: Job, path: Path) -> Path:
    """Write what `read_job` reads."""
    path.write_text(json.dumps(asdict(job)), encoding="utf-8")
    return path
