"""What sequences share is computed once, and nothing else changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lingxi.engine.run import is_causal, pooled_states
from lingxi.engine.tree import Batch, plan
from lingxi.model.decoder import Decoder, Prefix
from lingxi.model.packed import Packed, pack
from toys import gap, random_ids, toy_decoder

DECODER = toy_decoder(hidden=32, head_dim=16, intermediate=48, vocab=64)
TOLERANCE = 1e-5


@st.composite
def trees(draw: st.DrawFn) -> list[list[int]]:
    """Sequences that continue one another's beginnings, in any order, some equal, some alone."""
    sequences = random_ids(draw(st.lists(st.integers(1, 90), min_size=1, max_size=4)), 64, seed=1)
    for seed in range(draw(st.integers(0, 24))):
        of = sequences[draw(st.integers(0, len(sequences) - 1))]
        own = random_ids([draw(st.integers(0, 30))], 64, seed=seed)[0]
        sequences.append(of[: draw(st.integers(1, len(of)))] + own)
    return draw(st.permutations(sequences))


@dataclass
class Counting:
    """A decoder that notes how many tokens it was given."""

    of: Decoder
    tokens: int = 0
    prefixes: list[int] = field(default_factory=list)

    hidden = property(lambda self: self.of.hidden)
    device = property(lambda self: self.of.device)

    def __call__(self, packed: Packed, prefix: Prefix | None = None) -> torch.Tensor:
        self.tokens += len(packed.ids)
        found: torch.Tensor = self.of(packed, prefix)
        return found

    def states(self, packed: Packed) -> torch.Tensor:
        return self.of.states(packed)

    def prefix(self, ids: list[int], after: Prefix | None = None) -> Prefix:
        self.tokens += len(ids)
        self.prefixes.append(len(ids))
        return self.of.prefix(ids, after)


@dataclass
class Bidirectional:
    """A network that offers no prefix."""

    of: Decoder

    hidden = property(lambda self: self.of.hidden)
    device = property(lambda self: self.of.device)

    def __call__(self, packed: Packed, prefix: Prefix | None = None) -> torch.Tensor:
        assert prefix is None
        found: torch.Tensor = self.of(packed)
        return found

    def states(self, packed: Packed) -> torch.Tensor:
        return self.of.states(packed)


def rerank_like(queries: int, documents: int, query: int = 30, document: int = 20) -> list[list[int]]:
    """Instruction + query + document, in no order."""
    instruction, *rest = random_ids([60, *[query] * queries, *[document] * queries * documents], 64)
    asked, read = rest[:queries], rest[queries:]
    return [instruction + asked[n % queries] + own for n, own in enumerate(read)]


def paths(batches: list[Batch]) -> list[tuple[int, ...]]:
    return [tuple(node.length for node in batch.node.path()) if batch.node else () for batch in batches]


@settings(max_examples=60, deadline=None)
@given(trees(), st.integers(1, 400))
def test_shared_or_not_the_states_are_the_same(sequences: list[list[int]], budget: int) -> None:
    expected = pooled_states(DECODER, sequences, share_prefix=False)
    assert gap(pooled_states(DECODER, sequences), expected) < TOLERANCE
    assert gap(pooled_states(DECODER, sequences, budget=budget), expected) < TOLERANCE
    both = pooled_states([DECODER, DECODER], sequences, budget=budget)
    assert gap(both, expected) < TOLERANCE


@settings(max_examples=200, deadline=None)
@given(trees(), st.integers(1, 400))
def test_a_plan_holds_each_sequence_once_within_the_budget(sequences: list[list[int]], budget: int) -> None:
    batches = list(plan(sequences, budget))
    assert sorted(i for b in batches for i in b.members) == list(range(len(sequences)))
    for batch in batches:
        start = batch.node.length if batch.node else 0
        assert start <= budget
        cost = [len(sequences[i]) - start + start // 4 for i in batch.members]
        assert len(cost) == 1 or sum(cost) <= budget
        for node in batch.node.path() if batch.node else []:
            begins = sequences[node.of][: node.length]
            assert all(sequences[i][: node.length] == begins for i in batch.members)
            assert all(len(sequences[i]) > node.length for i in batch.members)


@settings(max_examples=60, deadline=None)
@given(trees())
def test_sharing_never_computes_more(sequences: list[list[int]]) -> None:
    counting = Counting(DECODER)
    pooled_states(counting, sequences)
    assert counting.tokens <= sum(map(len, sequences))


def test_documents_share_the_instruction_and_their_query() -> None:
    sequences = rerank_like(queries=5, documents=6)
    counting = Counting(DECODER)
    found = pooled_states(counting, sequences)
    assert gap(found, pooled_states(DECODER, sequences, share_prefix=False)) < TOLERANCE
    assert sorted(counting.prefixes) == [30] * 5 + [60]
    assert counting.tokens == 60 + 5 * 30 + 30 * 20


def test_queries_of_few_documents_share_the_instruction_in_one_batch() -> None:
    batches = list(plan(rerank_like(queries=30, documents=2, query=10), 4096))
    assert paths(batches) == [(60,)]


def test_what_saves_little_is_not_shared() -> None:
    assert paths(list(plan([[1, 2, 3], [1, 2, 4], [1, 2, 5]], 4096))) == [()]


def test_depth_and_length_of_what_is_held_are_bounded() -> None:
    chain = [[7] * n for n in range(1, 1500)]
    batches = list(plan(chain, 512))
    assert max(map(len, paths(batches))) <= 4
    assert max(batch.node.length for batch in batches if batch.node) <= 512
    long = [ids * 2 for ids in random_ids([3000], 64)] * 3
    assert {path for p in paths(list(plan(long, 1000))) for path in p} == {1000}


def test_a_network_without_prefix_shares_nothing() -> None:
    network = Bidirectional(DECODER)
    sequences = rerank_like(queries=3, documents=4)
    assert not is_causal(network) and is_causal(DECODER)
    assert gap(pooled_states(network, sequences), pooled_states(DECODER, sequences)) < TOLERANCE


@pytest.mark.parametrize("cut", [1, 1040, 1299])
def test_a_prefix_can_continue_a_prefix(cut: int) -> None:
    ids, own = random_ids([1300, 7], 64)
    with torch.inference_mode():
        whole = DECODER.prefix(ids)
        pieces = DECODER.prefix(ids[cut:], DECODER.prefix(ids[:cut]))
        assert pieces.length == whole.length == 1300
        for (keys, values), (other_keys, other_values) in zip(whole.layers, pieces.layers, strict=True):
            assert gap(keys, other_keys) < TOLERANCE and gap(values, other_values) < TOLERANCE
        assert gap(DECODER(pack([own]), pieces), DECODER(pack([ids + own]))) < TOLERANCE


def test_several_networks_take_batches_in_turn() -> None:
    both = Barrier(2, timeout=60)

    class Meeting(Counting):
        def __call__(self, packed: Packed, prefix: Prefix | None = None) -> torch.Tensor:
            if not self.prefixes and not self.tokens:
                both.wait()  # neither starts before the other
            return super().__call__(packed, prefix)

    sequences = random_ids([20] * 48, 64)
    networks = [Meeting(DECODER), Meeting(toy_decoder(hidden=32, head_dim=16, intermediate=48, vocab=64))]
    told: list[int] = []
    found = pooled_states(networks, sequences, budget=80, done=told.append)
    assert gap(found, pooled_states(DECODER, sequences)) < TOLERANCE
    assert sum(told) == len(sequences)
    assert all(network.tokens for network in networks)


def test_an_error_in_one_device_is_told() -> None:
    class Broken(Counting):
        def __call__(self, *_: Any) -> torch.Tensor:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        pooled_states([Counting(DECODER), Broken(DECODER)], rerank_like(4, 8), budget=80)


def test_done_counts_every_sequence_once() -> None:
    told: Counter[str] = Counter()
    pooled_states(DECODER, rerank_like(3, 5), done=lambda n: told.update(n=n))
    assert told["n"] == 15
