"""The phases of training wired together: from scratch, from a model, with adapters, held out, stopped."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lingxi.check import check_model, make_golden
from lingxi.embedder import Embedder
from lingxi.errors import GuardError, InputError, LingxiWarning, MissingExtraError, TrainingError
from lingxi.evaluate.readers import read_set
from lingxi.evaluate.suite import resolve
from lingxi.evaluate.tasks import Ranking
from lingxi.generate.strata import text_key
from lingxi.model.files import read_decoder
from lingxi.model.layout import write_directory
from lingxi.records import Pair, passage, read_pairs, write_pairs
from lingxi.train import running, teachers
from lingxi.train.adapt import apply_adapter
from lingxi.train.adapters import read_adapter
from lingxi.train.checkpoint_start import open_for_training
from lingxi.train.held_out import probe, split_pairs, write_suite
from lingxi.train.material import check_teacher
from lingxi.train.mined import mined_pairs
from lingxi.train.phases import MiningSettings, MixtureSettings
from lingxi.train.running import Card
from lingxi.train.settings import TeacherSettings, TrainSettings
from lingxi.train.stages import train_models
from lingxi.train.storing import build_store
from lingxi.train.teachers import Teacher, read_teacher
from lingxi.train.writing import tell_what_storing_costs
from test_store import pair
from toys import assert_mendable, decoder_of, random_state, toy_size, toy_tokenizer, write_toy

DATA = Path(__file__).parent / "data" / "tiny" / "bitext_zh_en_msdocs.jsonl"
CARD = Card("# an embedder\n", "# a reranker\n")
# Texts of the toys' golden files are longer than the toys read.
pytestmark = pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning")

FAST = {"learning_rate": 1e-3, "token_learning_rate": 1e-3, "warmup_steps": 1, "max_tokens": 48}
WEAK = {"steps": 6, "batch_pairs": 8, "mixture": {"tasks": {"bitext": 1.0}}, "checkpoint_every": 2, **FAST}
JUDGE = {
    "steps": 3,
    "batch_queries": 4,
    "negatives": 2,
    "easy_negatives": 1,
    "mining": {"ranks": [1, 8], "rows": 60, "count": 2, "margin": 2.0},
    "mixture": {"tasks": {"bitext": 1.0}},
    **{**FAST, "max_tokens": 96},
}
SCRATCH = {
    "tokenizer": {"vocab": 600, "characters_per_language": 100_000},
    "network": {"layers": 2, "hidden": 128},
    "lexicon": {**WEAK, "steps": 8, "token_learning_rate": 0.03},
    "dims": [32, 128],
}


def sentences(count: int = 120) -> list[Pair]:
    """Chinese sentences with their English translations, each a group of its own."""
    lines = DATA.read_text(encoding="utf-8").splitlines()[:count]
    found = [json.loads(line) for line in lines]
    return [
        pair(
            n,
            query=row["a"],
            positives=(passage(row["b"]),),
            task="bitext",
            instruction="Retrieve parallel sentences",
        )
        for n, row in enumerate(found)
    ]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    write_pairs(sentences(), path)
    return path


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to tune: long enough for the reranker's template in toy tokens."""
    size = toy_size(max_positions=1024)
    return write_toy(tmp_path_factory.mktemp("start") / "toy", size=size, max_seq_length=768)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reranker to tune."""
    size = toy_size(max_positions=1024)
    return write_toy(
        tmp_path_factory.mktemp("start") / "judge", "reranker", size=size, max_seq_length=768, seed=1
    )


def trained(pairs: Path, folder: Path, **table: Any) -> dict[str, Any]:
    settings = TrainSettings.model_validate({"threads": 1, **table})
    return train_models(pairs, settings, folder, CARD, make_golden)


# --- from scratch --------------------------------------------------------------------------------


@contextmanager
def _stopping(after: int, name: str, steps: int, first: int = 0) -> Iterator[Any]:
    """The live line, replaced by one that is interrupted in `weak`, after a step of that number."""

    def listener(step: int, figures: Any) -> None:
        if name == "weak" and step == after:
            raise KeyboardInterrupt

    yield listener


@pytest.fixture(scope="module")
def whole(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from scratch that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    trained(pairs, folder, **SCRATCH, weak=WEAK, supervised={**WEAK, "steps": 4, "ema": 0.5, "keep": 2})
    return folder


def test_a_run_from_scratch_writes_what_it_promises(whole: Path) -> None:
    assert {"weak", "embedder", "kept", "phases", "curves.png"} <= {path.name for path in whole.iterdir()}
    assert sorted(p.name for p in (whole / "phases").iterdir()) == ["lexicon", "supervised", "weak"]
    assert [p.name for p in sorted((whole / "kept").iterdir())] == [
        "embedder-supervised-000003",
        "embedder-supervised-000004",
    ]
    for model in (whole / "weak", whole / "embedder", *(whole / "kept").iterdir()):
        assert check_model(model).ok
    assert (whole / "embedder" / "README.md").read_text() == CARD.embedder


def test_a_phase_ends_with_its_averaged_weights(whole: Path) -> None:
    found = load_file(whole / "embedder" / "model.safetensors")
    (last,) = (whole / "phases" / "supervised").glob("checkpoint-*")
    average, raw = (load_file(last / f"{name}.safetensors") for name in ("average", "weights"))
    assert torch.equal(found["norm.weight"], average["norm.weight"])
    assert not torch.equal(found["norm.weight"], raw["norm.weight"])


@pytest.mark.parametrize(("after", "left"), [(0, []), (3, ["checkpoint-00000002"])])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    pairs: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, left: list[str]
) -> None:
    table = {**SCRATCH, "weak": WEAK, "supervised": {**WEAK, "steps": 4, "ema": 0.5, "keep": 2}}
    with monkeypatch.context() as patched:
        patched.setattr(running, "live_line", partial(_stopping, after))
        with pytest.raises(KeyboardInterrupt):
            trained(pairs, tmp_path, **table)
    assert not (tmp_path / "embedder").exists()
    assert [p.name for p in (tmp_path / "phases" / "weak").glob("checkpoint-*")] == left
    trained(pairs, tmp_path, **table)
    for name in ("weak", "embedder", "kept/embedder-supervised-000003"):
        one, two = ((folder / name / "model.safetensors").read_bytes() for folder in (whole, tmp_path))
        assert one == two, name


def test_no_phase_draws_the_batches_of_another(whole: Path) -> None:
    phases = [
        [json.loads(line) for line in (whole / "phases" / name / "log.jsonl").read_text().splitlines()]
        for name in ("weak", "supervised")
    ]
    # The same rows and settings but for the number of steps: equal draws would have equal lengths.
    weak, supervised = ([row["tokens"] for row in rows[:4]] for rows in phases)
    assert weak != supervised


def test_without_a_lexicon_the_language_model_begins_from_noise(pairs: Path, tmp_path: Path) -> None:
    table = {name: value for name, value in SCRATCH.items() if name != "lexicon"}
    # A shape that cannot start as token vectors.
    table["network"] = {"layers": 1, "hidden": 64}
    table["dims"] = [32, 64]
    language = {**FAST, "steps": 2, "batch_tokens": 256, "max_tokens": 128}
    figures = trained(pairs, tmp_path, **table, language=language)
    assert figures["language"]["loss"] == pytest.approx(np.log(600), rel=0.1), "it knew nothing"
    assert check_model(tmp_path / "embedder").ok


# --- from a model --------------------------------------------------------------------------------


def test_a_model_is_tuned_with_all_its_weights(pairs: Path, start: Path, tmp_path: Path) -> None:
    phase = {**WEAK, "stored_as": ["int8", "binary"], "spread_out": 0.1, "hardness": 5.0, "negatives": 1}
    figures = trained(pairs, tmp_path, start=str(start), supervised=phase, held_out=0.2, dims=[32, 64])
    assert set(figures) == {"pairs", "taught", "supervised"}
    before, after = (load_file(path / "model.safetensors") for path in (start, tmp_path / "embedder"))
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert check_model(tmp_path / "embedder").ok
    dev = [json.loads(line) for line in (tmp_path / "phases/supervised/dev.jsonl").read_text().splitlines()]
    assert [row["step"] for row in dev] == [0, 6]


def test_adapters_are_trained_merged_and_written(
    pairs: Path, start: Path, judge: Path, tmp_path: Path
) -> None:
    lora = {"rank": 4, "targets": ["q_proj", "down_proj"]}
    supervised = {**WEAK, "keep": 2, "mining": {"ranks": [1, 8], "rows": 60, "count": 2}, "negatives": 2}
    reranker = {**JUDGE, "keep": 2, "start": str(judge)}
    trained(pairs, tmp_path, start=str(start), lora=lora, supervised=supervised, reranker=reranker)
    before, after = (load_file(path / "model.safetensors") for path in (start, tmp_path / "embedder"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "q_proj" in name or "down_proj" in name}
    for kind, base in (("embedder", start), ("reranker", judge)):
        assert check_model(tmp_path / kind).ok
        adapter = tmp_path / f"adapter-{kind}"
        assert read_adapter(adapter).base == str(base)
        again = apply_adapter(base, adapter, tmp_path / f"again-{kind}", "float32", make_golden)
        one, two = (load_file(path / "model.safetensors") for path in (tmp_path / kind, again))
        for name, tensor in one.items():
            torch.testing.assert_close(two[name], tensor, rtol=1e-5, atol=1e-6)
        kept = sorted(path.name for path in (tmp_path / "kept").glob(f"{kind}-*"))
        assert len(kept) == 2
        last = load_file(tmp_path / "kept" / kept[-1] / "model.safetensors")
        assert all(torch.equal(last[name], one[name]) for name in one), "the last one kept is the model"


def test_a_reranker_alone_is_mined_for_by_another_model(pairs: Path, start: Path, tmp_path: Path) -> None:
    judge = {**JUDGE, "miner": str(start)}
    figures = trained(pairs, tmp_path, start=str(start), reranker=judge, recompute=True)
    assert set(figures) == {"pairs", "taught", "reranker"}
    assert check_model(tmp_path / "reranker").ok
    assert not (tmp_path / "embedder").exists()
    rows = list(read_pairs(tmp_path / "mined-reranker.parquet"))
    assert len(rows) == 60
    assert sum(bool(row.negatives) for row in rows) > 10
    for row in rows:
        right = {item.text for item in row.positives}
        assert not right & {item.text for item in row.negatives}


# --- held out ------------------------------------------------------------------------------------


def test_a_group_is_on_one_side_only(tmp_path: Path) -> None:
    rows = [pair(n, group=f"g{n // 3}", task="bitext" if n % 2 else "retrieval") for n in range(300)]
    write_pairs(rows, tmp_path / "pairs.parquet")
    split = split_pairs(tmp_path / "pairs.parquet", 0.3, 7, tmp_path / "split")
    assert split.held is not None
    left, right = (list(read_pairs(path)) for path in (split.trained, split.held))
    assert len(left) + len(right) == 300
    assert not {row.group for row in left} & {row.group for row in right}
    assert 40 < len(right) < 140
    other = split_pairs(tmp_path / "pairs.parquet", 0.3, 8, tmp_path / "other")
    assert other.held is not None
    assert {row.id for row in read_pairs(other.held)} != {row.id for row in right}


def test_nothing_held_out_is_told_in_words(tmp_path: Path) -> None:
    write_pairs([pair(1), pair(2)], tmp_path / "pairs.parquet")
    with pytest.raises(InputError, match="held out"):
        split_pairs(tmp_path / "pairs.parquet", 0.001, 0, tmp_path / "split")


def test_the_held_out_suite_is_read_by_evaluate(tmp_path: Path) -> None:
    rows = [
        pair(n, task=("bitext", "retrieval", "sts")[n % 3], instruction=f'say "{n % 2}"') for n in range(60)
    ]
    write_pairs(rows, tmp_path / "held.parquet")
    path = write_suite(tmp_path / "held.parquet", tmp_path / "suite")
    assert path is not None
    suite = resolve(path)
    assert suite.root is not None
    tasks = [task for item in suite.sets for task in read_set(item, suite, suite.root)]
    assert len(tasks) == 4, "sts ranks nothing"
    found = 0
    for item, task in zip(suite.sets, tasks, strict=True):
        assert isinstance(task, Ranking)
        assert item.instruction in ('say "0"', 'say "1"')
        assert item.alike == item.name.startswith("bitext")
        found += len(task.queries)
    assert found == 40


def test_the_probe_knows_a_model_that_finds_from_one_that_does_not(tmp_path: Path) -> None:
    from lingxi.model.tokens import read_tokens

    (tmp_path / "tokenizer.json").write_text(toy_tokenizer(), encoding="utf-8")
    tokens = read_tokens(tmp_path / "tokenizer.json", 512)
    size = toy_size()
    decoder = decoder_of(size, random_state(size))
    same = [pair(n, query=f"text {n}", positives=(passage(f"text {n}"),), task="bitext") for n in range(40)]
    write_pairs(same, tmp_path / "same.parquet")
    write_pairs(sentences(40), tmp_path / "other.parquet")
    easy, hard = (probe(tmp_path / f"{name}.parquet", decoder, tokens, 64) for name in ("same", "other"))
    assert easy is not None and hard is not None
    assert easy() > 0.99 > 0.5 > hard()
    write_pairs([pair(n, task="sts") for n in range(4)], tmp_path / "sts.parquet")
    assert probe(tmp_path / "sts.parquet", decoder, tokens, 64) is None


# --- mined ---------------------------------------------------------------------------------------


def test_what_any_row_says_is_right_is_never_mined(tmp_path: Path) -> None:
    """A query has several rows, of which not all are drawn; texts of one are candidates for the others."""
    rows = [
        pair(n, query=f"query {n % 60}", group=f"g{n}", positives=(passage(f"text {n % 70}"),), instruction=i)
        for n in range(120)
        for i in ("one", "two")
    ]
    rows = [row for n, row in enumerate(rows) if row.instruction == "one" or n % 6 == 1]
    write_pairs(rows, tmp_path / "pairs.parquet")
    right: dict[int, set[str]] = {}
    for row in rows:
        right.setdefault(text_key(row.query), set()).update(item.text for item in row.positives)
    settings = MiningSettings(rows=40, ranks=(0, 12), count=4, margin=1.5)

    def encode(texts: Any, instruction: str | None) -> Any:
        drawn = [np.random.default_rng(text_key(text)).normal(size=8) for text in texts]
        return np.array([v / np.linalg.norm(v) for v in drawn], np.float32)

    mixture = MixtureSettings(tasks={"retrieval": 1.0})
    found = list(
        read_pairs(mined_pairs(tmp_path / "pairs.parquet", mixture, settings, encode, tmp_path / "out"))
    )
    assert sum(len(row.negatives) for row in found) > 30
    for row in found:
        assert not right[text_key(row.query)] & {item.text for item in row.negatives}
    asked = [{row.query for row in found if row.instruction == side} for side in ("one", "two")]
    assert len(asked[0] & asked[1]) > 3, "rows of one query are drawn together"


def test_a_mixture_without_rows_mines_nothing(tmp_path: Path) -> None:
    write_pairs([pair(1)], tmp_path / "pairs.parquet")
    mixture = MixtureSettings(tasks={"code": 1.0})
    with pytest.raises(InputError, match="no rows of code"):
        mined_pairs(tmp_path / "pairs.parquet", mixture, MiningSettings(), lambda t, i: None, tmp_path / "o")  # type: ignore[arg-type,return-value]


# --- bad recipes stop ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"weak": {**WEAK, "mixture": {"tasks": {"code": 1.0}}}}, ["code", "bitext"]),
        ({"weak": {**WEAK, "mixture": {"tasks": {"bitext": 0.0}}}}, ["no task a weight above zero"]),
        (
            {"weak": {**WEAK, "mixture": {"tasks": {"bitext": 1.0}, "sources": ["qa_*"]}}},
            ["qa_*", "no rows"],
        ),
        ({"weak": WEAK, "reranker": {**JUDGE, "mixture": {"tasks": {"code": 1.0}}}}, ["code", "no rows"]),
        ({"weak": {**WEAK, "instruction_rate": 0.5}}, ["two instructions", "instruction_rate"]),
        ({"weak": WEAK, "dims": [32, 128]}, ["dims", "128", "64"]),
        ({"weak": WEAK, "dims": [16, 32]}, ["dims", "32", "64"]),
        ({"weak": WEAK, "teacher": {"package": "json"}}, ["json", "get_model_path"]),
    ],
)
def test_an_impossible_recipe_stops_before_the_first_step(
    pairs: Path, start: Path, tmp_path: Path, table: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        trained(pairs, tmp_path, start=str(start), **table)
    assert_mendable(caught.value, *words)
    assert not (tmp_path / "phases").exists()


def test_what_is_mined_in_must_have_the_mixture_itself(pairs: Path, start: Path, tmp_path: Path) -> None:
    write_pairs([pair(n, task="code") for n in range(8)], tmp_path / "other.parquet")
    both = {"bitext": 1.0, "code": 1.0}
    mining = {**WEAK, "negatives": 1, "mining": JUDGE["mining"], "mixture": {"tasks": both}}
    table = {"start": str(start), "weak": {**WEAK, "mixture": {"tasks": both}}, "supervised": mining}
    settings = TrainSettings.model_validate({**table, "pairs": [tmp_path / "other.parquet"]})
    with pytest.raises(InputError) as caught:
        train_models(pairs, settings, tmp_path / "run", CARD, make_golden)
    assert_mendable(caught.value, "train.supervised", "own pairs", "code")
    assert not (tmp_path / "run" / "phases").exists()


def test_a_teacher_that_is_narrower_is_told_in_words() -> None:
    check_teacher(Teacher({}, np.zeros((1, 64), np.float16)), (32, 64))
    with pytest.raises(InputError) as caught:
        check_teacher(Teacher({}, np.zeros((1, 64), np.float16)), (32, 128))
    assert_mendable(caught.value, "64", "128")


def test_a_missing_teacher_is_told_before_the_first_step(pairs: Path, start: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError) as caught:
        trained(pairs, tmp_path, start=str(start), weak=WEAK, teacher={"package": "no_such_teacher"})
    assert_mendable(caught.value, "no_such_teacher", "lingxi[teachers]")
    assert not (tmp_path / "phases").exists()


def test_an_empty_shard_is_told_before_the_first_step(start: Path, tmp_path: Path) -> None:
    write_pairs([], tmp_path / "none.parquet")
    with pytest.raises(InputError) as caught:
        trained(tmp_path / "none.parquet", tmp_path / "run", start=str(start), weak=WEAK)
    assert_mendable(caught.value, "none.parquet", "no pairs")


def test_a_loss_that_is_no_number_stops_at_its_step(pairs: Path, start: Path, tmp_path: Path) -> None:
    wild = {**WEAK, "learning_rate": 1e30, "token_learning_rate": 1e30}
    with pytest.raises(TrainingError) as caught:
        trained(pairs, tmp_path, start=str(start), weak=wild)
    assert_mendable(caught.value, "nan at step 1", "learning rate")
    assert not (tmp_path / "embedder").exists()


def test_a_phase_that_moves_nothing_is_no_success(pairs: Path, start: Path, tmp_path: Path) -> None:
    still = {**WEAK, "learning_rate": 1e-30, "token_learning_rate": 1e-30}
    with pytest.raises(GuardError) as caught:
        trained(pairs, tmp_path, start=str(start), weak=still)
    assert_mendable(caught.value, "learning rate")


def test_read_models_are_as_they_were_written(whole: Path) -> None:
    decoder = read_decoder(whole / "embedder", torch.float32)
    assert decoder.size.hidden == 128
    assert Embedder(whole / "embedder").encode("北京").shape == (128,)


def test_a_written_model_that_scores_less_is_told_of(start: Path, tmp_path: Path) -> None:
    held = tmp_path / "held.parquet"
    same = [pair(n, query=f"text {n}", positives=(passage(f"text {n}"),), task="bitext") for n in range(20)]
    write_pairs(same, held)
    finished = open_for_training(start)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_what_storing_costs(held, finished, start, "float32", 0.02)
    mute = open_for_training(start)
    mute.decoder.requires_grad_(False).embed_tokens.weight.zero_()
    write_directory(mute.files("embedder", "# mute\n"), tmp_path / "mute")
    with pytest.warns(LingxiWarning, match="stored as int8 the embedder scores .* in memory 1.000"):
        tell_what_storing_costs(held, finished, tmp_path / "mute", "int8", 0.02)


def test_a_teacher_is_read_once(
    pairs: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_teacher.py").write_text(f"def get_model_path():\n    return {str(start)!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    store = build_store([pairs], tmp_path / "store", 0)
    settings = TeacherSettings(package="own_teacher", max_texts=20)
    first = read_teacher(store, settings, tmp_path / "teacher")
    assert first is not None
    assert first.vectors.shape == (20, 64)

    def looked(*given: Any) -> list[str]:
        raise AssertionError("the rows are looked at again")

    monkeypatch.setattr(teachers, "to_read", looked)
    again = read_teacher(store, settings, tmp_path / "teacher")
    assert again is not None
    assert again.rows == first.rows
    assert np.array_equal(again.vectors, first.vectors)
    with pytest.raises(AssertionError, match="looked at again"):
        read_teacher(store, settings.model_copy(update={"max_texts": 10}), tmp_path / "teacher")
