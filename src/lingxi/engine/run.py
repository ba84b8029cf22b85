"""Run sequences of ids through a network: batches in, pooled states out, in the order given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Protocol, TypeGuard, cast

import numpy as np
import torch
from numpy.typing import NDArray

from lingxi.engine.batches import Ids, by_budget
from lingxi.engine.tree import Batch, Node, plan
from lingxi.model.decoder import Prefix
from lingxi.model.packed import Packed, Visual, pack
from lingxi.model.pooling import Pooling

# Tokens computed at a time. On a CPU the activations of one block should stay near the cache;
# a GPU wants enough work to be busy.
_CPU_BUDGET = 4096
_CUDA_BUDGET = 65536


class Network(Protocol):
    """Anything that computes states of packed ids."""

    @property
    def hidden(self) -> int:
        """Width of the states."""

    @property
    def device(self) -> torch.device:
        """Where ids have to lie."""

    @property
    def pooling(self) -> Pooling:
        """Which states of a sequence make its vector."""

    def __call__(self, packed: Packed, prefix: Prefix | None = None) -> torch.Tensor:
        """Pooled, normed states [sequences, hidden]; with a prefix, of sequences that continue it."""

    def states(self, packed: Packed) -> torch.Tensor:
        """Final normed states of all tokens, [tokens, hidden]."""


class CausalNetwork(Network, Protocol):
    """A network whose tokens see only what stands before them: what sequences share is computed once."""

    def prefix(self, ids: list[int], after: Prefix | None = None, visual: Visual | None = None) -> Prefix:
        """What sequences that begin with these ids and pictures (after those of `after`) need of them."""


def is_causal(network: Network) -> TypeGuard[CausalNetwork]:
    """Whether a prefix may be continued: not by an encoder, nor where what follows changes the pool."""
    return callable(getattr(network, "prefix", None)) and getattr(network, "continues", True)


def default_budget(device: torch.device) -> int:
    """Tokens a batch on that device, where nobody measured."""
    return _CPU_BUDGET if device.type == "cpu" else _CUDA_BUDGET


def pooled_states(
    network: Network | Sequence[Network],
    sequences: Sequence[Ids],
    *,
    budget: int | None = None,
    share_prefix: bool = True,
    done: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Final normed state of each sequence (of its last token, or as the network pools), fp32 [n, hidden].

    What many sequences begin with is computed once (`engine.tree`), by a causal network. Several
    networks, equal and each on its own device, take batches in turn, a thread each. `budget` is the
    tokens of a batch; `done` is told the number of sequences finished after each. States are on the CPU.
    """
    networks = list(network) if isinstance(network, Sequence) else [network]
    out = torch.empty(len(sequences), networks[0].hidden)
    room = budget or default_budget(networks[0].device)
    batches = plan(sequences, room, share=share_prefix and all(map(is_causal, networks)))
    if len(networks) == 1:
        _work(networks[0], sequences, batches, out, done)
        return out
    shared = _Taking(batches, done)
    with ThreadPoolExecutor(len(networks), "lingxi-device") as pool:
        work = [pool.submit(_work, n, sequences, shared, out, shared.done) for n in networks]
    for finished in work:
        finished.result()
    return out


@torch.inference_mode()
def token_states(
    network: Network, sequences: Sequence[Ids], *, budget: int | None = None
) -> list[NDArray[np.float32]]:
    """Final normed states of all tokens, fp32 [tokens, width] a sequence, before pooling and heads."""
    out: dict[int, NDArray[np.float32]] = {}
    lengths = [len(ids) for ids in sequences]
    for batch in by_budget(lengths, budget or default_budget(network.device)):
        states = network.states(pack([sequences[i] for i in batch], network.device)).float().cpu()
        parts = torch.split(states, [lengths[i] for i in batch])
        # Copies: a view would keep the states of the whole batch.
        out |= {i: part.numpy().copy() for i, part in zip(batch, parts, strict=True)}
    return [out[i] for i in range(len(sequences))]


@torch.inference_mode()
def _work(
    network: Network,
    sequences: Sequence[Ids],
    batches: Iterator[Batch],
    out: torch.Tensor,
    done: Callable[[int], None] | None,
) -> None:
    """Run batches until there are no more; each writes its own rows of `out`."""

    def begun(node: Node, before: Prefix | None) -> Prefix:
        ids = list(sequences[node.of][before.length if before else 0 : node.length])
        return cast(CausalNetwork, network).prefix(ids, before)

    prefixes = Prefixes(begun)
    for batch in batches:
        prefix = prefixes.of(batch.node)
        start = prefix.length if prefix else 0
        packed = pack([sequences[i][start:] for i in batch.members], network.device)
        out[batch.members] = network(packed, prefix).float().cpu()
        if done:
            done(len(batch.members))


class Prefixes:
    """The prefixes on the way to the node in work, and no others; `begin` makes one after the one before."""

    def __init__(self, begin: Callable[[Node, Prefix | None], Prefix]) -> None:
        self._begin = begin
        self._held: list[tuple[Node, Prefix]] = []

    def of(self, node: Node | None) -> Prefix | None:
        """What a batch below a node continues, None for one below none."""
        path = node.path() if node else []
        while self._held and not any(self._held[-1][0] is step for step in path):
            self._held.pop()
        for step in path[len(self._held) :]:
            before = self._held[-1][1] if self._held else None
            self._held.append((step, self._begin(step, before)))
        return self._held[-1][1] if self._held else None


class _Taking:
    """Batches for several threads, each batch for one of them."""

    def __init__(self, batches: Iterator[Batch], done: Callable[[int], None] | None) -> None:
        self._batches = batches
        self._done = done
        self._lock = Lock()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        with self._lock:
            return next(self._batches)

    def done(self, count: int) -> None:
        if self._done:
            with self._lock:
                self._done(count)
