"""One step is one step: cached, packed, prefix shared, split over processes, it gives the same gradient."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from lingxi.train import gradcache
from lingxi.train.checkpoints import ema_state
from lingxi.train.encoders import encoder_of, recompute
from lingxi.train.gradcache import cached_step, plain_step, plan_of
from lingxi.train.parallel import ALONE, joined
from test_transformers import padded, reference_of
from toy_steps import INSTRUCTION, drawn, fresh_decoder, loss_of, objective_of
from toys import gap, random_ids, random_state, toy_encoder, toy_size
from two_ranks import an_encoders_step, some_steps, with_a_head

TOLERANCE = 1e-5
TESTS = Path(__file__).parent
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def reference() -> State:
    """Loss and gradients of one step by transformers' network: padded on the right, all at once."""
    model = reference_of(toy_size(), {n: t.clone() for n, t in random_state(toy_size()).items()})
    model.train().requires_grad_(True)
    ids, mask = padded(drawn(np.random.default_rng(3)), "right")
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    states = hidden[torch.arange(len(ids)), mask.sum(1) - 1]
    loss, _ = loss_of(states, model.embed_tokens.weight)
    loss.backward()
    return {**{n: p.grad for n, p in model.named_parameters()}, "loss": loss.detach()}


def step_of(decoder: Any, limit: int | None, **options: Any) -> State:
    step = cached_step(encoder_of(decoder, **options), objective_of(decoder), limit)
    figures = step(np.random.default_rng(3))
    return {
        **{n: p.grad for n, p in decoder.named_parameters()},
        "loss": torch.tensor(figures["loss"]),
    }


def assert_equal(found: State, expected: State, tolerance: float = TOLERANCE) -> None:
    assert found.keys() == expected.keys()
    gaps = {name: gap(found[name], expected[name]) for name in expected}
    worst = max(gaps, key=lambda name: gaps[name])
    assert gaps[worst] <= tolerance, f"{worst}: {gaps[worst]}"


# --- one process ---------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, 1000, 200, 64, 1])
def test_a_step_equals_a_padded_one(reference: State, limit: int | None) -> None:
    assert_equal(step_of(fresh_decoder(), limit), reference)


def test_a_step_without_a_shared_prefix_equals_it_too(
    reference: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradcache, "_PREFIX_SAVING", 10**9)
    assert_equal(step_of(fresh_decoder(), 64), reference)
    assert_equal(step_of(fresh_decoder(), None), reference)


def test_the_toy_batch_has_what_it_tests() -> None:
    (chunks,) = plan_of(drawn(np.random.default_rng(3)), 64, 1)
    assert len(chunks) > 4
    assert {chunk.shared for chunk in chunks} == {0, len(INSTRUCTION)}


@pytest.mark.parametrize("limit", [None, 64])
def test_activations_computed_again_change_nothing(reference: State, limit: int | None) -> None:
    decoder = fresh_decoder()
    recompute(decoder)
    assert_equal(step_of(decoder, limit), reference)


def test_one_chunk_is_encoded_once() -> None:
    decoder, passes = fresh_decoder(), []
    encode = encoder_of(decoder)

    def counting(sequences: list[list[int]], shared: int = 0) -> torch.Tensor:
        passes.append(torch.is_grad_enabled())
        return encode(sequences, shared)

    plain_step(counting, objective_of(decoder))(np.random.default_rng(0))
    cached_step(counting, objective_of(decoder), 10_000)(np.random.default_rng(0))
    assert passes == [True] * 4, "queries and texts, twice"
    passes.clear()
    cached_step(counting, objective_of(decoder), 100)(np.random.default_rng(0))
    assert passes == [False] * (len(passes) // 2) + [True] * (len(passes) // 2)


def test_half_precision_comes_near(reference: State) -> None:
    found = step_of(fresh_decoder(), 64, amp=torch.bfloat16)
    assert gap(found["loss"], reference["loss"]) < 0.02 * float(reference["loss"])
    for name, grad in reference.items():
        if grad.dim() == 2:
            cosine = torch.cosine_similarity(grad.flatten(), found[name].flatten(), dim=0)
            assert cosine > 0.98, name
    assert gap(found["norm.weight"], reference["norm.weight"]) > 0


def test_dropout_falls_alike_in_both_passes() -> None:
    decoder = fresh_decoder()
    encode = encoder_of(decoder)
    seen: list[torch.Tensor] = []

    def dropped(sequences: list[list[int]], shared: int = 0) -> torch.Tensor:
        states = torch.nn.functional.dropout(encode(sequences, shared), 0.5)
        seen.append(states.detach())
        return states

    cached_step(dropped, objective_of(decoder), 64)(np.random.default_rng(0))
    half = len(seen) // 2
    assert all(torch.equal(a, b) for a, b in zip(seen[:half], seen[half:], strict=True))
    assert not torch.equal(seen[0][:1] == 0, seen[1][:1] == 0)


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=30),
    st.sampled_from([None, 1, 30, 100]),
    st.integers(1, 5),
    st.integers(0, 30),
)
def test_a_plan_encodes_every_sequence_once_in_as_many_passes_on_each_rank(
    lengths: list[int], limit: int | None, ranks: int, asked: int
) -> None:
    sequences = [INSTRUCTION * (i < asked) + ids for i, ids in enumerate(random_ids(lengths, 512))]
    plan = plan_of(sequences, limit, ranks)
    assert sorted(i for chunks in plan for c in chunks for i in c.members) == list(range(len(sequences)))
    assert len({len(chunks) for chunks in plan}) == 1
    for passes in zip(*plan, strict=True):
        assert len({c.shared for c in passes}) == 1
        for chunk in passes:
            ids = [sequences[i] for i in (chunk.members or [chunk.stand_in])]
            assert len({tuple(s[: chunk.shared]) for s in ids}) == 1
            tokens = chunk.shared + sum(len(s) - chunk.shared for s in ids)
            assert limit is None or len(ids) == 1 or tokens <= limit


def test_without_torchrun_there_is_one_rank() -> None:
    with joined("cpu") as ranks:
        assert ranks == ALONE


# --- two processes -------------------------------------------------------------------------------


def in_two_processes(out: Path, *more: str) -> Path:
    """Run `two_ranks.py` twice, with the environment that torchrun gives; a warning is an error."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join([str(TESTS), *sys.path])
    common = {**os.environ, "PYTHONPATH": paths, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "error::UserWarning", TESTS / "two_ranks.py", out, *more],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(errors)
    return out


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return in_two_processes(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def two_more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return in_two_processes(tmp_path_factory.mktemp("more"), "more")


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("name", ["whole", "chunks"])
def test_two_processes_take_the_same_step(reference: State, two: Path, name: str, rank: int) -> None:
    assert_equal(load_file(two / f"{name}-{rank}.safetensors"), reference)


@pytest.fixture(scope="module")
def bert() -> State:
    """Loss and gradients of one step by transformers' BERT: padded on the right, all at once."""
    from transformers import BertConfig, BertModel

    mine = toy_encoder(max_positions=128)
    s = mine.size
    config = BertConfig(
        vocab_size=s.vocab,
        hidden_size=s.hidden,
        num_hidden_layers=s.layers,
        num_attention_heads=s.heads,
        intermediate_size=s.intermediate,
        max_position_embeddings=s.max_positions,
        layer_norm_eps=s.norm_eps,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertModel(config, add_pooling_layer=False).train()
    model.load_state_dict(mine.state_dict(), strict=False)
    ids, mask = padded(drawn(np.random.default_rng(3)), "right")
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    states = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    loss, _ = loss_of(states, model.embeddings.word_embeddings.weight)
    loss.backward()
    return {**{n: p.grad for n, p in model.named_parameters()}, "loss": loss.detach()}


@pytest.mark.parametrize("limit", [None, 200, 1])
def test_a_step_of_an_encoder_equals_a_padded_one(bert: State, limit: int | None, tmp_path: Path) -> None:
    an_encoders_step("alone", limit, tmp_path, ALONE)
    assert_equal(load_file(tmp_path / "alone-0.safetensors"), bert)


@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_take_an_encoders_step_alike(bert: State, two: Path, rank: int) -> None:
    assert_equal(load_file(two / f"encoder-{rank}.safetensors"), bert)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("name", ["one-each", "recomputed"])
def test_so_they_do_in_small_chunks_and_computed_again(
    reference: State, two_more: Path, name: str, rank: int
) -> None:
    assert_equal(load_file(two_more / f"{name}-{rank}.safetensors"), reference)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one")
    some_steps(out, ALONE)
    return out


def rows_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_reach_the_loss_of_one(one: Path, two_more: Path) -> None:
    alone, together = rows_of(one), rows_of(two_more / "run")
    assert [row["step"] for row in together] == list(range(4))
    for key in ("loss", "gradient_norm", "tokens"):
        assert [row[key] for row in together] == pytest.approx([row[key] for row in alone], rel=1e-4)
    # Where a gradient is nearly nothing, Adam makes a whole step of its rounding.
    final = load_file(two_more / "run" / "final.safetensors")
    assert_equal(final, load_file(one / "final.safetensors"), 1e-3)


def test_one_process_goes_on_where_two_stopped(one: Path, two: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(two / "stopped", tmp_path / "run")
    assert [row["step"] for row in rows_of(folder)] == [0, 1, 2]
    some_steps(folder, ALONE)
    rows = rows_of(folder)
    assert [row["step"] for row in rows] == list(range(4))
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in rows_of(one)], rel=1e-4)
    assert_equal(load_file(folder / "final.safetensors"), load_file(one / "final.safetensors"), 1e-3)
    average = ema_state(folder)
    assert_equal(average, ema_state(one), 1e-3)


def test_a_head_that_is_not_split_is_trained_and_probed_beside_what_is(two: Path, tmp_path: Path) -> None:
    with_a_head(tmp_path, ALONE)
    alone, together = rows_of(tmp_path), rows_of(two / "head")
    for key in ("loss", "gradient_norm"):
        assert [row[key] for row in together] == pytest.approx([row[key] for row in alone], rel=1e-4)
    found, expected = (load_file(folder / "final.safetensors") for folder in (two / "head", tmp_path))
    assert_equal(found, expected, 1e-3)
    # Rows that no answer reads have no gradient, and do not fade.
    begun = torch.randn(512, found["head"].shape[1], generator=torch.Generator().manual_seed(1))
    assert torch.equal(found["head"][100:], begun[100:])
    assert not torch.equal(found["head"][9], begun[9])


@pytest.mark.slow
def test_torchrun_starts_three(tmp_path: Path, reference: State) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    subprocess.run(
        [sys.executable, *command, TESTS / "two_ranks.py", tmp_path], check=True, env=environment, timeout=300
    )
    for rank in range(3):
        assert_equal(load_file(tmp_path / f"chunks-{rank}.safetensors"), reference)
