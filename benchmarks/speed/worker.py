"""One system in a process of its own: `python -m speed.worker serve|prepare JOB.json`.

Libraries then do not fight over threads, and memory is each one's own. Serving speaks JSON lines:
first `ready`, `absent` or `failed`, then one answer to each command `run`, `save` or `memory`.
Commands come on stdin; answers go to what was stdout, and whatever a library prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from speed.jobs import Job, Opened, UnfitError, read_job

Answer = dict[str, Any]


def main() -> None:
    """Prepare the files of a job, or load its system and obey until stdin ends."""
    mode, path = sys.argv[1], Path(sys.argv[2])
    channel = private_stdout()
    job = read_job(path)
    if mode == "prepare":
        say(channel, guarded(lambda: prepare(job)))
        return
    state: list[Loaded] = []
    first = guarded(lambda: state.append(load(job)) or {"ready": True, **state[0].about()})
    say(channel, first)
    if state:
        for line in sys.stdin:
            say(channel, guarded(lambda line=line: state[0].obey(json.loads(line))))


def private_stdout() -> TextIO:
    """A stream to the harness; file descriptor 1 becomes stderr, so that no library's print is an answer."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(kept, "w", encoding="utf-8", buffering=1)


def say(channel: TextIO, answer: Answer) -> None:
    """One answer, one line."""
    channel.write(json.dumps(answer) + "\n")
    channel.flush()


def guarded(act: Callable[[], Answer]) -> Answer:
    """The answer, or why there is none: a library that is not installed is absent, others failed."""
    try:
        return act()
    except ModuleNotFoundError as error:
        return {"absent": f"{error.name} is not installed"}
    except UnfitError as error:
        return {"absent": str(error)}
    except Exception as error:
        import traceback

        traceback.print_exc()
        first = (str(error).strip() or "no message").splitlines()[0]
        return {"failed": f"{type(error).__name__}: {first[:200]}"}


def prepare(job: Job) -> Answer:
    """Make the files the system reads, where it needs its own."""
    import_module(job.module).prepare(job)
    return {"ready": True}


class Loaded:
    """A system, its inputs and the batch size that was fastest on a part of them."""

    def __init__(self, job: Job, opened: Opened, seconds: float) -> None:
        self.opened, self.inputs, self.seconds = opened, job.read_inputs(), seconds
        self.resident = memory("VmRSS")
        few = self.inputs.part(max(1, len(self.inputs) // 2))
        opened.run(few, 1)  # a warm-up that is not counted
        self.batch = self.chosen(job.batches) if opened.sized else 0
        self.last: Any = None

    def chosen(self, batches: tuple[int, ...]) -> int:
        """The fastest of the sizes; the only one, without a run."""
        part = self.inputs.part(2)
        sizes = sorted({min(size, len(self.inputs)) for size in batches})
        if len(sizes) == 1:
            return sizes[0]
        return min(sizes, key=lambda size: measured(lambda: self.opened.run(part, size))["cpu"])

    def about(self) -> Answer:
        """What the table says beside the figures."""
        note = [f"batch {self.batch}"] if self.batch else []
        note += [self.opened.note] if self.opened.note else []
        return {"note": ", ".join(note), "load_seconds": self.seconds, "resident": self.resident}

    def obey(self, command: Answer) -> Answer:
        """Do one command."""
        if command["do"] == "run":
            return measured(self.once)
        if command["do"] == "save":
            np.save(command["path"], np.asarray(self.last, dtype=np.float32))
            return {"saved": True}
        if command["do"] == "memory":
            return {"peak": memory("VmHWM"), "resident": memory("VmRSS")}
        raise UnfitError(f"unknown command {command['do']!r}")

    def once(self) -> None:
        """All inputs once."""
        self.last = self.opened.run(self.inputs, self.batch)


def load(job: Job) -> Loaded:
    """Open the system and let it run once on a few inputs."""
    start = time.perf_counter()
    opened: Opened = import_module(job.module).open_system(job)
    return Loaded(job, opened, time.perf_counter() - start)


def measured(act: Callable[[], Any]) -> dict[str, float]:
    """Wall seconds, and CPU seconds of all threads and of children that ended."""
    cpu, wall = processor_seconds(), time.perf_counter()
    act()
    return {"wall": time.perf_counter() - wall, "cpu": processor_seconds() - cpu}


def processor_seconds() -> float:
    """CPU seconds of this process and its ended children so far."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def memory(field: str) -> int:
    """VmHWM (peak) or VmRSS (now) in bytes; 0 where the system does not tell.

    Not `ru_maxrss`: on Linux that begins at what the parent held.
    """
    path = Path("/proc/self/status")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [line.split()[1] for line in lines if line.startswith(field + ":")]
    return int(found[0]) * 1024 if found else 0


if __name__ == "__main__":
    main()
