"""Guards: each stops on a planted fault, says where it is, and lets a sound run pass."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lingxi import prompts
from lingxi.config import made
from lingxi.errors import GuardError, InputError, LingxiWarning
from lingxi.model.golden import GoldenText
from lingxi.model.tokens import read_tokens
from lingxi.records import Pair, passage
from lingxi.train.guards import no_benchmark_rows, no_positive_among_negatives, weights_moved
from lingxi.train.material import check_rows
from lingxi.train.served import exported_equals, prompts_match
from lingxi.train.watches import GuardSettings, LossFalls, dev_watch, logged, remembering
from test_store import built
from test_store import pair as stored
from toys import assert_mendable, decoder_of, random_state, toy_size, write_toy

QUICK = GuardSettings(loss_window=5, loss_within=10, loss_patience=2, dev_every=2, dev_patience=2)


def embedder_feed(directory, most=64, render=prompts.query, end=True, specials=False):
    tokens = read_tokens(directory / "tokenizer.json", 512, reference_specials=specials)

    def feed(probe: GoldenText) -> list[int]:
        rendered = probe.text if probe.task is None else render(probe.text, probe.task)
        return [*tokens.texts([rendered])[0][:most], *([tokens.end] if end else [])]

    return feed


def reranker_feed(directory, most=128, before=prompts.RERANK_PREFIX):
    tokens = read_tokens(directory / "tokenizer.json", 512)

    def feed(probe: GoldenText) -> list[int]:
        body = tokens.texts([prompts.rerank_body(probe.query, probe.text, probe.task)])[0]
        return [*tokens.prompt(before), *body[:most], *tokens.prompt(prompts.RERANK_SUFFIX)]

    return feed


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    size = toy_size(max_positions=4096)
    return write_toy(tmp_path_factory.mktemp("embedder"), size=size, max_seq_length=2048)


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    size = toy_size(max_positions=4096)
    return write_toy(tmp_path_factory.mktemp("reranker"), "reranker", size=size, max_seq_length=2048)


def test_equal_ids_pass_and_a_long_text_may_be_cut_sooner(embedder, reranker):
    room = 2048 - len(reranker_feed(reranker, 0)(GoldenText("", "", "")))
    for most in (32, 256, room):
        prompts_match(embedder, "embedder", embedder_feed(embedder, most), most)
        prompts_match(reranker, "reranker", reranker_feed(reranker, most), most)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"render": lambda text, task: f"Instruct: {task}\nQuery: {text}"}, ("as a query", "lingxi.prompts")),
        ({"end": False}, ("for ''",)),
        ({"specials": True}, ("<|im_end|>",)),
        ({"most": 8}, ("9 ids",)),
        ({"most": 3000}, ("3001 ids",)),
    ],
)
def test_other_ids_for_the_embedder_are_refused(embedder, fault, words):
    with pytest.raises(GuardError) as caught:
        prompts_match(embedder, "embedder", embedder_feed(embedder, **{"most": 64, **fault}), 64)
    assert_mendable(caught.value, str(embedder), *words)


def test_another_system_prompt_for_the_reranker_is_refused(reranker):
    other = prompts.RERANK_PREFIX.replace("Judge", "Decide")
    with pytest.raises(GuardError, match="other ids than serving"):
        prompts_match(reranker, "reranker", reranker_feed(reranker, 256, other), 256)


def test_a_long_pair_cut_in_the_prompt_is_refused(reranker):
    whole = reranker_feed(reranker, 1024)

    def headless(probe):
        return whole(probe)[-600:]

    def tailless(probe):
        return whole(probe)[:600]

    for cut in (headless, tailless):
        with pytest.raises(GuardError, match="other ids"):
            prompts_match(reranker, "reranker", cut, 64)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("kind", ["embedder", "reranker"])
def test_a_sound_export_equals_the_model_in_memory(tmp_path, kind, dtype):
    directory = write_toy(tmp_path, kind, dtype=dtype)
    exported_equals(decoder_of(toy_size(), random_state(toy_size())), directory, kind)


@pytest.mark.parametrize("kind", ["embedder", "reranker"])
def test_an_export_that_lost_a_tensors_training_is_refused(tmp_path, kind):
    directory = write_toy(tmp_path, kind)
    state = random_state(toy_size())
    state["layers.1.mlp.up_proj.weight"] = state["layers.1.mlp.up_proj.weight"] * 1.05
    with pytest.raises(GuardError) as caught:
        exported_equals(decoder_of(toy_size(), state), directory, kind)
    assert_mendable(caught.value, str(tmp_path), "in memory", "at most")


def test_an_untied_head_is_compared_with_its_own_rows(tmp_path):
    size = toy_size(tied_head=False)
    directory = write_toy(tmp_path, "reranker", size=size)
    state = random_state(size)
    exported_equals(decoder_of(size, state), directory, "reranker", head=state["lm_head.weight"])
    with pytest.raises(GuardError, match="difference of the scores"):
        exported_equals(decoder_of(size, state), directory, "reranker")


def test_vectors_that_are_not_finite_are_refused(tmp_path):
    directory = write_toy(tmp_path)
    state = random_state(toy_size())
    state["norm.weight"] = state["norm.weight"] * float("nan")
    with pytest.raises(GuardError, match="is nan"):
        exported_equals(decoder_of(toy_size(), state), directory, "embedder")


def test_the_tolerance_can_be_given(tmp_path):
    directory = write_toy(tmp_path, dtype="int8")
    with pytest.raises(GuardError, match="1e-07 is allowed"):
        exported_equals(
            decoder_of(toy_size(), random_state(toy_size())), directory, "embedder", tolerance=1e-7
        )


def trained_state():
    before = random_state(toy_size())
    return before, {name: tensor + 1e-4 * torch.randn_like(tensor) for name, tensor in before.items()}


def test_weights_that_moved_pass_whatever_the_norms_did():
    before, after = trained_state()
    weights_moved(before, {**after, "norm.weight": before["norm.weight"]})
    with pytest.raises(GuardError, match=r"norm\.weight"):
        weights_moved(before, {**after, "norm.weight": before["norm.weight"]}, trained=list(before))


def test_a_merge_that_is_its_base_is_refused():
    before, _ = trained_state()
    merged = {name: 0.3 * tensor + 0.7 * tensor for name, tensor in before.items()}
    assert any(not torch.equal(merged[name], before[name]) for name in before), "the sums must round"
    with pytest.raises(GuardError, match="equals the one it started from"):
        weights_moved(before, merged)


def test_what_bfloat16_cannot_hold_did_not_move():
    before, _ = trained_state()
    coarse = {name: tensor.bfloat16() for name, tensor in before.items()}
    with pytest.raises(GuardError, match="equals the one"):
        weights_moved(coarse, before)


def test_tensors_that_stood_still_are_named():
    before, after = trained_state()
    still = "layers.0.self_attn.q_proj.weight"
    with pytest.raises(GuardError) as caught:
        weights_moved(before, {**after, still: before[still].clone()})
    assert_mendable(caught.value, "1 of", still, "optimizer")


def test_other_names_and_shapes_are_refused():
    before, after = trained_state()
    with pytest.raises(GuardError, match=r"'norm\.weight'"):
        weights_moved(before, {name: t for name, t in after.items() if name != "norm.weight"})
    with pytest.raises(GuardError, match="shape"):
        weights_moved(before, {**after, "embed_tokens.weight": after["embed_tokens.weight"][:-1]})


@given(
    st.sets(st.tuples(st.integers(0, 3), st.integers(0, 2**62))),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**62))),
    st.booleans(),
)
def test_a_positive_among_negatives_is_found_exactly(relevant, negatives, planted):
    if planted and relevant:
        negatives = [*negatives, sorted(relevant)[0]]

    def arrays(pairs):
        listed = np.array(list(pairs), np.int64).reshape(-1, 2)
        return listed[:, 0], listed[:, 1]

    wrong = [pair for pair in negatives if pair in relevant]
    if not wrong:
        no_positive_among_negatives(arrays(relevant), arrays(negatives), str)
        return
    with pytest.raises(GuardError, match=f"^{len(wrong)} negatives.* {wrong[0][1]} of row {wrong[0][0]}, "):
        no_positive_among_negatives(arrays(relevant), arrays(negatives), str)


def test_the_text_of_a_false_negative_is_shown_short():
    masks = np.eye(3, dtype=bool), np.ones((3, 3), dtype=bool)
    with pytest.raises(GuardError) as caught:
        no_positive_among_negatives(*map(np.nonzero, masks), lambda i: f"text {i}\n" * 100)
    assert_mendable(caught.value, "3 negatives", "'text 0\\ntext 0", "…")
    assert len(str(caught.value)) < 400


def pair(query: str, document: str) -> Pair:
    return Pair(query[:4], "g", query, (passage(document),), (), "", "retrieval", "en", "en", "mine", "CC0")


@pytest.fixture
def benchmark(tmp_path):
    folder = tmp_path / "benchmark"
    folder.mkdir()
    rows = [{"q": "Where does the cat of the house sleep?", "p": "On the chair in the kitchen."}]
    (folder / "cats.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def test_rows_of_the_benchmark_stop_training(benchmark, tmp_path):
    sound = [pair(f"question {n} about gravity", f"an answer number {n} to it") for n in range(5)]
    assert list(no_benchmark_rows(iter(sound), benchmark, tmp_path)) == sound
    leaked = [*sound, pair("where does the CAT of the house sleep?", "Elsewhere, they say.")]
    with pytest.raises(GuardError) as caught:
        list(no_benchmark_rows(iter(leaked), benchmark, tmp_path))
    assert_mendable(caught.value, "row 5", "from mine", "cats", "curate.benchmark")


def test_an_absent_benchmark_is_told_of_before_a_row_is_read(tmp_path):
    with pytest.raises(InputError):
        no_benchmark_rows(iter([]), tmp_path / "absent", tmp_path)


def falls(losses, settings=QUICK, warmup=0, chance=None, first=0):
    watch = LossFalls(settings, warmup, chance)
    for step, loss in enumerate(losses):
        watch(first + step, {"loss": loss})
    return watch


def test_a_falling_loss_passes():
    falls([4 * 0.99**n for n in range(100)])


def test_a_flat_loss_is_stopped_soon_after_the_warm_up():
    for warmup, last in ((0, 15), (20, 35)):
        watch = LossFalls(QUICK, warmup, math.log(64))
        with pytest.raises(
            GuardError, match=rf"to {last - 1}, 4.2 over the first 5, no better than guessing"
        ):
            for step in range(1000):
                watch(step, {"loss": 4.2})


@pytest.mark.parametrize("later", [9.0, float("nan")])
def test_a_loss_that_falls_and_then_diverges_is_stopped(later):
    with pytest.raises(GuardError, match="does not fall"):
        falls([4 * 0.98**n for n in range(60)] + [later] * 20)


def test_one_bad_window_is_forgiven():
    falls(([4.0] * 5 + [3.0] * 10 + [5.0] * 5 + [3.0] * 5) * 4)


def test_a_resumed_run_remembers_where_the_loss_began(tmp_path):
    rows = [{"step": n, "loss": 2.0 if n < 8 else 3.0} for n in range(10)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    fresh = LossFalls(QUICK, 0)
    resumed = remembering(LossFalls(QUICK, 0), tmp_path)
    losses = [2.5] * 5 + [2.1] * 20
    for step, loss in enumerate(losses, 8):
        fresh(step, {"loss": loss})
    with pytest.raises(GuardError, match="2 over the first 5"):
        for step, loss in enumerate(losses, 8):
            resumed(step, {"loss": loss})


def test_a_watch_that_remembers_is_told_every_step_once(tmp_path):
    rows = [{"step": n, "loss": float(n)} for n in range(7)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    seen = []
    listener = remembering(lambda step, figures: seen.append((step, figures["loss"])), tmp_path)
    for step in (4, 5, 6):
        listener(step, {"loss": 10.0 + step})
    assert seen == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0), (4, 14.0), (5, 15.0), (6, 16.0)]


def test_a_log_gives_each_step_once_and_forgives_a_line_cut_off(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 0, "loss": 1}\n{"step": 1, "loss": 2}\n{"step": 1, "loss": 3}\n{"st', "utf-8")
    assert logged(path) == [{"step": 0, "loss": 1}, {"step": 1, "loss": 3}]
    path.write_text('{"st\n{"step": 1, "loss": 2}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="Unterminated"):
        logged(path)


def watched(tmp_path, scores, steps=20, settings=QUICK, writes=True):
    given_scores = iter(scores)
    return dev_watch(lambda: next(given_scores), tmp_path, settings, steps, writes=writes)


def test_the_dev_score_is_measured_at_the_start_every_so_often_and_last(tmp_path):
    watch = watched(tmp_path, [0.5, 0.6, 0.8, 0.7], steps=5)
    for step in range(5):
        watch(step, {"loss": 1.0})
    assert watch.measured == {0: 0.5, 2: 0.6, 4: 0.8, 5: 0.7}
    assert watch.best() == (4, 0.8)
    assert logged(tmp_path / "dev.jsonl") == [
        {"step": s, "score": v} for s, v in sorted(watch.measured.items())
    ]


def test_a_dev_score_below_its_start_stops_the_run(tmp_path):
    watch = watched(tmp_path, [0.5, 0.6, 0.4, 0.485, 0.4, 0.3])
    with pytest.raises(GuardError) as caught:
        for step in range(20):
            watch(step, {})
    assert_mendable(caught.value, "start (0.5)", "0.4 after 8, 0.3 after 10", "best was 0.6 after 2 steps")


def test_a_dev_score_that_is_no_number_stops_the_run(tmp_path):
    with pytest.raises(GuardError, match="after 0 steps is nan"):
        watched(tmp_path, [float("nan")])


def test_a_resumed_run_remembers_its_dev_scores(tmp_path):
    first = watched(tmp_path, [0.5, 0.4, 0.1])
    first(1, {})
    again = watched(tmp_path, [0.3])
    assert again.measured == {0: 0.5, 2: 0.4}, "the start is not measured again"
    with pytest.raises(GuardError, match=r"0\.4 after 2, 0\.3 after 4"):
        again(3, {})


def test_only_the_first_rank_writes_dev_scores(tmp_path):
    watched(tmp_path, [0.5], writes=False)
    assert not (tmp_path / "dev.jsonl").exists()


def test_impossible_settings_are_refused():
    for wrong in ({"loss_window": 10, "loss_within": 5}, {"losswindow": 1}, {"dev_every": 0}):
        with pytest.raises(InputError):
            made(GuardSettings, "mend it", **wrong)


def test_rows_are_looked_at_before_the_first_step(benchmark, tmp_path):
    own = passage("the text of 1")
    sound = [stored(n) for n in range(5)]
    guards = GuardSettings(benchmark=benchmark)
    store = built(tmp_path / "sound", sound)
    check_rows([tmp_path / "sound" / "pairs.parquet"], store, guards, tmp_path / "sound")
    assert (tmp_path / "sound" / "benchmark-checked").exists(), "a run that goes on does not read them again"
    store = built(tmp_path / "mined", [*sound[2:], stored(1, positives=(own,), negatives=(own,))])
    with pytest.warns(LingxiWarning, match="1 negatives of the pairs are positives"):
        check_rows([tmp_path / "mined" / "pairs.parquet"], store, GuardSettings(), tmp_path / "mined")
    store = built(tmp_path / "leaked", [*sound, stored(9, query="where does the CAT of the house sleep?")])
    with pytest.raises(GuardError, match="is in the benchmark"):
        check_rows([tmp_path / "leaked" / "pairs.parquet"], store, guards, tmp_path / "leaked")
