"""Tokens a second and peak memory against the length of one input.

    python benchmarks/long_inputs.py [--size embedding-0.6B] [--layers 2]
        [--threads 1] [--lengths 512 8192 32768]

Random weights: speed and memory do not depend on them. Each length runs in a process of its own, so that the
peak is its own: resident memory above what the loaded network takes, and what the same number of fp32
scores (heads × length²) would take if attention kept them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace

import torch

from lingxi.engine.run import pooled_states
from lingxi.model.decoder import Decoder
from lingxi.model.sizes import SIZES

LENGTHS = (512, 2048, 8192, 32768)
VOCABULARY = 4096  # a small table, so that the weights of the blocks are what counts


def main() -> None:
    """Measure each length in its own process and print a table."""
    options = _options()
    if options.one:
        print(json.dumps(measured(options)))
        return
    print("| tokens | tokens/s (CPU) | peak MiB above the network | MiB if scores were kept |")
    print("|---:|---:|---:|---:|")
    for length in options.lengths:
        command = [sys.executable, __file__, "--one", "--size", options.size, "--layers", str(options.layers)]
        command += ["--threads", str(options.threads), "--lengths", str(length)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(run.stdout)
        print("| {tokens:,} | {speed:,.0f} | {peak:,.0f} | {scores:,.0f} |".format(**found), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=list(SIZES), default="embedding-0.6B")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def measured(options: argparse.Namespace) -> dict[str, float]:
    """Speed and memory of one input of the first length."""
    torch.set_num_threads(options.threads)
    (length,) = options.lengths
    size = replace(SIZES[options.size], layers=options.layers, vocab=VOCABULARY)
    torch.manual_seed(0)
    network = Decoder(size).eval().requires_grad_(False)
    ids = torch.randint(VOCABULARY, (length,)).tolist()
    pooled_states(network, [ids[:16]])
    before = _peak()
    began = time.process_time()
    states = pooled_states(network, [ids])
    seconds = time.process_time() - began
    assert states.isfinite().all()
    scores = size.heads * length * length * 4 / 2**20
    return {"tokens": length, "speed": length / seconds, "peak": _peak() - before, "scores": scores}


def _peak() -> float:
    """Most resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
