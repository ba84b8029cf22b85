"""The loop: what it writes, where it stops, and that a run killed anywhere ends as one that was not."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lingxi.errors import TrainingError
from lingxi.model.packed import pack
from lingxi.train.checkpoints import ema_state, latest
from lingxi.train.encoders import encoder_of
from lingxi.train.gradcache import Figures, Step, cached_step
from lingxi.train.loop import Listener, Schedule, train
from toy_steps import fresh_decoder, objective_of
from toys import assert_mendable, gap, random_ids

TESTS = Path(__file__).parent
SCHEDULE = Schedule(8, 3e-3, 3e-3, 2, checkpoint_every=3, ema_decay=0.9)


def run(
    folder: Path, schedule: Schedule = SCHEDULE, *listeners: Listener, step: Step | None = None, seed: int = 0
) -> tuple[dict[str, torch.Tensor], Figures]:
    decoder = fresh_decoder()
    step = step or cached_step(encoder_of(decoder), objective_of(decoder), None)
    row = train(decoder, step, schedule, folder, seed, listeners=listeners)
    return {name: tensor.detach() for name, tensor in decoder.state_dict().items()}, row


def rows_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def stop_at(step: int) -> Listener:
    def listener(number: int, row: Figures) -> None:
        if number == step:
            raise KeyboardInterrupt

    return listener


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)[0]


# --- the log -------------------------------------------------------------------------------------


def test_the_log_says_what_each_step_did(whole: tuple[Path, Any]) -> None:
    rows = rows_of(whole[0])
    assert [row["step"] for row in rows] == list(range(8))
    told = {"step", "loss", "accuracy", "tokens", "tokens_per_second", "rate", "gradient_norm", "seconds"}
    assert set(rows[0]) == told
    assert [row["rate"] for row in rows] == pytest.approx([SCHEDULE.share(n) for n in range(8)], rel=1e-5)
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds) and seconds[0] > 0
    assert rows[0]["tokens_per_second"] == pytest.approx(rows[0]["tokens"] / seconds[0], rel=0.05)


def test_the_rate_rises_and_falls() -> None:
    shares = [Schedule(100, 1.0, 1.0, 10, 1).share(step) for step in range(100)]
    assert shares[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert 0.05 < shares[-1] < 0.06


def test_a_step_depends_on_the_seed_and_its_number_alone(tmp_path: Path) -> None:
    seen: list[int] = []
    module = torch.nn.Linear(2, 2)

    def step(rng: np.random.Generator) -> Figures:
        seen.append(int(rng.integers(2**40)) + int(torch.randint(2**40, (1,))))
        module(torch.ones(1, 2)).sum().backward()
        return {"loss": 1.0}

    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(module, step, Schedule(2, 1e-3, 1e-3, 0, 1), tmp_path / name, seed)
    assert seen[:2] == seen[2:4]
    assert len(set(seen)) == 4


def test_listeners_hear_each_row(tmp_path: Path) -> None:
    heard: list[tuple[int, Figures]] = []
    _, last = run(tmp_path, replace(SCHEDULE, steps=2), lambda number, row: heard.append((number, row)))
    assert [number for number, _ in heard] == [0, 1]
    assert [row for _, row in heard] == rows_of(tmp_path)
    assert last == heard[-1][1]


# --- stopping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 2, 4])
def test_resuming_equals_never_stopping(whole: tuple[Path, Any], tmp_path: Path, at: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, SCHEDULE, stop_at(at))
    state, row = run(tmp_path)
    assert equal(state, whole[1])
    assert equal(ema_state(tmp_path), ema_state(whole[0]))
    kept = [{k: v for k, v in row.items() if "second" not in k} for row in rows_of(tmp_path)]
    assert kept == [{k: v for k, v in row.items() if "second" not in k} for row in rows_of(whole[0])]
    assert run(tmp_path)[1] == row, "a finished run returns its last row and takes no step"


def test_half_a_row_of_the_log_is_dropped(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, SCHEDULE, stop_at(4))
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 5, "lo')
    run(tmp_path)
    assert [row["step"] for row in rows_of(tmp_path)] == list(range(8))


def worker(folder: Path, kill_at: int) -> subprocess.Popen[bytes]:
    """A process that trains until it kills itself in the middle of a step, without a word."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, str(Path(__file__)), str(folder), str(kill_at)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def test_a_run_killed_in_a_step_ends_as_one_that_was_not(whole: tuple[Path, Any], tmp_path: Path) -> None:
    assert worker(tmp_path, random.randrange(8)).wait(timeout=120) == -signal.SIGKILL
    assert equal(run(tmp_path)[0], whole[1])


@pytest.mark.slow
def test_runs_killed_at_any_moment_end_as_one_that_was_not(tmp_path: Path) -> None:
    """Killed from outside, often while a checkpoint is written: it is, at every step."""
    schedule = replace(SCHEDULE, steps=40, checkpoint_every=1)
    expected = run(tmp_path / "whole", schedule)[0]
    kills = 0
    while (process := worker(tmp_path / "killed", -1)).poll() is None:
        before = latest(tmp_path / "killed")
        while process.poll() is None and latest(tmp_path / "killed") == before:
            time.sleep(0.01)
        time.sleep(random.random() / 5)
        process.kill()
        if process.wait() == 0:
            break
        kills += 1
    assert kills >= 3
    assert equal(run(tmp_path / "killed", schedule)[0], expected)


@pytest.mark.parametrize("figure", ["loss", "accuracy"])
def test_a_figure_that_is_not_finite_stops_the_run_before_the_weights_change(
    tmp_path: Path, figure: str
) -> None:
    decoder = fresh_decoder()
    good = cached_step(encoder_of(decoder), objective_of(decoder), None)
    reached: list[dict[str, torch.Tensor]] = []

    def step(rng: np.random.Generator) -> Figures:
        reached.append({name: t.detach().clone() for name, t in decoder.state_dict().items()})
        return {**good(rng), **({figure: math.nan} if len(reached) == 5 else {})}

    with pytest.raises(TrainingError) as caught:
        train(decoder, step, SCHEDULE, tmp_path, 0)
    assert_mendable(caught.value, figure, "nan", "step 4", "checkpoint-00000003")
    assert equal({n: t.detach() for n, t in decoder.state_dict().items()}, reached[-1])
    assert len(rows_of(tmp_path)) == 4


def test_gradients_that_are_not_finite_stop_it_too(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)

    def step(rng: np.random.Generator) -> Figures:
        (module.weight.sum() * math.inf).backward()
        return {"loss": 1.0}

    with pytest.raises(TrainingError, match=r"gradient_norm is (nan|inf) at step 0.*no checkpoint yet"):
        train(module, step, Schedule(2, 1e-3, 1e-3, 0, 1), tmp_path, 0)


# --- checkpoints ---------------------------------------------------------------------------------


def test_one_checkpoint_is_kept_and_the_weights_that_were_named(whole: tuple[Path, Any], tmp_path) -> None:
    state, _ = run(tmp_path, replace(SCHEDULE, keep=(2, 8)))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoint-00000008", "log.jsonl", "weights-2.safetensors", "weights-8.safetensors"]
    assert equal(state, whole[1]), "keeping weights changes none"
    assert equal(load_file(tmp_path / "weights-8.safetensors"), state)
    assert not equal(load_file(tmp_path / "weights-2.safetensors"), state)
    assert {path.suffix for path in latest(tmp_path).iterdir()} == {".safetensors", ".json"}


def test_the_average_is_the_mean_of_the_weights_passed(tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, steps=3, checkpoint_every=1, ema_decay=0.5, keep=(1, 2, 3))
    expected = {name: t.detach().clone() for name, t in fresh_decoder().state_dict().items()}
    run(tmp_path, schedule)
    for step in range(3):
        weights = load_file(tmp_path / f"weights-{step + 1}.safetensors")
        share = max(0.5, 9 / (10 + step))
        expected = {n: (1 - share) * mean + share * weights[n] for n, mean in expected.items()}
    found = ema_state(tmp_path)
    assert max(gap(found[name], expected[name]) for name in expected) < 1e-6


def test_no_average_is_said_in_words(tmp_path: Path) -> None:
    run(tmp_path, replace(SCHEDULE, steps=1, ema_decay=None))
    with pytest.raises(TrainingError) as caught:
        ema_state(tmp_path)
    assert_mendable(caught.value, "`ema`")


def test_frozen_parameters_are_neither_trained_nor_stored(tmp_path: Path) -> None:
    decoder = fresh_decoder()
    decoder.embed_tokens.requires_grad_(False)
    before = decoder.embed_tokens.weight.clone()
    step = cached_step(encoder_of(decoder), objective_of(decoder), 100)
    train(decoder, step, replace(SCHEDULE, steps=2), tmp_path, 0)
    assert torch.equal(decoder.embed_tokens.weight, before)
    assert "embed_tokens.weight" not in load_file(latest(tmp_path) / "weights.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"learning_rate": 1e-3}, ("learning_rate", "0.003", "0.001")), ({"steps": 9}, ("steps", "8", "9"))],
)
def test_a_checkpoint_of_another_recipe_is_refused(
    whole: tuple[Path, Any], change: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(TrainingError) as caught:
        run(whole[0], replace(SCHEDULE, **change))
    assert_mendable(caught.value, *words)
    with pytest.raises(TrainingError, match="seed = 0, this run has seed = 1"):
        run(whole[0], seed=1)


def test_checkpoints_may_be_written_at_other_steps(whole: tuple[Path, Any]) -> None:
    run(whole[0], replace(SCHEDULE, checkpoint_every=5))


def test_a_checkpoint_of_another_shape_is_refused(whole: tuple[Path, Any]) -> None:
    with pytest.raises(TrainingError) as caught:
        train(torch.nn.Linear(2, 3), lambda rng: {}, SCHEDULE, whole[0], 0)
    assert_mendable(caught.value, "safetensors")


@pytest.mark.parametrize("name", ["state.json", "weights.safetensors", "moments.safetensors"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, name: str) -> None:
    run(tmp_path, replace(SCHEDULE, steps=1))
    (latest(tmp_path) / name).write_bytes(b"{")
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, replace(SCHEDULE, steps=1))
    assert_mendable(caught.value, name if name != "state.json" else "checkpoint-00000001", "damaged")


# --- the network ---------------------------------------------------------------------------------


def test_all_states_hold_the_pooled_ones() -> None:
    decoder = fresh_decoder()
    packed = pack(random_ids([5, 9, 9, 1], 512))
    with torch.no_grad():
        states, pooled = decoder.states(packed), decoder(packed)
    assert states.shape == (24, 64)
    assert gap(states[packed.last], pooled) < 1e-5


def _killed_in_a_step(folder: Path, at: int) -> None:
    torch.set_num_threads(1)
    decoder = fresh_decoder()
    objective = objective_of(decoder)
    taken = iter(range(10**6))

    def deadly(rng: np.random.Generator) -> Any:
        if next(taken) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return objective(rng)

    schedule = replace(SCHEDULE, steps=40, checkpoint_every=1) if at < 0 else SCHEDULE
    train(decoder, cached_step(encoder_of(decoder), deadly, None), schedule, folder, 0)


if __name__ == "__main__":
    _killed_in_a_step(Path(sys.argv[1]), int(sys.argv[2]))
