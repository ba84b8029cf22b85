"""The benchmark's harness in miniature: real worker processes on a toy model, and its arithmetic by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from lingxi.model.sizes import Size
from speed import networks, padded, report, rounds
from speed.jobs import Inputs, Job, write_inputs
from speed.peak import build
from speed.process import Absent, Lap, Memory, start
from speed.results import Result, result
from speed.summary import is_tie, ratio, spread
from speed.workloads import Part, Workload

TINY = Size(64, 2, 4, 2, 32, 96, vocab=512)
OURS, PEER = "lingxi fp32 torch", "transformers fp32"


class Fake:
    """A worker without a process: laps as told, then outputs."""

    note = ""

    def __init__(self, label: str, seconds: list[float], told: list[str], output: np.ndarray) -> None:
        self.label, self.seconds, self.told, self.output = label, list(seconds), told, output
        self.closed = False

    def lap(self) -> Lap:
        self.told.append(self.label)
        if not self.seconds:
            raise RuntimeError("out of memory")
        seconds = self.seconds.pop(0)
        return Lap(seconds, 2 * seconds)

    def outputs(self) -> np.ndarray:
        return self.output

    def memory(self) -> Memory:
        return Memory(1_000_000, 3_000_000, 2_000_000)

    def close(self) -> None:
        self.closed = True


def vectors(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def workload(inputs: Inputs, directory: Path = Path(), threads: tuple[int, ...] = (1,)) -> Workload:
    operations = networks.decoder_operations(TINY, inputs.ids)
    part = Part("embed", "qwen3", directory, inputs, operations)
    return Workload("bulk", "a toy", "tokens", part, {}, threads=threads)


def job(directory: Path, folder: Path, inputs: Path, system: str, module: str, **more: object) -> Job:
    given = {"weights": "float32", "task": "embed", "family": "qwen3", "batches": (2,), **more}
    return Job(
        system,
        f"speed.peers.{module}",
        directory=str(directory),
        folder=str(folder),
        inputs=str(inputs),
        **given,
    )


def test_a_ratio_is_paired_by_round_and_its_median_is_not_the_ratio_of_medians():
    reference = [Lap(10, 20), Lap(20, 20), Lap(90, 20)]
    mine = [Lap(5, 10), Lap(4, 5), Lap(30, 40)]
    found = ratio(reference, mine)
    assert (found.cpu.median, found.cpu.low, found.cpu.high) == (3, 2.5, 4)
    assert found.wall.median == 2
    assert not found.tie
    with pytest.raises(ValueError):
        ratio(reference, mine[:2])


def test_under_ten_per_cent_is_a_tie_either_way():
    assert is_tie(1.09) and is_tie(1 / 1.09)
    assert not is_tie(1.11) and not is_tie(1 / 1.11)
    assert spread([1, 2, 3, 4, 5]).low == 2


def test_every_round_runs_each_once_in_changing_order_and_a_failure_is_named():
    told: list[str] = []
    same = vectors([1, 0])
    fakes = [Fake("a", [1] * 8, told, same), Fake("b", [2] * 8, told, same), Fake("c", [3], told, same)]
    absent = Absent("d", "d is not installed")
    openers = [*(lambda fake=fake: fake for fake in fakes), lambda: absent]
    sampled: list[int] = []
    taken = rounds.take(openers, 8, 0, lambda: sampled.append(len(told)))
    assert len(sampled) == 8
    assert {label: len(laps) for label, laps in taken.laps.items()} == {"a": 8, "b": 8}
    pairs = [tuple(told[-2 * n - 2 : len(told) - 2 * n]) for n in range(6)]
    assert set(pairs) == {("a", "b"), ("b", "a")}
    assert taken.absent == [absent, Absent("c", "out of memory")]
    assert all(fake.closed for fake in fakes)


def test_the_table_names_who_is_absent_and_gives_share_tie_and_agreement():
    inputs = Inputs(("x",), ids=((1, 2, 3),))
    told: list[str] = []
    reference = Fake("reference", [2, 2, 2], told, vectors([1, 0], [0, 1]))
    ours = Fake("lingxi", [1, 1, 1], told, vectors([1, 0], [0.6, 0.8]))
    near = Fake("near", [1.9] * 3, told, vectors([1, 0], [0, 1]))
    openers = [lambda: reference, lambda: ours, lambda: near, lambda: Absent("gone", "gone is not installed")]
    taken = rounds.take(openers, 3, 0, lambda: None)
    limit = 4 * networks.decoder_operations(TINY, inputs.ids)
    found = result(workload(inputs), taken, {"float32": limit}, ([0.5] * 3, [1.5] * 3), "reference")
    lines = report.table(found).splitlines()
    by_name = {line.split(" | ")[0].removeprefix("| "): line for line in lines[3:]}
    assert "| 2.00 [2.00, 2.00] | 2.00 | 3.00 tokens | 25% | 3 | cosine ≥ 0.800000 |" in by_name["lingxi"]
    assert "1.05 [1.05, 1.05] tie" in by_name["near"]
    assert "absent: gone is not installed" in by_name["gone"]
    assert "load 0.5 before, 1.5 after" in lines[0]


def test_two_threads_are_compared_with_the_same_system_on_one():
    inputs = Inputs(("x",), ids=((1, 2, 3),))
    one = Fake("s", [4, 4], [], vectors([1]))
    two = Fake("s · 2 threads", [2, 2], [], vectors([1]))
    taken = rounds.take([lambda: one, lambda: two], 2, 0, lambda: None)
    found = result(workload(inputs, threads=(1, 2)), taken, {}, ([0.0] * 3, [0.0] * 3))
    assert [row.ratio and row.ratio.wall.median for row in found.rows] == [None, 2]


def test_workers_on_a_toy_model_agree_and_absent_ones_say_why(embedder_directory, tmp_path):
    texts = ["The capital of China is Beijing.", "a", "gravity " * 20]
    inputs = networks.decoder_inputs(embedder_directory, 512, texts)
    path = write_inputs(inputs, tmp_path / "inputs.json")
    make = partial(job, embedder_directory, tmp_path, path)
    asked = [
        make(OURS, "lingxi_engines", engine="torch"),
        make("lingxi nowhere", "lingxi_engines", engine="no such engine", weights="int8"),
        make("fastembed", "fastembed_onnx", prepares=True),
        make("nobody", "no_such_library"),
    ]
    asked += [make(PEER, "transformers_fp32")]
    taken = rounds.take([partial(start, one, tmp_path) for one in asked], 1, 0, lambda: None)
    reasons = {one.label: one.reason for one in taken.absent}
    if PEER not in taken.laps:
        pytest.skip(reasons[PEER])
    assert set(reasons) == {"lingxi nowhere", "fastembed", "nobody"}
    assert "not in this build" in reasons["lingxi nowhere"]
    assert reasons["nobody"] == "speed.peers.no_such_library is not installed"
    near = rounds.agreement(taken.outputs, PEER)
    assert near[OURS][1] > 1 - 1e-5
    assert all(lap.cpu > 0 and lap.wall > 0 for laps in taken.laps.values() for lap in laps)
    assert taken.memory[OURS].peak >= taken.memory[OURS].resident > 50e6


def test_a_worker_that_dies_is_named_with_the_last_line_of_its_log(embedder_directory, tmp_path):
    path = write_inputs(Inputs(("x",), ids=((1,),)), tmp_path / "inputs.json")
    (tmp_path / "inputs.json").write_text("{", encoding="utf-8")
    one = job(embedder_directory, tmp_path, path, "broken", "lingxi_engines", engine="torch")
    found = start(one, tmp_path)
    assert isinstance(found, Absent)
    assert "JSONDecodeError" in found.reason


def test_padding_changes_no_pooled_state():
    def hidden(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.stack([np.cumsum(ids, 1), np.full(ids.shape, 7)], -1).astype(np.float32)

    sequences = [[1, 2, 3], [5], [4, 4]]
    one = job(Path(), Path(), Path(), "x", "x")
    assert padded.pool(one, hidden, sequences)[:, 0].tolist() == [6, 5, 8]
    mean = padded.pool(replace(one, family="bert"), hidden, [[2, 4], [6]])
    assert mean[:, 0].tolist() == [4, 6]


def test_operations_count_what_is_needed_and_no_more():
    one_layer = replace(TINY, layers=1)
    asked = TINY.heads * TINY.head_dim
    keys_values = TINY.hidden * 2 * TINY.kv_heads * TINY.head_dim
    rest = 2 * TINY.hidden * asked + 3 * TINY.hidden * TINY.intermediate
    assert networks.decoder_operations(one_layer, [[1, 2, 3]]) == 2 * (3 * keys_values + rest + 2 * asked * 3)
    two = networks.decoder_operations(TINY, [[1, 2, 3]])
    assert two == 2 * (6 * keys_values + 4 * rest + 2 * asked * (6 + 3))
    shared = networks.decoder_operations(TINY, [[1, 2, 3, 4], [1, 2, 3, 5]])
    apart = networks.decoder_operations(TINY, [[1, 2, 3, 4], [9, 2, 3, 5]])
    assert shared < apart


def test_the_page_keeps_its_words_and_needs_its_marks(tmp_path):
    page, data = tmp_path / "page.md", tmp_path / "speed.json"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    about = {
        "machine": {
            "processor": "P",
            "cores": 2,
            "usable_cores": 1,
            "instructions": ["avx2"],
            "libraries": {},
        }
        | {"system": "S", "python": "3"},
        "limits": {},
        "no_limit": "no C compiler",
        "rounds": 1,
    }
    empty = Result("bulk", "a toy", "tokens", 1, 3, "reference", [0.0], [0.0], (), (Absent("g", "why"),))
    report.write([empty], about, page, data)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "absent: why" in text and "not measured: no C compiler" in text
    assert '"reason": "why"' in data.read_text(encoding="utf-8")
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="no place for results"):
        report.write([empty], about, page, data)


def test_the_limit_is_measured_or_said_to_be_missing(tmp_path):
    peak = build(tmp_path)
    if peak.library is None:
        assert "compile" in peak.reason
        pytest.skip(peak.reason)
    peak.sample()
    floats, bytes_ = peak.limit("float32"), peak.limit("int8")
    if floats is None or bytes_ is None:
        pytest.skip("no loop for this processor")
    assert 1e9 < floats.rate < bytes_.rate
    assert floats.instructions and bytes_.instructions
