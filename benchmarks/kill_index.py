"""Kill `lingxi index add` at random moments, complete it, compare with an index that was never interrupted.

    python benchmarks/kill_index.py [--files 400] [--kills 10] [--seed 0] [--model NAME]

Between kills files are changed and renamed, so the kills hit additions, replacements and removals. Without
--model a stand-in that hashes words takes the place of the embedder: it is fast, so commits come thick.
Prints the rows lost, duplicated and stale; exits with 1 unless all are zero.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from pathlib import Path

Rows = tuple[list[tuple[object, ...]], dict[str, list[float]]]
ROOT = Path(__file__).parent.parent
SOURCES = [ROOT / "src", ROOT / "README.md", ROOT / "CONTRIBUTING.md", Path(sysconfig.get_paths()["stdlib"])]


def main() -> int:
    options = read_options()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder, broken, whole = (Path(scratch) / name for name in ("files", "broken.index", "whole.index"))
        make_files(folder, options.files, rng)
        seconds = add(folder, Path(scratch) / "timing.index", options.model)
        print(f"{options.files} files; an uninterrupted add takes {seconds:.1f} s")
        hits = 0
        while hits < options.kills:
            # Short runs first, so that many hit the first filling; a run that ends before its kill is none.
            after = rng.uniform(0, seconds * (0.2 if hits < options.kills / 2 else 0.6))
            hits += add_and_kill(folder, broken, options.model, after)
            rows = len(rows_of(broken)[0]) if (broken / "segments.lance").exists() else 0
            print(f"{hits} killed, the last after {after:.2f} s; {rows} rows committed", flush=True)
            change_files(folder, rng)
        add(folder, broken, options.model)
        add(folder, whole, options.model)
        return compare(rows_of(broken), rows_of(whole))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="a real embedder (default: a stand-in that hashes words)")
    return parser.parse_args()


def make_files(folder: Path, count: int, rng: random.Random) -> None:
    """Real files, each under a number and with a line of its own, so that no two are the same."""
    folder.mkdir()
    found = [
        p
        for source in SOURCES
        for p in ([source] if source.is_file() else sorted(source.rglob("*.[pmr][yds]*")))
    ]
    small = [
        p for p in found if p.is_file() and p.suffix in (".py", ".md", ".rst") and p.stat().st_size < 60_000
    ]
    for number in range(count):
        source = rng.choice(small)
        text = source.read_text(encoding="utf-8", errors="replace")
        target = folder / f"part{number % 7}" / f"{number:05}-{source.name}"
        target.parent.mkdir(exist_ok=True)
        target.write_text(f"{text}\n# copy number {number} of {source.name}\n", encoding="utf-8")


def change_files(folder: Path, rng: random.Random) -> None:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    for path in rng.sample(files, len(files) // 4):
        path.write_text(path.read_text(encoding="utf-8") + f"\n# changed {rng.random()}\n", encoding="utf-8")
    for path in rng.sample(files, len(files) // 50):
        copy = path.with_name(f"{rng.randrange(10**9)}-{path.name}")
        path.rename(copy)


def command(folder: Path, index: Path, model: str | None) -> tuple[list[str], dict[str, str]]:
    """A program that says `ready` once everything is imported, then runs the command line."""
    entry = "lingxi.cli" if model else "stand_in"
    program = f"import lancedb, pyarrow, lingxi.index, {entry} as e; print('ready', flush=True); e.main()"
    arguments = ["index", "add", str(index), str(folder), *(["--model", model] if model else [])]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths, "STAND_IN_SECONDS": "0.0005"}
    return [sys.executable, "-c", program, *arguments], environment


def add(folder: Path, index: Path, model: str | None) -> float:
    """Add undisturbed; returns its seconds, imports left out."""
    arguments, environment = command(folder, index, model)
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        started = time.perf_counter()
        child.stdout.read()
    if child.returncode:
        sys.exit(f"add ended with {child.returncode}")
    return time.perf_counter() - started


def add_and_kill(folder: Path, index: Path, model: str | None, after: float) -> bool:
    """Add, and kill -9 that many seconds after it began; whether it was still at work."""
    arguments, environment = command(folder, index, model)
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            child.wait(after)
        except subprocess.TimeoutExpired:
            child.kill()
    return child.returncode < 0


def rows_of(index: Path) -> Rows:
    """Every row of an index but the times of its files, and the vectors by the rows' keys."""
    import lancedb

    table = lancedb.connect(index).open_table("segments").to_arrow().drop_columns(["mtime_ns"])
    vectors = dict(zip(table["key"].to_pylist(), table["vector"].to_pylist(), strict=True))
    return [tuple(row.values()) for row in table.drop_columns(["vector"]).to_pylist()], vectors


def compare(got: Rows, wanted: Rows) -> int:
    ours, reference = Counter(got[0]), Counter(wanted[0])
    lost = sum((reference - ours).values())
    duplicated = sum(count - 1 for count in Counter(row[0] for row in got[0]).values() if count > 1)
    stale = len(set(ours) - set(reference)) + sum(not same(got[1].get(k), v) for k, v in wanted[1].items())
    print(f"{len(wanted[0])} rows uninterrupted: {lost} lost, {duplicated} duplicated, {stale} stale")
    return 1 if lost or duplicated or stale else 0


def same(a: list[float] | None, b: list[float] | None) -> bool:
    """Equal vectors, but for the last bits that a batch's composition moves."""
    if a is None or b is None:
        return a is b
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) < 1e-4


if __name__ == "__main__":
    sys.exit(main())
