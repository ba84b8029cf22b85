"""Output matrices fitted anew: what is left of a layer is made to say what the whole layers said.

Block by block, the output matrices of attention and of the feed-forward layer are the ridge solution of
‖X Wᵀ − D‖² + λ‖W‖², with X what the student's matrix is given on some texts and D what its state lacks of the
teacher's: after the teacher's attention there, and before the next layer that is kept. So a kept layer also
stands for those left out behind it. Closed form, no gradients (the idea of reconstruction in pruning:
Optimal Brain Compression, arXiv 2208.11580, and ThiNet, arXiv 1707.06342).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from lingxi.engine.batches import by_budget
from lingxi.errors import InputError
from lingxi.model.decoder import Block, Decoder
from lingxi.model.packed import Packed, pack

# λ, as a share of the mean square of an input.
_RIDGE = 1e-3
_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class _Run:
    """A block on one batch: states before it, after attention and at its end, what its matrices are given."""

    before: torch.Tensor
    attended: torch.Tensor
    after: torch.Tensor
    heads: torch.Tensor
    neurons: torch.Tensor


@torch.no_grad()
def refit(
    teacher: Decoder, student: Decoder, layers: Sequence[int], sequences: Sequence[Sequence[int]]
) -> list[float]:
    """Fit the student's output matrices in place; `layers` are the teacher's that it kept.

    Returns for each layer the share of the teacher's states' variance that the student's still lack. Raises
    InputError where a norm stands behind the matrices.
    """
    if teacher.size.style.post_norms:
        raise InputError("norms stand behind this teacher's output matrices", "leave out shape.refit")
    ordered = sorted(sequences, key=len, reverse=True)
    batches = [pack([ordered[i] for i in part]) for part in by_budget([len(s) for s in ordered], _TOKENS)]
    theirs = [cast(torch.Tensor, teacher.embed_tokens(batch.ids)) for batch in batches]
    mine, first, lacking = list(theirs), 0, []
    for place, number in enumerate(layers):
        last = place + 1 == len(layers)
        behind = len(teacher.layers) if last else layers[place + 1]
        # Of the last block only the pooled tokens' states are used.
        pooled = last and teacher.pooling == "lasttoken"
        pairs = zip(theirs, batches, strict=True)
        found = [_followed(teacher, range(first, behind), number, x, batch, pooled) for x, batch in pairs]
        attended, theirs = [each[0] for each in found], [each[1] for each in found]
        block = cast(Block, student.layers[place])
        runs = _Runs(student, block, mine, batches, pooled)
        _fit(block.self_attn.o_proj, ((run.heads, t - run.before) for run, t in runs.beside(attended)))
        _fit(block.mlp.down_proj, ((run.neurons, t - run.attended) for run, t in runs.beside(theirs)))
        mine = [run.after for run, _ in runs.beside(theirs)]
        lacking.append(_lacking(mine, theirs))
        first = behind
    return lacking


def _followed(
    teacher: Decoder, numbers: range, kept: int, x: torch.Tensor, batch: Packed, pooled: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's states after the attention of layer `kept`, and after the last of `numbers`."""
    attended = x
    for number in numbers:
        final = pooled and number == len(teacher.layers) - 1
        run = _run(teacher, cast(Block, teacher.layers[number]), x, batch, final)
        if number == kept:
            attended = run.attended if final or not pooled else run.attended[batch.last]
        x = run.after
    return attended, x


@dataclass(frozen=True, slots=True)
class _Runs:
    """A student's block on all batches, run anew at each use: its matrices change between."""

    network: Decoder
    block: Block
    states: Sequence[torch.Tensor]
    batches: Sequence[Packed]
    pooled: bool

    def beside(self, wanted: Sequence[torch.Tensor]) -> Iterator[tuple[_Run, torch.Tensor]]:
        """Each batch's run with what is wanted of it."""
        for x, batch, target in zip(self.states, self.batches, wanted, strict=True):
            yield _run(self.network, self.block, x, batch, self.pooled), target


def _run(network: Decoder, block: Block, x: torch.Tensor, batch: Packed, pooled: bool) -> _Run:
    heads: list[torch.Tensor] = []
    added: list[torch.Tensor] = []
    neurons: list[torch.Tensor] = []

    def attention(_: nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
        heads.append(given[0])
        added.append(made)

    def feed_forward(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        neurons.append(given[0])

    with ExitStack() as hooks:
        for handle in (
            block.self_attn.o_proj.register_forward_hook(attention),
            block.mlp.down_proj.register_forward_pre_hook(feed_forward),
        ):
            hooks.callback(handle.remove)
        after = (block.pooled if pooled else block)(x, network.rotation(batch.positions), batch)
    before = x[batch.last] if pooled else x
    return _Run(before, before + torch.cat(added), after, torch.cat(heads), torch.cat(neurons))


def _fit(linear: nn.Linear, samples: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Set a linear's weight to the ridge solution for (inputs, what they shall add); its bias stays."""
    size = linear.in_features
    squares = torch.zeros(size, size, dtype=torch.float64)
    products = torch.zeros(size, linear.out_features, dtype=torch.float64)
    for given, wanted in samples:
        rows = given.double()
        rest = wanted if linear.bias is None else wanted - linear.bias
        squares += rows.T @ rows
        products += rows.T @ rest.double()
    ridge = _RIDGE * float(squares.diagonal().mean()) + torch.finfo(torch.float32).tiny
    solved = torch.linalg.solve(squares + ridge * torch.eye(size, dtype=torch.float64), products)
    linear.weight.copy_(solved.T)


def _lacking(mine: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> float:
    """The share of the variance of the teacher's states that the student's miss."""
    whole = torch.cat(list(theirs))
    gaps = torch.cat(list(mine)) - whole
    return float(gaps.square().sum() / (whole - whole.mean(0)).square().sum())
