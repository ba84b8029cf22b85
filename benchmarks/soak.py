"""A day's work in minutes: a million short texts through one embedder, with memory looked at all along.

    python benchmarks/soak.py [--texts 1000000] [--weights int8]

Two figures are held apart: what is in use of the C heap (with what it maps), which must not grow at all
(5 MB), and what is resident. glibc keeps a freed temporary of up to 32 MB for the next one and may need
another where the heap is in pieces: so resident memory may step, once, by that much. Exits 1 otherwise.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lingxi import Embedder

_CALL = 2000
_USED_MB, _STEP_MB = 5, 32


class Held(NamedTuple):
    """MB: in use of the C heap, and resident."""

    used: float
    resident: float


def main() -> None:
    """Embed call after call; print memory and speed every tenth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--weights", default="int8", choices=("int8", "float32"))
    options = parser.parse_args()
    embedder = Embedder("lingxi-pico", weights=options.weights)
    held, calls = [], options.texts // _CALL
    start = time.perf_counter()
    for call, texts in zip(range(calls), batches(), strict=False):
        vectors = embedder.encode(texts, show_progress_bar=False)
        if not np.isfinite(vectors).all():
            sys.exit(f"call {call} gave numbers that are not finite")
        held.append(Held(used(), resident()))
        if (call + 1) % max(calls // 10, 1) == 0:
            rate = (call + 1) * _CALL / (time.perf_counter() - start)
            print(f"{(call + 1) * _CALL:9,} texts  {_said(held[-1])}  {rate:6.0f} texts/s", flush=True)
    grown = growth(held)
    print(f"grown by {_said(grown)}")
    sys.exit(grown.used > _USED_MB or grown.resident > _STEP_MB)


def growth(held: list[Held]) -> Held:
    """How much more the last tenth held than the second; the first fills buffers."""
    tenth = max(len(held) // 10, 1)
    last, first = held[-tenth:], held[tenth : 2 * tenth]
    return Held(
        max(one.used for one in last) - max(one.used for one in first),
        max(one.resident for one in last) - max(one.resident for one in first),
    )


def batches() -> Iterator[list[str]]:
    """Lists of short texts of many lengths and scripts, no two calls alike."""
    rng = np.random.default_rng(0)
    words = ["gravity", "北京", "gato", "retry", "ключ", "def", "कर", "العربية", "7", "café", "index", "ไทย"]
    while True:
        counts = rng.integers(1, 12, _CALL)
        yield [" ".join(rng.choice(words, n)) + f" {rng.integers(1e9)}" for n in counts]


def resident() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


class _Heap(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks")
    _fields_ = [(name, ctypes.c_size_t) for name in (*_names, "keepcost")]


def used() -> float:
    """Bytes in use of the main C heap and of what is mapped for it, in MB (glibc 2.33 or newer)."""
    read = ctypes.CDLL(None).mallinfo2
    read.restype = _Heap
    heap = read()
    return float((heap.uordblks + heap.hblkhd) / 1e6)


def _said(held: Held) -> str:
    return f"in use {held.used:7.1f} MB, resident {held.resident:7.1f} MB"


if __name__ == "__main__":
    main()
