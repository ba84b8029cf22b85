"""Measure contrastive training of a published shape: tokens a second, share of peak, memory.

    python benchmarks/train_large.py --layers 2 --pairs 4 --steps 3          # on a CPU, in a minute
    python benchmarks/train_large.py --pairs 256 --tokens 256 --recompute    # whole, on a GPU

Weights and texts are random, and the queries share no prompt. The step is `cached_step`'s, the optimizer
AdamW over all weights in fp32; products are bf16 on a GPU. The share of peak is what the products need (6
operations a weight and token, token vectors and what is computed again left out, and attention's halved by
its mask) over what a large bf16 product reaches on the same card in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace

import numpy as np
import torch

from lingxi.model.decoder import Decoder
from lingxi.model.sizes import Size, size_named
from lingxi.model.varlen import varlen_for
from lingxi.train import losses
from lingxi.train.encoders import encode_by, recompute
from lingxi.train.gradcache import Batch, Figures, cached_step

RATE = 1e-5
SIDE = 8192


def main() -> None:
    """Train a few steps and print one JSON object."""
    asked = arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = size_named(asked.size)
    size = replace(size, layers=asked.layers or size.layers)
    decoder = fresh(size, device)
    if asked.recompute:
        recompute(decoder)
    amp = torch.bfloat16 if device.type == "cuda" else None
    decoder.use_varlen(varlen_for(device, amp or torch.float32))
    step = cached_step(encode_by(decoder, amp), Texts(size.vocab, asked.pairs, asked.tokens), asked.chunk)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=RATE, fused=True)
    seconds, figures = [], []
    for number in range(asked.steps + 1):
        began = time.perf_counter()
        figures.append(step(np.random.default_rng(number)))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        settle(device)
        seconds.append(time.perf_counter() - began)
    print(json.dumps(report(asked, size, device, seconds[1:], figures), indent=2))


def arguments() -> argparse.Namespace:
    """What is asked on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="embedding-0.6B", help="a published shape")
    parser.add_argument("--layers", type=int, help="fewer layers than it has")
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=256, help="longest text; the shortest has half of that")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument(
        "--chunk", type=int, default=131_072, help="tokens encoded at once (GradCache beyond)"
    )
    parser.add_argument("--recompute", action="store_true", help="gradient checkpointing")
    return parser.parse_args()


def fresh(size: Size, device: torch.device) -> Decoder:
    """A network of normal weights, norms at one."""
    torch.manual_seed(0)
    with device:
        decoder = Decoder(size)
        with torch.no_grad():
            for parameter in decoder.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(std=0.02)
                else:
                    parameter.fill_(1.0)
    return decoder.train()


class Texts:
    """Pairs of random ids; the loss tells the two of a pair from the others."""

    def __init__(self, vocab: int, pairs: int, tokens: int) -> None:
        self.vocab, self.pairs, self.tokens = vocab, pairs, tokens

    def __call__(self, rng: np.random.Generator) -> Batch:
        """One batch, queries first."""
        lengths = rng.integers(self.tokens // 2, self.tokens + 1, size=2 * self.pairs)
        return Batch([rng.integers(0, self.vocab, size=n).tolist() for n in lengths], self.loss)

    def loss(self, states: torch.Tensor) -> tuple[torch.Tensor, Figures]:
        """InfoNCE with the other documents of the batch as negatives."""
        unit = torch.nn.functional.normalize(states, dim=-1)
        own = torch.eye(self.pairs, dtype=torch.bool)
        known = losses.Relevance(own, own, torch.arange(self.pairs)).to(states.device)
        queries, documents = unit[: self.pairs], unit[self.pairs :]
        loss = losses.info_nce(
            queries, documents, known, temperature=0.05, margin=0.1, groups=losses.QUERY_GROUPS
        )
        return loss, {}


def report(
    asked: argparse.Namespace,
    size: Size,
    device: torch.device,
    seconds: list[float],
    figures: list[Figures],
) -> dict[str, object]:
    """What was measured: medians of the steps after the first."""
    tokens = statistics.median(each["tokens"] for each in figures[1:])
    rate = tokens / statistics.median(seconds)
    found: dict[str, object] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "size": asked.size,
        "layers": size.layers,
        "tokens_a_step": tokens,
        "tokens_a_second": round(rate),
        "first_loss": figures[0]["loss"],
        "last_loss": figures[-1]["loss"],
    }
    if device.type == "cuda":
        reached = product_rate(device)
        found |= {
            "peak_gigabytes": round(torch.cuda.max_memory_allocated() / 1e9, 1),
            "teraflops": round(rate * operations(size, asked) / 1e12, 1),
            "product_teraflops": round(reached / 1e12, 1),
            "share_of_peak": round(rate * operations(size, asked) / reached, 3),
        }
    return found


def operations(size: Size, asked: argparse.Namespace) -> float:
    """Operations a token of forward and backward, what is computed again left out."""
    wide = size.heads * size.head_dim
    narrow = size.kv_heads * size.head_dim
    matrices = size.hidden * (2 * wide + 2 * narrow + 3 * size.intermediate)
    length = 0.75 * asked.tokens
    return 6.0 * size.layers * matrices + 6.0 * size.layers * wide * length


def product_rate(device: torch.device) -> float:
    """Operations a second of a large bf16 product, the median of ten."""
    left, right = (torch.randn(SIDE, SIDE, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(12):
        settle(device)
        began = time.perf_counter()
        torch.mm(left, right)
        settle(device)
        seconds.append(time.perf_counter() - began)
    return 2 * SIDE**3 / statistics.median(seconds[2:])


def settle(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
