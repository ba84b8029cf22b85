"""What each of several processes does in tests/test_parallel.py; results go to the folder named."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from lingxi.train.encoders import encode_by, encoder_of, recompute
from lingxi.train.gradcache import Batch, Figures, cached_step
from lingxi.train.held_out import pooled
from lingxi.train.loop import Schedule, train
from lingxi.train.parallel import Ranks, joined, split, whole, whole_state
from toy_steps import drawn as drawn_sequences
from toy_steps import fresh_decoder, loss_of, objective_of
from toys import toy_encoder

SCHEDULE = Schedule(4, 3e-3, 3e-3, 1, checkpoint_every=2, ema_decay=0.9)


def one_step(name: str, limit: int | None, out: Path, ranks: Ranks, again: bool = False) -> None:
    # Other weights on the other rank: it must begin with those of the first.
    decoder = fresh_decoder(seed=ranks.rank)
    if again:
        recompute(decoder)
    split(decoder, ranks)
    step = cached_step(encoder_of(decoder), objective_of(decoder), limit, ranks)
    figures = step(np.random.default_rng(3))
    grads = {n: whole(p.grad).contiguous() for n, p in decoder.named_parameters()}
    save_file({**grads, "loss": torch.tensor(figures["loss"])}, out / f"{name}-{ranks.rank}.safetensors")


def an_encoders_step(name: str, limit: int | None, out: Path, ranks: Ranks) -> None:
    """A step of a BERT-type encoder, which shares no prefix; gradients and loss are written."""
    network = toy_encoder(seed=ranks.rank, max_positions=128).train().requires_grad_(True)
    split(network, ranks)

    def objective(rng: np.random.Generator) -> Batch:
        return Batch(drawn_sequences(rng), lambda states: loss_of(states, network.embed_tokens.weight))

    figures = cached_step(encode_by(network), objective, limit, ranks)(np.random.default_rng(3))
    grads = {n: whole(p.grad).contiguous() for n, p in network.named_parameters() if p.grad is not None}
    save_file({**grads, "loss": torch.tensor(figures["loss"])}, out / f"{name}-{ranks.rank}.safetensors")


def some_steps(out: Path, ranks: Ranks, schedule: Schedule = SCHEDULE, stop_at: int | None = None) -> None:
    decoder = split(fresh_decoder(), ranks)
    step = cached_step(encoder_of(decoder), objective_of(decoder), 200, ranks)

    def stop(number, row):
        if number == stop_at:
            raise KeyboardInterrupt

    try:
        train(decoder, step, schedule, out, seed=5, ranks=ranks, listeners=[stop])
    except KeyboardInterrupt:
        return
    state = whole_state(decoder, ranks)
    if ranks.first:
        save_file(state, out / "final.safetensors")


def with_a_head(out: Path, ranks: Ranks) -> None:
    """A decoder that is split, beside an output head that every rank holds whole; probed as it is trained."""
    decoder = split(fresh_decoder(), ranks)
    head = torch.randn(512, decoder.size.hidden, generator=torch.Generator().manual_seed(1))
    module = nn.ModuleDict({"decoder": decoder})
    module.register_parameter("head", nn.Parameter(head))

    def objective(rng: np.random.Generator) -> Batch:
        return Batch(drawn_sequences(rng), lambda states: loss_of(states, module.head))

    step = cached_step(encoder_of(decoder), objective, 200, ranks)

    def probe(number: int, row: Figures) -> None:
        assert torch.isfinite(pooled(decoder, [[1, 2, 3], [1, 2, 4, 5], [6]])).all()

    probe(-1, {})
    train(module, step, SCHEDULE, out, seed=5, ranks=ranks, listeners=[probe])
    state = whole_state(module, ranks)
    if ranks.first:
        save_file(state, out / "final.safetensors")


def main(out: Path, more: bool) -> None:
    torch.set_num_threads(1)
    with joined("cpu") as ranks:
        one_step("whole", None, out, ranks)
        one_step("chunks", 100, out, ranks)
        an_encoders_step("encoder", 100, out, ranks)
        some_steps(out / "stopped", ranks, stop_at=2)
        with_a_head(out / "head", ranks)
        if more:
            one_step("one-each", 1, out, ranks)
            one_step("recomputed", 64, out, ranks, again=True)
            some_steps(out / "run", ranks)
    assert not [name for name in threads() if "gloo" in name], "threads of gloo would outlive Python"


def threads() -> list[str]:
    """The names of this process's threads, those of C++ too; none where the system does not tell."""
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


if __name__ == "__main__":
    main(Path(sys.argv[1]), "more" in sys.argv)
