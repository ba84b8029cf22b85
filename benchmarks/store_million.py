"""A million vectors in one store: peak memory, bytes, recall and time a query.

    python benchmarks/store_million.py VECTORS.npy [--store lance] [--rows 1000000]
        [--look ann] [--precision int8]

VECTORS.npy is what `benchmarks/real_vectors.py` made; a batch at a time is drawn like those, and the exact
answer is kept while they pass.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from real_vectors import drawn_like

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
QUERIES, K, BATCH = 100, 10, 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--store", default="lance")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--look", default="ann")
    parser.add_argument("--precision", default="int8")
    options = parser.parse_args()
    from databases import place_of
    from lingxi.index.stores import Collection, Compare, Layout

    real = np.load(options.vectors)
    queries = drawn_like(real, QUERIES, seed=10_000)
    layout = Layout(real.shape[1], {"group": "whole"}, options.precision, options.look)
    best = {None: Best(), 7: Best()}
    with (
        tempfile.TemporaryDirectory() as folder,
        Collection.open(place_of(options.store, Path(folder)), layout) as store,
    ):
        began = time.perf_counter()
        for start in range(0, options.rows, BATCH):
            numbers = np.arange(start, min(start + BATCH, options.rows))
            rows = drawn_like(real, len(numbers), seed=start)
            store.upsert([str(n) for n in numbers], rows, [{"group": int(n) % 100} for n in numbers])
            best[None].see(queries @ rows.T, numbers)
            best[7].see(queries @ rows[numbers % 100 == 7].T, numbers[numbers % 100 == 7])
        filled, worked = time.perf_counter() - began, time.process_time()
        store.settle()
        settled, figures = time.process_time() - worked, {}
        for group, exact in best.items():
            where = None if group is None else Compare("group", "=", group)
            began, worked = time.perf_counter(), time.process_time()
            found = [{int(one.id) for one in store.search(query, K, where)[0]} for query in queries]
            name = "all" if where is None else "1/100"
            figures |= {
                f"recall@10 {name}": round(exact.recall(found), 4),
                f"ms {name}": round(1000 * (time.perf_counter() - began) / QUERIES, 1),
                f"CPU ms {name}": round(1000 * (time.process_time() - worked) / QUERIES, 1),
            }
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        told = {
            "store": options.store, "rows": store.count(), "dim": real.shape[1], "look": options.look,
            "precision": options.precision, "write s": round(filled), "settle CPU s": round(settled),
            "GB": round(store.bytes() / 1e9, 2), "peak RSS GB": round(peak, 2), **figures,
        }  # fmt: skip
        print(json.dumps(told, indent=1))


class Best:
    """The ten nearest of the rows seen so far, for each query."""

    def __init__(self) -> None:
        self._scores = np.full((QUERIES, K), -9.0, np.float32)
        self._numbers = np.full((QUERIES, K), -1)

    def see(self, scores: np.ndarray, numbers: np.ndarray) -> None:
        scores = np.concatenate([self._scores, scores], axis=1)
        named = np.concatenate([self._numbers, np.broadcast_to(numbers, (QUERIES, len(numbers)))], axis=1)
        order = np.argpartition(-scores, K - 1, axis=1)[:, :K]
        self._scores = np.take_along_axis(scores, order, axis=1)
        self._numbers = np.take_along_axis(named, order, axis=1)

    def recall(self, found: list[set[int]]) -> float:
        return float(
            np.mean([len(one & set(own.tolist())) / K for one, own in zip(found, self._numbers, strict=True)])
        )


if __name__ == "__main__":
    main()
