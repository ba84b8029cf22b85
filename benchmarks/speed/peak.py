"""The machine's limit: peak.c, compiled here and now, run on one core."""

from __future__ import annotations

import ctypes
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

SECONDS = 0.1  # of one sample


@dataclass(frozen=True, slots=True)
class Limit:
    """Operations a second of one core (a multiply-add is two), and with which instructions."""

    instructions: str
    rate: float


@dataclass(slots=True)
class Peak:
    """The loops, and what they gave each time they were asked; `reason` says why there are none."""

    library: ctypes.CDLL | None
    reason: str = ""
    samples: dict[str, list[float]] = field(default_factory=lambda: {"float32": [], "int8": []})

    def sample(self) -> None:
        """Measure both once, in CPU seconds."""
        for kind, run in (("float32", "fp32_run"), ("int8", "int8_run")):
            rate = _rate(self.library, run) if self.library else 0.0
            if rate:
                self.samples[kind].append(rate)

    def limit(self, weights: str) -> Limit | None:
        """The median of the samples, or None where nothing could be measured."""
        if not self.library or not self.samples[weights]:
            return None
        name = getattr(self.library, "fp32_name" if weights == "float32" else "int8_name")
        return Limit(name().decode(), statistics.median(self.samples[weights]))


def build(folder: Path) -> Peak:
    """Compile the loops with the machine's compiler; a Peak with a reason where there is none."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return Peak(None, "no C compiler on this machine (cc, gcc or clang)")
    out = folder / "peak.so"
    source = Path(__file__).with_name("peak.c")
    arguments = ["-O3", "-shared", "-fPIC", "-o", str(out), str(source)]
    done = subprocess.run([compiler, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        return Peak(None, f"{compiler} could not compile the loops: {done.stderr.strip().splitlines()[-1]}")
    library = ctypes.CDLL(str(out))
    for name in ("fp32_name", "int8_name"):
        getattr(library, name).restype = ctypes.c_char_p
    for name in ("fp32_run", "int8_run"):
        getattr(library, name).restype, getattr(library, name).argtypes = ctypes.c_double, [ctypes.c_long]
    return Peak(library)


def _rate(library: ctypes.CDLL, name: str) -> float:
    """Operations a CPU second, of calls that fill `SECONDS`."""
    run, count = getattr(library, name), 100_000
    while True:
        start = time.thread_time()
        operations = run(count)
        seconds = time.thread_time() - start
        if not operations:
            return 0.0
        if seconds >= SECONDS:
            return float(operations / seconds)
        count = int(count * max(2.0, min(50.0, 1.2 * SECONDS / max(seconds, 1e-6))))
