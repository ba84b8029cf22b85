"""The harness's end of a worker: start it, ask it, end it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from speed.jobs import Job, write_job
from speed.machine import usable_cores

HERE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Lap:
    """One run, in seconds; `cpu` counts all threads."""

    cpu: float
    wall: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: after loading, at most, and at the end."""

    loaded: int
    peak: int
    resident: int


@dataclass(frozen=True, slots=True)
class Absent:
    """A system that does not take part, and why."""

    label: str
    reason: str


class Worker(Protocol):
    """What rounds need of a system that runs."""

    label: str
    note: str

    def lap(self) -> Lap: ...

    def outputs(self) -> NDArray[np.float32]: ...

    def memory(self) -> Memory: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Process:
    """A `Worker` in a process of its own."""

    label: str
    popen: subprocess.Popen[str]
    log: Path
    note: str = ""
    loaded: int = 0
    answers: Path = field(default_factory=Path)

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send one command and read its answer; raises RuntimeError with the reason where it fails."""
        assert self.popen.stdin
        # A process that has ended answers nothing, and `read` says so.
        with contextlib.suppress(BrokenPipeError):
            self.popen.stdin.write(json.dumps(command) + "\n")
            self.popen.stdin.flush()
        answer = self.read()
        if "failed" in answer:
            raise RuntimeError(f"{self.label}: {answer['failed']}")
        return answer

    def read(self) -> dict[str, Any]:
        """The next answer."""
        assert self.popen.stdout
        line = self.popen.stdout.readline()
        if not line:
            code = self.popen.wait()
            return {"failed": f"ended with {code}: {_tail(self.log)}"}
        found: dict[str, Any] = json.loads(line)
        return found

    def lap(self) -> Lap:
        """Run once."""
        found = self.ask(do="run")
        return Lap(found["cpu"], found["wall"])

    def outputs(self) -> NDArray[np.float32]:
        """What the last lap gave."""
        self.ask(do="save", path=str(self.answers))
        return np.asarray(np.load(self.answers))

    def memory(self) -> Memory:
        """Memory until now."""
        found = self.ask(do="memory")
        return Memory(self.loaded, found["peak"], found["resident"])

    def close(self) -> None:
        """End the process: its stdin ends."""
        assert self.popen.stdin and self.popen.stdout
        with contextlib.suppress(BrokenPipeError):
            self.popen.stdin.close()
        self.popen.wait()
        self.popen.stdout.close()


def start(job: Job, folder: Path) -> Process | Absent:
    """Prepare a job's files in one process, load it in another; Absent with the reason where it cannot."""
    path = write_job(job, folder / f"{job.label}.json")
    if job.threads > (cores := usable_cores()):
        return Absent(job.label, f"{job.threads} threads, and this process may use {cores} core")
    if job.prepares:
        prepared = _spawn(job, "prepare", path)
        answer = prepared.read()
        prepared.close()
        if "ready" not in answer:
            return Absent(job.label, answer.get("absent") or answer["failed"])
    process = _spawn(job, "serve", path)
    answer = process.read()
    if "ready" not in answer:
        process.close()
        return Absent(job.label, answer.get("absent") or answer["failed"])
    process.note, process.loaded = answer["note"], answer["resident"]
    process.answers = folder / f"{job.label}.npy"
    return process


def _spawn(job: Job, mode: str, path: Path) -> Process:
    log = path.with_suffix(f".{mode}.log")
    with log.open("w") as errors:
        popen = subprocess.Popen(
            [sys.executable, "-m", "speed.worker", mode, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=HERE,
            env=_environment(job.threads),
        )
    return Process(job.label, popen, log)


def _environment(threads: int) -> dict[str, str]:
    """Thread counts that libraries read when they are loaded, and no question to a hub."""
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false" if threads == 1 else "true"}
    return {
        **os.environ,
        **counts,
        **offline,
        "RAYON_NUM_THREADS": str(threads),
        "ONNXRUNTIME_TELEMETRY": "0",
    }


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "nothing in its log"
