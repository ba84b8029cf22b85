"""Kill `lingxi index add` at random moments, complete it, and compare with an index that was never interrupted.

    python benchmarks/kill_index.py [--files 400] [--kills 10] [--seed 0] [--model NAME]

Between kills files are changed, added and deleted, so the kills hit additions, replacements and removals. Without
--model a stand-in that hashes words takes the place of the embedder: it is fast, so commits come thick. Prints
the rows lost, duplicated and stale; exits with 1 unless all are zero.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from pathlib import Path

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
        for number in range(options.kills):
            after = rng.uniform(0, seconds)
            killed = add_and_kill(folder, broken, options.model, after)
            rows = len(rows_of(broken)) if (broken / "segments.lance").exists() else 0
            print(
                f"kill {number + 1}: after {after:.2f} s, {'killed' if killed else 'was done'}, {rows} rows committed"
            )
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


def rows_of(index: Path) -> list[tuple[object, ...]]:
    """Every row of an index but the times of its files; vectors by their hash."""
    import lancedb

    table = lancedb.connect(index).open_table("segments").to_arrow().drop_columns(["mtime_ns"])
    return [
        tuple(
            hashlib.sha256(repr(v).encode()).hexdigest() if isinstance(v, list) else v for v in row.values()
        )
        for row in table.to_pylist()
    ]


def compare(got: list[tuple[object, ...]], wanted: list[tuple[object, ...]]) -> int:
    ours, reference = Counter(got), Counter(wanted)
    lost = sum((reference - ours).values())
    duplicated = sum(count - 1 for count in Counter(row[0] for row in got).values() if count > 1)
    stale = len(set(ours) - set(reference))
    print(
        f"{len(wanted)} rows in the uninterrupted index: {lost} lost, {duplicated} duplicated, {stale} stale"
    )
    return 1 if lost or duplicated or stale else 0


if __name__ == "__main__":
    sys.exit(main())
