"""Index 10,000 real files: documents per second, peak memory, and how long the second search takes.

    python benchmarks/index_files.py [--files 10000] [--largest 40000] [--model NAME | --stand-in]

The files are the sources and documents of the Python that runs this, and of its packages, copied under
numbers with a line of their own until there are enough. `--stand-in` hashes words instead of embedding, which
leaves what the index itself costs.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
QUERIES = (
    "how is a connection closed after a timeout",
    "parse http header",
    "读取配置文件",
    "deprecated alias",
)


def main() -> None:
    options = read_options()
    embedder = make_embedder(options)
    from lingxi.index import Index

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "files"
        size = make_files(folder, options.files, options.largest)
        before = peak()
        index = Index.open(Path(scratch) / "all.index", embedder)
        report = index.add([folder])
        figures = {
            "files": report.added,
            "megabytes": round(size / 1e6, 1),
            "segments": report.segments,
            "seconds": round(report.seconds, 1),
            "documents_per_second": round(report.added / report.seconds, 1),
            "peak_rss_mb": round(peak()),
            "peak_rss_before_mb": round(before),
            "index_mb": round(index.stats().bytes / 1e6, 1),
            "skipped": len(report.skipped),
            "unchanged_add_seconds": round(index.add([folder]).seconds, 2),
            "search_seconds": [timed(index, query) for query in QUERIES],
        }
    print(json.dumps(figures, indent=2))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--largest", type=int, default=40_000, help="bytes of the largest file taken")
    parser.add_argument("--model", default="lingxi-pico", help="embedder")
    parser.add_argument("--stand-in", action="store_true", help="hash words instead of embedding")
    return parser.parse_args()


def make_embedder(options: argparse.Namespace) -> object:
    if options.stand_in:
        sys.path.append(str(ROOT / "tests"))
        from stand_in import WordEmbedder

        return WordEmbedder()
    from lingxi import Embedder

    return Embedder(options.model)


def make_files(folder: Path, count: int, largest: int) -> int:
    """Copy real files of up to `largest` bytes until there are `count`; returns their bytes."""
    paths = sysconfig.get_paths()
    found = [p for place in ("stdlib", "purelib") for p in sorted(Path(paths[place]).rglob("*"))]
    wanted = (".py", ".md", ".rst", ".txt", ".html", ".pyi")
    small = [p for p in found if p.suffix in wanted and p.is_file() and 200 < p.stat().st_size < largest]
    random.Random(0).shuffle(small)
    size = 0
    for number in range(count):
        source = small[number % len(small)]
        text = source.read_text(encoding="utf-8", errors="replace") + f"\n# copy {number}\n"
        target = folder / f"{number % 100:02}" / f"{number:05}-{source.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        size += target.write_text(text, encoding="utf-8")
    return size


def timed(index: object, query: str) -> float:
    started = time.perf_counter()
    index.search(query)
    return round(time.perf_counter() - started, 3)


def peak() -> float:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
