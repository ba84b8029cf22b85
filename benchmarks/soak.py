"""A day's work in minutes: a million short texts through one embedder, with memory looked at all along.

    python benchmarks/soak.py [--texts 1000000] [--weights int8]

Memory is flat where the last tenth of the run holds no more than the first, but for what Python's own
allocator moves (5 MB). Exits 1 where it grew.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lingxi import Embedder

_CALL = 2000


def main() -> None:
    """Embed call after call; print memory and speed every tenth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--weights", default="int8", choices=("int8", "float32"))
    options = parser.parse_args()
    embedder = Embedder(weights=options.weights)
    held, calls = [], options.texts // _CALL
    start = time.perf_counter()
    for call, texts in zip(range(calls), batches(), strict=False):
        vectors = embedder.encode(texts, show_progress_bar=False)
        if not np.isfinite(vectors).all():
            sys.exit(f"call {call} gave numbers that are not finite")
        held.append(resident())
        if (call + 1) % max(calls // 10, 1) == 0:
            rate = (call + 1) * _CALL / (time.perf_counter() - start)
            print(f"{(call + 1) * _CALL:9,} texts  {held[-1]:7.1f} MB  {rate:6.0f} texts/s", flush=True)
    tenth = max(calls // 10, 1)
    # The first tenth fills buffers: the second is what the last is held against.
    grown = max(held[-tenth:]) - max(held[tenth : 2 * tenth])
    print(f"grown by {grown:.1f} MB")
    sys.exit(grown > 5)


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


if __name__ == "__main__":
    main()
