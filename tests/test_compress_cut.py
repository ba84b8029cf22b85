"""What is cut from a network adds least, and what is left computes the same."""

from __future__ import annotations

import pytest
import torch

from lingxi.compress import cut, narrow
from lingxi.compress.bill import cost_of
from lingxi.compress.contributions import of_cosine, of_verdict, removals, weigh
from lingxi.compress.settings import ShapeSettings
from lingxi.engine.run import pooled_states
from lingxi.errors import InputError
from lingxi.model.encoder import Encoder
from toys import (
    assert_mendable,
    decoder_of,
    gap,
    random_ids,
    random_state,
    toy_decoder,
    toy_encoder,
    toy_size,
    unit,
)

SEQUENCES = random_ids((3, 9, 9, 17, 30), 512)


def rebuilt(network, plan: cut.Plan):
    size, state = cut.cut_size(network.size, plan), cut.cut_state(network.state_dict(), network.size, plan)
    if isinstance(network, Encoder):
        with torch.device("meta"):
            out = Encoder(size)
        out.load_state_dict(state, assign=True)
        return out.eval()
    return decoder_of(size, state)


@pytest.mark.parametrize("network", [toy_decoder(layers=3), toy_encoder()], ids=["decoder", "encoder"])
def test_heads_neurons_and_layers_that_add_nothing_are_those_cut(network):
    """Silenced parts have no weight in the measure, and without them the vectors are the same."""
    decoder = not isinstance(network, Encoder)
    with torch.no_grad():
        for block in network.layers:
            out = block.mlp.down_proj if decoder else block.output.dense
            out.weight[:, 5:41] = 0
            if decoder:  # the first key–value group: two query heads of 32
                block.self_attn.o_proj.weight[:, :64] = 0
    found = weigh(network, SEQUENCES)
    shape = ShapeSettings(intermediate=out.in_features - 36, heads=2 if decoder else None)
    plan = cut.plan_of(network.size, found, range(3), shape)
    assert all(set(kept).isdisjoint(range(5, 41)) for kept in plan.neurons)
    assert not decoder or plan.groups == ((1,),) * 3
    small = rebuilt(network, plan)
    assert gap(pooled_states(small, SEQUENCES), pooled_states(network, SEQUENCES)) < 1e-4
    assert small.size.parameters() == sum(p.numel() for p in small.parameters())
    assert cost_of(small.size).network < cost_of(network.size).network


def test_the_layer_left_out_is_the_one_that_does_nothing():
    decoder = toy_decoder(layers=4)
    with torch.no_grad():
        decoder.layers[2].self_attn.o_proj.weight.zero_()
        decoder.layers[2].mlp.down_proj.weight.zero_()
    gone = removals(decoder, SEQUENCES, of_cosine, keep=2)
    assert gone[0].layer == 2 and gone[0].loss < 1e-6 < gone[1].loss
    assert weigh(decoder, SEQUENCES).influence[2] < 1e-6
    # The network itself is as it was.
    assert len(decoder.layers) == decoder.size.layers == 4


def test_a_rerankers_layers_are_weighed_by_its_verdicts():
    row = torch.zeros(64)
    row[0] = 1.0
    states = torch.randn(20, 64)
    other = states.clone()
    other[:, 1:] = 0
    assert of_verdict(row)(states, other) == pytest.approx(0, abs=1e-6)
    assert of_verdict(row)(states, -states) == pytest.approx(2, abs=1e-6)


def test_an_encoders_heads_and_groups_that_do_not_divide_are_refused():
    found = weigh(toy_encoder(), SEQUENCES)
    with pytest.raises(InputError) as refused:
        cut.plan_of(toy_encoder().size, found, range(3), ShapeSettings(heads=2))
    assert_mendable(refused.value, "encoder", "shape.heads")
    decoder = toy_decoder()
    with pytest.raises(InputError) as refused:
        cut.plan_of(decoder.size, weigh(decoder, SEQUENCES), range(2), ShapeSettings(heads=3))
    assert_mendable(refused.value, "multiple of 2")


@pytest.mark.parametrize("by", ["rotation", "importance"])
def test_a_stream_turned_but_not_cut_gives_the_same_vectors(by):
    size = toy_size()
    state = random_state(size)
    state["norm.weight"] = torch.full((64,), 0.7)
    wide = decoder_of(size, state)
    basis = narrow.basis_of(weigh(wide, SEQUENCES).covariance, 64, by)
    assert basis.share == pytest.approx(1.0, abs=1e-5)
    turned = decoder_of(narrow.narrow_size(size, 64), narrow.narrow_state(state, size, basis))
    assert gap(pooled_states(turned, SEQUENCES), pooled_states(wide, SEQUENCES) @ basis.axes) < 1e-3


@pytest.mark.parametrize("by", ["rotation", "importance"])
def test_a_stream_that_lies_in_few_components_loses_nothing_by_the_cut(by):
    size, state = toy_size(), random_state(toy_size())
    for name, tensor in state.items():
        if "embed" in name:
            tensor[:, 40:] = 0
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor[40:] = 0
    if by == "rotation":
        state["norm.weight"] = torch.ones(64)
    wide = decoder_of(size, state)
    basis = narrow.basis_of(weigh(wide, SEQUENCES).covariance, 40, by)
    small = decoder_of(narrow.narrow_size(size, 40), narrow.narrow_state(state, size, basis))
    wanted = pooled_states(wide, SEQUENCES) @ basis.axes
    assert gap(unit(pooled_states(small, SEQUENCES)), unit(wanted)) < 1e-3


def test_the_width_of_an_encoder_is_refused():
    with pytest.raises(InputError) as refused:
        narrow.narrow_size(toy_encoder().size, 16)
    assert_mendable(refused.value, "shape.width")
