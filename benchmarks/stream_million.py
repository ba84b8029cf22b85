"""Rank a corpus larger than memory should hold: a million vectors, streamed; peak memory and seconds.

    python benchmarks/stream_million.py [--documents 1000000] [--dim 384]

The vectors are synthetic: a text names its own number, and its vector is drawn from it; a query is a document
with noise, so that what must be found first is known.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lingxi.evaluate.dense import Dense
from lingxi.evaluate.measure import measure
from lingxi.evaluate.tasks import Head, Ranking

CHUNK = 1000


class Drawn:
    """An encoder that draws the vector of `number` from the number; queries are a little off."""

    def __init__(self, dim: int) -> None:
        self.name = self.fingerprint = f"drawn-{dim}"
        self._dim = dim

    def encode(self, texts: Sequence[str], instruction: str | None) -> np.ndarray:
        numbers = np.array([int(text) for text in texts])
        found = np.empty((len(texts), self._dim), np.float32)
        for chunk in np.unique(numbers // CHUNK):
            inside = numbers // CHUNK == chunk
            drawn = np.random.default_rng(chunk).standard_normal((CHUNK, self._dim), np.float32)
            found[inside] = drawn[numbers[inside] % CHUNK]
        if instruction is not None:
            found += 0.5 * np.random.default_rng(0).standard_normal(found.shape, np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


class Numbers(Sequence[str]):
    """The texts `0`, `1`, …, made when asked for."""

    def __init__(self, numbers: range) -> None:
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, at: int | slice) -> str | Numbers:  # type: ignore[override]
        found = self._numbers[at]
        return Numbers(found) if isinstance(found, range) else str(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=100)
    options = parser.parse_args()
    wanted = np.random.default_rng(1).integers(0, options.documents, options.queries).tolist()
    documents = Numbers(range(options.documents))
    task = Ranking(
        Head("drawn", "retrieval", "en"), ("ndcg@10",), "find it",
        tuple(f"q{i}" for i in range(options.queries)), tuple(map(str, wanted)),
        documents, documents, tuple({number: 1.0} for number in wanted),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        system = Dense(Drawn(options.dim), Path(scratch))
        began = time.perf_counter()
        (found,) = measure(task, system)
        figures = {
            "documents": options.documents,
            "dim": options.dim,
            "ndcg@10": round(float(found.values.mean()), 4),
            "seconds": round(time.perf_counter() - began, 1),
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
