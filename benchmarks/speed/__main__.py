"""Measure lingxi beside every peer: `make bench`, or `python -m speed [--quick] [--workloads bulk,query]`.

Docs and method: docs/performance.md. Every system runs in a process of its own; each round all run
once, in shuffled order. A peer that is not installed is named in the table.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from speed import machine, plot, report, rounds
from speed.jobs import Job, write_inputs
from speed.peak import Peak, build
from speed.process import start
from speed.results import Result, earlier, result
from speed.systems import REFERENCE, SYSTEMS, System
from speed.workloads import QUICK, WORKLOADS, Scale, Workload

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the workloads asked for; print the tables, and write page, picture and JSON."""
    options = parse(arguments)
    scale = scale_of(options)
    with work_folder(options.folder) as folder:
        peak = build(folder)
        results = []
        for name in options.workloads:
            results.append(measure(WORKLOADS[name](folder, scale), folder, scale, options, peak))
            print(report.table(results[-1]), "\n", flush=True)
    about = about_run(scale, peak)
    results = earlier(options.json, results)
    if options.print_only:
        print(report.markdown([], about))
        return
    report.write(results, about, options.page, options.json)
    plot.draw(results, options.page.with_suffix(".svg"))
    print(f"written: {options.page}, {options.page.with_suffix('.svg')}, {options.json}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; an unknown name of a workload or system ends with the list of known ones."""
    parser = argparse.ArgumentParser(prog="python -m speed", description=__doc__)
    parser.add_argument("--workloads", type=_names(list(WORKLOADS)), default=list(WORKLOADS))
    parser.add_argument(
        "--systems", type=_names([s.name for s in SYSTEMS]), default=None, help="default: all"
    )
    parser.add_argument("--quick", action="store_true", help="few texts and rounds: a look, not a result")
    parser.add_argument("--rounds", type=int, help="rounds of turns")
    parser.add_argument("--layers", type=int, help="of 28; few layers favour who skips work in the last one")
    parser.add_argument("--texts", type=int, help="documents in bulk")
    parser.add_argument("--folder", type=Path, help="keeps weights and conversions for the next run")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "speed.json")
    parser.add_argument("--print-only", action="store_true", help="write no file")
    return parser.parse_args(arguments)


def _names(known: Sequence[str]) -> Any:
    def parsed(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        return names

    return parsed


def scale_of(options: argparse.Namespace) -> Scale:
    """The quick or the full scale, with what the options change."""
    given = {name: getattr(options, name) for name in ("rounds", "layers", "texts")}
    return replace(QUICK if options.quick else Scale(), **{k: v for k, v in given.items() if v is not None})


@contextlib.contextmanager
def work_folder(kept: Path | None) -> Iterator[Path]:
    """A folder for weights and conversions: the one named, which stays, or one that goes."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="lingxi-bench-") as folder:
        yield Path(folder)


def measure(
    workload: Workload, folder: Path, scale: Scale, options: argparse.Namespace, peak: Peak
) -> Result:
    """All systems of one workload, interleaved."""
    before = machine.load()
    chosen = [s for s in SYSTEMS if s.name in (options.systems or workload.systems or _all())]
    chosen = [s for s in chosen if s.name in (workload.systems or _all())]
    openers = [partial(start, job, folder) for job in jobs(workload, chosen, folder)]
    if workload.alone:
        taken = rounds.take_alone(openers, 1, peak.sample)
    else:
        count = scale.rounds if len(workload.part.inputs) > 1 else 5 * scale.rounds
        taken = rounds.take(openers, count, 0, peak.sample)
    limits = {kind: found.rate for kind in peak.samples if (found := peak.limit(kind))}
    return result(workload, taken, limits, (before, machine.load()))


def jobs(workload: Workload, systems: Sequence[System], folder: Path) -> Iterator[Job]:
    """One job for each system and number of threads."""
    for system in systems:
        part = workload.part_of(system.name)
        inputs = write_inputs(part.inputs, folder / f"{workload.name}-{system.name}.inputs.json")
        for count in workload.threads:
            yield Job(
                system=system.name,
                module=system.module,
                weights=system.weights,
                task=part.task,
                family=part.family,
                directory=str(part.directory),
                folder=str(folder),
                inputs=str(inputs),
                threads=count,
                engine=system.engine,
                prepares=system.prepares,
            )


def _all() -> tuple[str, ...]:
    return tuple(system.name for system in SYSTEMS)


def about_run(scale: Scale, peak: Peak) -> dict[str, Any]:
    """What stands beside the results."""
    limits = {kind: asdict(found) for kind in peak.samples if (found := peak.limit(kind))}
    return {
        "machine": machine.describe(),
        "scale": asdict(scale),
        "rounds": scale.rounds,
        "reference": REFERENCE,
        "limits": limits,
        "no_limit": peak.reason,
    }


if __name__ == "__main__":
    sys.exit(main())
