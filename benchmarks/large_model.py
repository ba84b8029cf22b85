"""Quantize a model that does not fit in memory, and run it: peak memory of each step in its own process.

    python benchmarks/large_model.py --size embedding-8B --folder DIR

Random weights in the published shape, bf16, in shards of 2 GB; DIR needs room for 1.5 times the bf16 model.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from lingxi import Embedder
from lingxi.engine.quantizing import quantize_directory
from lingxi.model.decoder import Decoder
from lingxi.model.files import SHIPPED, Computed, shapes_of
from lingxi.model.layout import ModelFiles, write_directory
from lingxi.model.sizes import SIZES, Size

_SHARD = 2_000_000_000
_TEXTS = ["where is a text cut when it is too long, and who is told?", "北京是中国的首都。"]


def main() -> None:
    """Write, quantize and run; print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="embedding-8B", choices=sorted(SIZES))
    parser.add_argument("--layers", type=int, help="fewer than published, for a look")
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    size = SIZES[options.size]
    size = replace(size, layers=options.layers) if options.layers else size
    source, copy = options.folder / "bf16", options.folder / "int8"
    for name, step in (
        ("write", lambda: write_random(size, source)),
        ("quantize", lambda: quantize_directory(source, copy, packed=False)),
        ("run", lambda: run(copy)),
    ):
        seconds, peak = apart(step)
        print(f"{name:9} {seconds:7.0f} s  peak {peak / 2**20:6.2f} GiB", flush=True)
    for directory in (source, copy):
        written = sum(path.stat().st_size for path in directory.glob("*.safetensors"))
        print(f"{directory.name:9} {written / 1e9:6.1f} GB")


def write_random(size: Size, out: Path) -> None:
    """A bf16 directory of random weights, one tensor in memory at a time."""
    with torch.device("meta"):
        shapes = shapes_of(Decoder(size))
    generator = torch.Generator().manual_seed(0)

    def make(name: str) -> torch.Tensor:
        shape = shapes[name]
        return (
            torch.ones(shape) if len(shape) == 1 else torch.empty(shape).normal_(0, 0.02, generator=generator)
        )

    tokenizer = (SHIPPED / "lingxi-pico" / "tokenizer.json").read_text(encoding="utf-8")
    files = ModelFiles("embedder", size, Computed(tuple(shapes), make), tokenizer, "# random\n", 8192)
    write_directory(files, out, "bfloat16", max_shard_bytes=_SHARD)


def run(directory: Path) -> None:
    """Open the int8 directory and embed two texts; every number is finite."""
    start = time.perf_counter()
    embedder = Embedder(directory)
    opened = time.perf_counter()
    vectors = embedder.encode(_TEXTS)
    assert embedder.weights == "int8" and abs((vectors**2).sum(1) - 1).max() < 1e-3
    print(
        f"          opened in {opened - start:.0f} s, two texts in {time.perf_counter() - opened:.1f} s",
        flush=True,
    )


def apart(step: Callable[[], object]) -> tuple[float, int]:
    """Seconds and peak resident KiB of a step in a process of its own."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def work() -> None:
        start = time.perf_counter()
        step()
        send.send((time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))

    process = context.Process(target=work)
    process.start()
    send.close()
    try:
        found: tuple[float, int] = receive.recv()
    except EOFError:
        raise SystemExit("the step failed; its error is above") from None
    process.join()
    return found


if __name__ == "__main__":
    main()
