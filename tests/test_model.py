"""The packed decoder: any packing gives the states each sequence has alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lingxi.engine.batches import by_budget, common_prefix
from lingxi.engine.devices import choose_device, choose_dtype
from lingxi.engine.run import pooled_states
from lingxi.errors import InputError, ModelError
from lingxi.model.decoder import Decoder
from lingxi.model.packed import pack
from lingxi.model.sizes import SIZES, config_from_size, matryoshka_dims, size_from_config, size_named
from toys import assert_mendable, decoder_of, gap, random_ids, random_state, toy_decoder, toy_size

DECODER = toy_decoder(hidden=32, head_dim=16, intermediate=48, vocab=64)
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=12)
TOLERANCE = 1e-5  # of states of about unit size


def alone(sequences: list[list[int]]) -> torch.Tensor:
    return torch.cat([pooled_states(DECODER, [s]) for s in sequences])


# --- packing -------------------------------------------------------------------------------------


@given(LENGTHS)
def test_pack_keeps_every_id_in_its_place(lengths: list[int]) -> None:
    sequences = random_ids(lengths, 64)
    packed = pack(sequences)
    ends = list(accumulate(lengths))
    assert packed.ids.tolist() == [i for s in sequences for i in s]
    assert packed.positions.tolist() == [p for n in lengths for p in range(n)]
    assert packed.last.tolist() == [end - 1 for end in ends]


@given(LENGTHS)
def test_runs_cover_the_batch_once(lengths: list[int]) -> None:
    runs = pack(random_ids(lengths, 64)).runs
    assert [run.length for run in runs for _ in range(run.count)] == lengths
    assert [i for run in runs for i in range(sum(lengths))[run.tokens]] == list(range(sum(lengths)))
    assert [i for run in runs for i in range(len(lengths))[run.sequences]] == list(range(len(lengths)))
    assert all(a.length != b.length for a, b in pairwise(runs))


@pytest.mark.parametrize("sequences", [[], [[]], [[1], []]])
def test_pack_refuses_the_empty_sequence(sequences: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        pack(sequences)


# --- batches -------------------------------------------------------------------------------------


@given(LENGTHS, st.integers(1, 200))
def test_batches_hold_each_index_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(by_budget(lengths, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or sum(lengths[i] for i in batch) <= budget
    ordered = [lengths[i] for batch in batches for i in batch]
    assert ordered == sorted(ordered, reverse=True)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=5))
def test_common_prefix_equals_the_slow_one(sequences: list[list[int]]) -> None:
    slow = 0
    for length in range(1, min(map(len, sequences))):
        if len({tuple(s[:length]) for s in sequences}) == 1:
            slow = length
    assert common_prefix(sequences) == slow


# --- the network ---------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.integers(0, 2**16), st.integers(1, 120))
def test_states_do_not_depend_on_the_batch(lengths: list[int], seed: int, budget: int) -> None:
    sequences = random_ids(lengths, 64)
    expected = alone(sequences)
    assert gap(pooled_states(DECODER, sequences), expected) < TOLERANCE
    assert gap(pooled_states(DECODER, sequences, budget=budget), expected) < TOLERANCE
    order = np.random.default_rng(seed).permutation(len(lengths)).tolist()
    assert gap(pooled_states(DECODER, [sequences[i] for i in order]), expected[order]) < TOLERANCE


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 90), st.lists(st.integers(1, 20), min_size=2, max_size=8))
def test_a_shared_prefix_changes_nothing(prefix: int, lengths: list[int]) -> None:
    (start,) = random_ids([prefix], 64, seed=1)
    sequences = [start + s for s in random_ids(lengths, 64)]
    shared = pooled_states(DECODER, sequences, share_prefix=True)
    assert gap(shared, pooled_states(DECODER, sequences, share_prefix=False)) < TOLERANCE
    assert gap(shared, alone(sequences)) < TOLERANCE


def test_identical_sequences_share_all_but_the_last_token() -> None:
    sequences = random_ids([50], 64) * 5
    assert gap(pooled_states(DECODER, sequences), alone(sequences)) < TOLERANCE


def test_a_later_token_never_changes_an_earlier_state() -> None:
    (ids,) = random_ids([30], 64)
    with torch.no_grad():
        keys, _ = DECODER.prefix(ids).layers[-1]
        shorter, _ = DECODER.prefix(ids[:20]).layers[-1]
    assert gap(keys[:20], shorter) < TOLERANCE


def test_wide_activations_in_pieces_are_the_same() -> None:
    sequences = random_ids([700, 900, 3], 64)
    assert gap(pooled_states(DECODER, sequences), alone(sequences)) < TOLERANCE


def test_done_counts_every_sequence() -> None:
    told: list[int] = []
    pooled_states(DECODER, random_ids([9, 3, 5, 5], 64), budget=9, done=told.append)
    assert sum(told) == 4 and len(told) > 1


def test_no_sequences_give_no_rows() -> None:
    assert pooled_states(DECODER, []).shape == (0, 32)


def test_every_parameter_learns() -> None:
    size = DECODER.size
    decoder = decoder_of(size, random_state(size)).requires_grad_(True)
    packed = pack(random_ids([5, 9, 9], size.vocab))
    states = decoder(packed)
    assert gap(states.detach(), alone(random_ids([5, 9, 9], size.vocab))) < TOLERANCE
    states.square().sum().backward()
    idle = [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.abs().any()]
    assert idle == []


def test_gradients_equal_finite_differences() -> None:
    size = replace(DECODER.size, hidden=8, heads=2, kv_heads=1, head_dim=4, intermediate=8, vocab=16)
    decoder = decoder_of(size, random_state(size)).double()
    weight = decoder.layers[0].mlp.gate_proj.weight.requires_grad_(True)
    packed = pack(random_ids([3, 5], size.vocab))

    def loss(w: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(decoder, {"layers.0.mlp.gate_proj.weight": w}, (packed,))

    assert torch.autograd.gradcheck(loss, (weight,))


# --- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("embedding-0.6B", 595_776_512),
        ("embedding-4B", 4_021_774_336),
        ("embedding-8B", 7_567_295_488),
        ("reranker-0.6B", 595_776_512),
        ("reranker-4B", 4_021_784_576),
    ],
)
def test_published_parameter_counts(name: str, parameters: int) -> None:
    assert size_named(name).parameters() == parameters
    with torch.device("meta"):
        assert sum(p.numel() for p in Decoder(size_named(name)).parameters()) == parameters


def test_the_untied_head_of_the_largest_reranker() -> None:
    size = size_named("reranker-8B")
    assert size.parameters() + size.vocab * size.hidden == 8_188_548_096
    assert not size.tied_head


@pytest.mark.parametrize("name", list(SIZES))
def test_a_config_reads_back(name: str) -> None:
    size = SIZES[name]
    assert size_from_config(config_from_size(size, end_id=0, dtype="float32"), "here") == size
    newer = config_from_size(size, end_id=0, dtype="float32")
    del newer["rope_theta"], newer["rope_scaling"]
    newer["rope_parameters"] = {"rope_type": "default", "rope_theta": size.rope_theta}
    assert size_from_config(newer, "here") == size


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "bert"}, "model_type"),
        ({"use_sliding_window": True}, "sliding_window"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, "yarn"),
        ({"hidden_size": None}, "config.json"),
        ({"num_hidden_layers": "many"}, "many"),
    ],
)
def test_a_config_that_is_not_computed_is_refused(change: dict[str, object], words: str) -> None:
    config = config_from_size(toy_size(), end_id=0, dtype="float32") | change
    with pytest.raises(ModelError) as caught:
        size_from_config(config, "here")
    assert_mendable(caught.value, "here", words)


def test_a_missing_field_is_named() -> None:
    config = config_from_size(toy_size(), end_id=0, dtype="float32")
    del config["intermediate_size"]
    with pytest.raises(ModelError) as caught:
        size_from_config(config, "here")
    assert_mendable(caught.value, "intermediate_size")


def test_matryoshka_widths() -> None:
    assert matryoshka_dims(1024) == [32, 64, 128, 256, 512, 1024]
    assert matryoshka_dims(384) == [32, 64, 128, 256, 384]


def test_unknown_names_are_answered() -> None:
    with pytest.raises(ModelError) as caught:
        size_named("13B")
    assert_mendable(caught.value, "13B", "pico")
    for choose in (lambda: choose_device("abacus"), lambda: choose_dtype("int3", torch.device("cpu"))):
        with pytest.raises(InputError) as refused:
            choose()
        assert_mendable(refused.value)


def test_number_types() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_dtype(None, torch.device("cpu")) == torch.float32
    assert choose_dtype(None, torch.device("cuda")) == torch.bfloat16
    assert choose_dtype("float16", torch.device("cpu")) == torch.float16
