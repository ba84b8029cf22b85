"""What one workload came to: a row for each system, and those absent by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from speed.process import Absent, Lap, Memory
from speed.rounds import Taken, agreement
from speed.summary import Ratio, Spread, ratio, spread
from speed.systems import REFERENCE, SYSTEMS
from speed.workloads import WORKLOADS, Workload

_WEIGHTS = {system.name: system.weights for system in SYSTEMS}


@dataclass(frozen=True, slots=True)
class Row:
    """One system. `rate` is units a CPU second; `operations` are the necessary ones; `near` is agreement."""

    label: str
    cpu: Spread
    wall: Spread
    ratio: Ratio | None
    rate: float
    operations: float
    share: float | None
    memory: Memory
    near: tuple[str, float] | None
    note: str
    laps: tuple[Lap, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """One workload."""

    name: str
    title: str
    unit: str
    count: int
    tokens: int
    baseline: str
    load_before: list[float]
    load_after: list[float]
    rows: tuple[Row, ...]
    absent: tuple[Absent, ...]


def earlier(path: Path, measured: Sequence[Result]) -> list[Result]:
    """What was measured now, and before it stands in the JSON of an earlier run, in the workloads' order."""
    found = {r.name: r for r in measured}
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("reference") == REFERENCE:
            before = TypeAdapter(list[Result]).validate_python(content["results"])
            found = {r.name: r for r in before} | found
    return [found[name] for name in WORKLOADS if name in found]


def result(
    workload: Workload,
    taken: Taken,
    limits: dict[str, float],
    loads: tuple[list[float], list[float]],
    reference: str = REFERENCE,
) -> Result:
    """Rows in the order of the systems; ratios against `reference`, or each system on one thread."""
    near = _near(workload, taken, reference)
    rows = tuple(_row(label, workload, taken, limits, near, reference) for label in taken.laps)
    baseline = reference if workload.threads == (1,) else "the same system on one thread"
    inputs = workload.part.inputs
    tokens = sum(map(len, inputs.ids))
    absent = tuple(taken.absent)
    return Result(
        workload.name, workload.title, workload.unit, len(inputs), tokens, baseline, *loads, rows, absent
    )


def _near(workload: Workload, taken: Taken, reference: str) -> dict[str, tuple[str, float]]:
    """Agreement of those that ran the same network, with the reference or else the first of them."""
    same = {
        label: found
        for label, found in taken.outputs.items()
        if workload.part_of(label.partition(" · ")[0]) is workload.part
    }
    truth = reference if reference in same else next(iter(same), None)
    return agreement(same, truth) if truth else {}


def _row(
    label: str,
    workload: Workload,
    taken: Taken,
    limits: dict[str, float],
    near: dict[str, tuple[str, float]],
    reference: str,
) -> Row:
    laps = taken.laps[label]
    name = label.partition(" · ")[0]
    part = workload.part_of(name)
    against = reference if workload.threads == (1,) else name
    cpu, wall = spread([lap.cpu for lap in laps]), spread([lap.wall for lap in laps])
    count = sum(map(len, part.inputs.ids)) if workload.unit == "tokens" else len(part.inputs)
    limit = limits.get(_WEIGHTS.get(name, "float32"))
    return Row(
        label=label,
        cpu=cpu,
        wall=wall,
        ratio=ratio(taken.laps[against], laps) if against in taken.laps and against != label else None,
        rate=count / cpu.median,
        operations=part.operations,
        share=part.operations / cpu.median / limit if limit else None,
        memory=taken.memory[label],
        near=near.get(label),
        note=taken.notes[label],
        laps=tuple(laps),
    )
