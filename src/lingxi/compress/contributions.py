"""What each layer, head and neuron of a network does on real texts: the measure by which they are kept.

Layers: what the vectors (or verdicts) lose where one is left out, and the block influence of ShortGPT
(arXiv 2403.03853), 1 − cosine of the states before and after it. Heads and neurons: the mean length of what
they add to the hidden state, |activation| · ‖column of the output matrix‖ (Wanda, arXiv 2306.11695, summed
over a column).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn

from lingxi.engine.batches import by_budget
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder
from lingxi.model.packed import Packed, pack

Network = Decoder | Encoder
Ids = Sequence[int]
Loss = Callable[[torch.Tensor, torch.Tensor], float]
"""What is lost from the pooled states [n, hidden] of the whole network to those of a part of it."""
_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Contributions:
    """Measures of a network on some texts.

    `influence` is the block influence of each layer; `heads[l]` [heads] and `neurons[l]` [intermediate] the
    mean length of what each adds; `covariance` [hidden, hidden] of the states between blocks, each of
    unit length.
    """

    influence: tuple[float, ...]
    heads: tuple[torch.Tensor, ...]
    neurons: tuple[torch.Tensor, ...]
    covariance: torch.Tensor


@dataclass(frozen=True, slots=True)
class Removal:
    """One layer left out after those before it: its number, and the loss of all of them together."""

    layer: int
    loss: float


def of_cosine(whole: torch.Tensor, part: torch.Tensor) -> float:
    """Loss of an embedder: mean of 1 − cosine."""
    return float((1 - torch.cosine_similarity(whole, part, dim=-1)).mean())


def of_verdict(answer_row: torch.Tensor) -> Loss:
    """Loss of a reranker with this row of yes less no: 1 − correlation of its logits."""

    def loss(whole: torch.Tensor, part: torch.Tensor) -> float:
        both = torch.stack((whole @ answer_row, part @ answer_row)).double()
        centred = both - both.mean(1, keepdim=True)
        found = torch.cosine_similarity(centred[0], centred[1], dim=0)
        return 1 - float(found)

    return loss


@torch.no_grad()
def weigh(network: Network, sequences: Sequence[Ids]) -> Contributions:
    """Measure all layers, heads and neurons in two passes over the sequences."""
    blocks = list(network.layers)
    inputs = [_outputs(network, block) for block in blocks]
    sums = [_Sums(out, _parts(network, out)) for out, _ in inputs]
    wide = [_Sums(out, out.in_features) for _, out in inputs]
    with _hooked([(each.linear, each) for each in (*sums, *wide)]):
        for packed in _batches(sequences, network.device):
            network(packed)
    flow = _Flow(network.hidden, len(blocks))
    with _flowing(blocks, flow):
        for packed in _batches(sequences, network.device):
            network.states(packed)
    return Contributions(
        tuple(flow.influence()),
        tuple(each.lengths() for each in sums),
        tuple(each.lengths() for each in wide),
        flow.covariance / flow.tokens,
    )


@torch.no_grad()
def removals(network: Network, sequences: Sequence[Ids], loss: Loss, keep: int) -> list[Removal]:
    """Leave out layers one by one, always the one that costs least beside those already gone, to `keep`."""
    whole = _pooled(network, sequences)
    left = list(range(len(network.layers)))
    found: list[Removal] = []
    while len(left) > keep:
        losses = {i: loss(whole, _pooled(with_layers(network, _less(left, i)), sequences)) for i in left}
        worst = min(losses, key=losses.__getitem__)
        found.append(Removal(worst, losses[worst]))
        left.remove(worst)
    return found


def _less(layers: Sequence[int], one: int) -> list[int]:
    return [layer for layer in layers if layer != one]


def with_layers(network: Network, layers: Sequence[int]) -> Network:
    """The same network, weights shared, of these layers alone."""
    out = _shallow(network)
    kept = nn.ModuleList([network.layers[i] for i in layers])
    if isinstance(out, Decoder):
        windowed = tuple(out.size.windowed[i] for i in layers) if out.size.windowed else ()
        out.size = replace(out.size, layers=len(layers), windowed=windowed)
        out.layers = kept
    else:
        out.size = replace(out.size, layers=len(layers))
        out.encoder = cast(Any, _shallow(out.encoder))
        out.encoder.layer = kept
    return cast(Network, out)


def _shallow(module: Any) -> Any:
    out = copy.copy(module)
    # A copied module shares its table of parts with the original: setting one would set both.
    out._modules = dict(module._modules)
    return out


def _pooled(network: Network, sequences: Sequence[Ids]) -> torch.Tensor:
    return torch.cat([network(packed).float() for packed in _batches(sequences, network.device)])


def _batches(sequences: Sequence[Ids], device: torch.device) -> Iterator[Packed]:
    ordered = sorted(sequences, key=len, reverse=True)
    for part in by_budget([len(s) for s in ordered], _TOKENS):
        yield pack([ordered[i] for i in part], device)


def _outputs(network: Network, block: Any) -> tuple[nn.Linear, nn.Linear]:
    """The output matrices of a block's attention and of its feed-forward layer."""
    if isinstance(network, Decoder):
        return block.self_attn.o_proj, block.mlp.down_proj
    return block.attention["output"].dense, block.output.dense


def _parts(network: Network, out: nn.Linear) -> int:
    return network.size.heads


class _Sums:
    """Adds up how long what each of `parts` equal slices of a linear's input adds to its output is."""

    def __init__(self, linear: nn.Linear, parts: int) -> None:
        self.linear, self.parts = linear, parts
        self.total = torch.zeros(parts, dtype=torch.float64)
        self.tokens = 0

    def __call__(self, x: torch.Tensor) -> None:
        """Read one input [tokens, features]."""
        self.tokens += len(x)
        if self.parts == self.linear.in_features:
            self.total += x.abs().sum(0).double().cpu()
            return
        columns = self.linear.weight.chunk(self.parts, dim=1)
        slices = x.chunk(self.parts, dim=1)
        added = [(part @ w.T).norm(dim=1).sum() for part, w in zip(slices, columns, strict=True)]
        self.total += torch.stack(added).double().cpu()

    def lengths(self) -> torch.Tensor:
        """Mean length that each part adds, fp32 [parts]."""
        mean = self.total / max(self.tokens, 1)
        if self.parts == self.linear.in_features:
            mean = mean * self.linear.weight.norm(dim=0).double().cpu()
        return mean.float()


class _Flow:
    """What the states are between blocks: how far each block turns them, and where they vary."""

    def __init__(self, hidden: int, layers: int) -> None:
        self.covariance = torch.zeros(hidden, hidden)
        self.turned = torch.zeros(layers, dtype=torch.float64)
        self.seen = torch.zeros(layers, dtype=torch.float64)
        self.tokens = 0

    def add(self, layer: int, before: torch.Tensor, after: torch.Tensor) -> None:
        """Read one block's states [tokens, hidden]."""
        self.turned[layer] += float((1 - torch.cosine_similarity(before, after, dim=-1)).sum())
        self.seen[layer] += len(before)
        for states in (before, after) if layer == 0 else (after,):
            unit = nn.functional.normalize(states.float(), dim=-1)
            self.covariance += (unit.T @ unit).cpu()
            self.tokens += len(unit)

    def influence(self) -> list[float]:
        """Mean of 1 − cosine of the states before and after each block."""
        return [float(x) for x in self.turned / self.seen.clamp(min=1)]


@contextmanager
def _hooked(pairs: Sequence[tuple[nn.Module, Callable[[torch.Tensor], None]]]) -> Iterator[None]:
    """While open, each module's input is told to its listener."""

    def told(listener: Callable[[torch.Tensor], None]) -> Callable[[nn.Module, Any], None]:
        return lambda module, args: listener(args[0])

    handles = [module.register_forward_pre_hook(told(listener)) for module, listener in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _flowing(blocks: Sequence[nn.Module], flow: _Flow) -> Iterator[None]:
    """While open, what goes into each block and comes out of it is told to `flow`."""

    def told(layer: int) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, args, out: flow.add(layer, args[0], out)

    handles = [block.register_forward_hook(told(i)) for i, block in enumerate(blocks)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
