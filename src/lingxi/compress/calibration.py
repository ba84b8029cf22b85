"""What the matrices of a decoder are given: texts run through it block by block, inputs summed as Xᵀ X.

The network is walked once from the first block to the last. After a block's inputs are known its matrices are
replaced, and the next block is given what the replaced one makes of the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from lingxi.model.decoder import Block, Decoder, Rotation
from lingxi.model.packed import Packed, pack

Replace = Callable[[int, Block, dict[str, torch.Tensor]], None]
"""Called with a block's number, the block, and Xᵀ X of each of its matrices by name (`mlp.up_proj`)."""
_TOKENS = 4096


def walk(decoder: Decoder, sequences: Sequence[Sequence[int]], replace: Replace) -> None:
    """Give `replace` every block in turn, with the inputs that sequences of ids cause in it."""
    batches = [pack(part) for part in _batches(sequences)]
    with torch.inference_mode():
        rotations = [decoder.rotation(batch.positions) for batch in batches]
        states = [cast(torch.Tensor, decoder.embed_tokens(batch.ids)) for batch in batches]
    for number, layer in enumerate(decoder.layers):
        block = cast(Block, layer)
        last = number == len(decoder.layers) - 1
        with torch.inference_mode(), _summed(block) as inputs:
            _run(block, states, rotations, batches, last)
        replace(number, block, {name: (sums / count).clone() for name, (sums, count) in inputs.items()})
        if not last:
            with torch.inference_mode():
                states = _run(block, states, rotations, batches, last)


def _run(
    block: Block,
    states: Sequence[torch.Tensor],
    rotations: Sequence[Rotation],
    batches: Sequence[Packed],
    last: bool,
) -> list[torch.Tensor]:
    # Of the last block only the pooled tokens' states are used.
    step = block.pooled if last else block
    return [step(x, r, batch) for x, r, batch in zip(states, rotations, batches, strict=True)]


@contextmanager
def _summed(block: Block) -> Iterator[dict[str, tuple[torch.Tensor, int]]]:
    """Sums over tokens of the outer products of every matrix's inputs, while the block runs."""
    sums: dict[str, tuple[torch.Tensor, int]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def see(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            rows = given[0].reshape(-1, given[0].shape[-1]).float()
            before, count = sums.get(name, (torch.zeros(rows.shape[1], rows.shape[1]), 0))
            sums[name] = (before + rows.T @ rows, count + len(rows))

        return see

    handles = [
        module.register_forward_pre_hook(watch(name))
        for name, module in block.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        yield sums
    finally:
        for handle in handles:
            handle.remove()


def _batches(sequences: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    batch: list[Sequence[int]] = []
    tokens = 0
    for sequence in sequences:
        if batch and tokens + len(sequence) > _TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(sequence)
        tokens += len(sequence)
    if batch:
        yield batch
