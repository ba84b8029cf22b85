"""Students: what is cut adds least, what is kept computes the same, and a run ends in a whole model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lingxi import Embedder, Reranker
from lingxi.check import check_model
from lingxi.cli import run
from lingxi.compress import cut, narrow, vocabulary
from lingxi.compress.bill import cost_of
from lingxi.compress.contributions import of_cosine, of_verdict, removals, weigh
from lingxi.compress.distil import distil
from lingxi.compress.estimate import estimate
from lingxi.compress.pool import Pool, ask, read_answers, read_pool, write_pool
from lingxi.compress.reading import read_anew, store_of
from lingxi.compress.recover import Imitation, Verdicts, check_widths, differences, recover
from lingxi.compress.refit import refit
from lingxi.compress.rounded import plain_state, round_in_forward, rounded
from lingxi.compress.settings import DistilSettings, RecoverySettings, ShapeSettings
from lingxi.compress.shaping import make_student
from lingxi.compress.teacher import open_teacher
from lingxi.config import load
from lingxi.engine.run import pooled_states
from lingxi.errors import InputError, ModelError, RecipeError
from lingxi.model.encoder import Encoder
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.files import quantized, read_config
from lingxi.records import passage, write_pairs
from test_store import pair
from toys import (
    SENTENCES,
    TEXTS,
    assert_mendable,
    decoder_of,
    gap,
    random_ids,
    random_state,
    toy_decoder,
    toy_size,
    toy_tokenizer,
    unit,
    write_toy,
)

RECIPES = Path(__file__).parent.parent / "recipes"
SEQUENCES = random_ids((3, 9, 9, 17, 30), 512)
# The toys are short, some golden texts are not.
CUT = pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning")


def toy_encoder(seed: int = 0, **changes) -> Encoder:
    size = replace(EncoderSize(32, 3, 4, 48, vocab=512, max_positions=64), **changes)
    torch.manual_seed(seed)
    encoder = Encoder(size)
    for tensor in encoder.parameters():
        with torch.no_grad():
            tensor.normal_(1.0, 0.3) if tensor.dim() == 1 else tensor.normal_(0, tensor.shape[1] ** -0.5)
    return encoder.eval().requires_grad_(False)


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
    blocks = network.layers if hasattr(network, "layers") else network.encoder.layer
    decoder = hasattr(network, "layers")
    with torch.no_grad():
        for block in blocks:
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


def cut_of(teacher, layers, **shape):
    plan = cut.plan_of(teacher.size, weigh(teacher, SEQUENCES), layers, ShapeSettings(**shape))
    return rebuilt(teacher, plan).requires_grad_(True)


TEXTS_FITTED = random_ids((9, 11, 14, 17, 20, 23) * 40, 512)


def test_output_matrices_fitted_bring_a_cut_network_nearer_to_the_whole():
    teacher = toy_decoder(layers=3)
    small = cut_of(teacher, (0, 2), heads=2, intermediate=48)
    wanted = pooled_states(teacher, SEQUENCES)
    before = gap(unit(pooled_states(small, SEQUENCES)), unit(wanted))
    lacking = refit(teacher, small, (0, 2), TEXTS_FITTED)
    after = gap(unit(pooled_states(small, SEQUENCES)), unit(wanted))
    assert after < before and all(0 < share < 1 for share in lacking)


def test_fitting_a_whole_network_changes_nothing_and_the_last_layer_may_be_gone():
    teacher = toy_decoder(layers=3)
    same = cut_of(teacher, (0, 1, 2))
    # More texts than the last layer has neurons: it is fitted on their last tokens alone.
    assert max(refit(teacher, same, (0, 1, 2), TEXTS_FITTED)) < 1e-4
    assert gap(unit(pooled_states(same, SEQUENCES)), unit(pooled_states(teacher, SEQUENCES))) < 0.05
    small = cut_of(teacher, (0, 1))
    before = pooled_states(small, TEXTS_FITTED)
    refit(teacher, small, (0, 1), TEXTS_FITTED)
    wanted = unit(pooled_states(teacher, TEXTS_FITTED))
    assert (unit(pooled_states(small, TEXTS_FITTED)) * wanted).sum() > (unit(before) * wanted).sum()


def test_a_fit_of_another_width_or_of_an_encoder_is_refused():
    with pytest.raises(ValueError, match="leave out width or refit"):
        ShapeSettings(width=32, refit=100)


def test_the_width_of_an_encoder_is_refused():
    with pytest.raises(InputError) as refused:
        narrow.narrow_size(toy_encoder().size, 16)
    assert_mendable(refused.value, "shape.width")


# Vocabulary


def pruned(texts: list[str], size: int | None = None, min_count: int = 1) -> vocabulary.Pruned:
    description = json.loads(toy_tokenizer())
    tokenizer = Tokenizer.from_str(toy_tokenizer())
    counts = vocabulary.count_tokens(tokenizer, texts)
    frame = {i for text in vocabulary.frame_texts() for i in tokenizer.encode(text).ids}
    return vocabulary.prune(description, counts, frame, size=size, min_count=min_count, rows=512)


def counts_of(times: dict[int, int]) -> vocabulary.Counts:
    return vocabulary.Counts(times, {i: float(n) for i, n in times.items()})


ENGLISH = [text for language, text in SENTENCES if language == "en"]
KEPT = pruned(ENGLISH)
SMALL, WHOLE = Tokenizer.from_str(json.dumps(KEPT.description)), Tokenizer.from_str(toy_tokenizer())


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=60) | st.sampled_from([text for _, text in SENTENCES]))
def test_any_text_still_has_ids_and_comes_back(text):
    ids = SMALL.encode(text, add_special_tokens=False).ids
    assert all(i < len(KEPT.ids) for i in ids)
    assert SMALL.decode(ids, skip_special_tokens=False) == WHOLE.decode(
        WHOLE.encode(text, add_special_tokens=False).ids, skip_special_tokens=False
    )


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(" ".join(ENGLISH).split()), max_size=12).map(" ".join))
def test_words_whose_tokens_are_kept_are_cut_as_before(text):
    before = WHOLE.encode(text).ids
    if set(before) <= set(KEPT.ids):
        assert [KEPT.ids[i] for i in SMALL.encode(text).ids] == before


def test_specials_stand_where_they_stood_and_the_pattern_stays():
    before, after = json.loads(toy_tokenizer()), KEPT.description
    assert after["added_tokens"] == before["added_tokens"]
    assert after["pre_tokenizer"] == before["pre_tokenizer"] and after["normalizer"] == before["normalizer"]
    assert len(after["model"]["vocab"]) < len(before["model"]["vocab"])
    merged = {left + right for left, right in map(vocabulary.merge_of, after["model"]["merges"])}
    special = {token["content"] for token in after["added_tokens"]}
    long = {name for name in after["model"]["vocab"] if len(name) > 1} - special
    assert long == merged  # every longer token is still reached
    for word in ("yes", "no"):
        assert len(Tokenizer.from_str(json.dumps(after)).encode(word).ids) == 1


def test_the_most_frequent_tokens_are_kept_and_a_size_too_small_is_refused():
    some = pruned(ENGLISH, size=400)
    assert len(some.ids) <= 400 and some.covered < KEPT.covered == 1.0
    assert len(pruned(ENGLISH, min_count=3).ids) < len(KEPT.ids)
    with pytest.raises(InputError) as refused:
        pruned(ENGLISH, size=300)
    assert_mendable(refused.value, "300")


def test_a_sentence_weighs_as_much_as_a_page():
    tokenizer = Tokenizer.from_str(toy_tokenizer())
    page = " ".join(ENGLISH * 3)
    counts = vocabulary.count_tokens(tokenizer, [page, "a"])
    (only,) = tokenizer.encode("a").ids
    assert counts.shares[only] >= 1.0 and sum(counts.shares.values()) == pytest.approx(2.0)
    assert sum(counts.times.values()) == len(tokenizer.encode(page).ids) + 1


def test_wordpiece_and_unigram_keep_characters_and_renumber_the_frame():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b", "ab", "##cd", "cat", "dog", "##s"]
    frame = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    special = [{"id": i, "content": word, "special": True} for i, word in enumerate(words[:4])]
    model = {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {w: i for i, w in enumerate(words)}}
    made = vocabulary.prune(
        {"model": model, "added_tokens": special, "post_processor": frame},
        counts_of({8: 5, 10: 1, 9: 1}),
        [],
        size=9,
        min_count=1,
        rows=len(words),
    )
    assert [words[i] for i in made.ids] == [*words[:6], "cat", "dog", "##s"]
    assert made.description["model"]["vocab"]["cat"] == 6
    assert made.description["post_processor"]["sep"] == ["[SEP]", 3]
    pieces = [
        ["<s>", 0.0],
        ["</s>", 0.0],
        ["<unk>", 0.0],
        ["▁", -1.0],
        ["a", -2.0],
        ["▁the", -3.0],
        ["xy", -9.0],
    ]
    made = vocabulary.prune(
        {"model": {"type": "Unigram", "unk_id": 2, "vocab": pieces}, "added_tokens": special[:2]},
        counts_of({5: 3, 6: 1}),
        [],
        size=None,
        min_count=2,
        rows=7,
    )
    assert [piece for piece, _ in made.description["model"]["vocab"]] == [
        "<s>",
        "</s>",
        "<unk>",
        "▁",
        "a",
        "▁the",
    ]
    assert made.description["model"]["unk_id"] == 2
    with pytest.raises(InputError) as refused:
        vocabulary.prune({"model": {"type": "WordLevel"}}, {}, [], size=None, min_count=1, rows=3)
    assert_mendable(refused.value, "WordLevel")


# Rounded weights


def test_rounded_weights_are_those_that_are_stored_and_gradients_pass():
    weight = torch.randn(8, 64, requires_grad=True)
    stored = dict(quantized({"x.weight": weight.detach()}))
    wanted = stored["x.weight"].float() * stored["x.scale"].float()[:, None]
    assert torch.equal(rounded(weight, "int8", 32).detach(), wanted)
    four = rounded(weight, "int4", 16)
    assert all(len(part.unique()) <= 15 for part in four.detach().view(-1, 16))
    four.sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_a_network_that_rounds_keeps_its_own_names_and_weights():
    decoder = toy_decoder()
    before = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
    exact = pooled_states(decoder, SEQUENCES)
    round_in_forward(decoder, "int4", 32)
    assert gap(pooled_states(decoder, SEQUENCES), exact) > 1e-3
    after = plain_state(decoder)
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


# Losses


def pool_of(count: int = 12) -> tuple[Pool, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = np.array([[2 * i, 2 * i + 1, -1 if i % 2 else (2 * i + 3) % count] for i in range(count // 2)])
    vectors = rng.normal(size=(count, 16)).astype(np.float16)
    return Pool("embedder", tuple(f"text {i}" for i in range(count)), rows.astype(np.int32)), vectors


def recovery(**changes) -> RecoverySettings:
    return RecoverySettings(steps=1, learning_rate=1e-3, token_learning_rate=1e-3, **changes)


def test_a_student_that_answers_as_its_teacher_has_no_loss():
    pool, answers = pool_of()
    fed: list[str] = []

    def ids(texts: list[str]) -> list[list[int]]:
        fed[:] = texts
        return [[1]] * len(texts)

    batch = Imitation(pool, answers, ids, recovery(batch_rows=6), None)(np.random.default_rng(0))
    states = torch.tensor(answers[[int(text.split()[1]) for text in fed]].astype(np.float32))
    loss, figures = batch.loss(states)
    assert float(loss.detach()) < 1e-5 and figures["cosine"] == pytest.approx(1.0, abs=1e-4)
    turned, _ = batch.loss(-states)
    assert float(turned) > 1.0
    # Of another width, with its own axes, too.
    axes = torch.linalg.qr(torch.randn(16, 8))[0]
    other = Imitation(pool, answers, ids, recovery(batch_rows=6), axes)(np.random.default_rng(0))
    assert float(other.loss(unit(states) @ axes)[0]) < 1e-5


def test_a_reranker_that_answers_as_its_teacher_has_no_loss_and_empty_places_count_for_nothing():
    rows = np.array([[0, 1, 2], [3, 4, -1]], np.int32)
    logits = np.array([3.0, -1.0, 0.5, 2.0, -2.0], np.float32)
    pool = Pool("reranker", tuple("abcde"), rows)
    fed: list[str] = []

    def ids(texts: list[str]) -> list[list[int]]:
        fed[:] = texts
        return [[1]] * len(texts)

    step = Verdicts(pool, logits, ids, recovery(batch_rows=2), lambda: torch.ones(1))
    batch = step(np.random.default_rng(0))
    assert sorted(fed) == list("abcde")
    right = torch.tensor([[logits["abcde".index(text)]] for text in fed])
    assert float(batch.loss(right)[0]) < 1e-5
    assert float(batch.loss(-right)[0]) > 1.0


@given(st.integers(0, 2**16), st.floats(-5, 5))
def test_differences_are_those_of_all_pairs_of_a_list(seed, shift):
    torch.manual_seed(seed)
    mine, theirs = torch.randn(3, 5).double(), torch.randn(3, 5).double()
    known = torch.rand(3, 5) < 0.7
    known[0], known[1, 1:] = True, False  # a whole list, and one with at most one document
    found = []
    for s, t, k in zip(mine, theirs, known, strict=True):
        gaps = (s - t)[k]
        found.append(float((gaps[:, None] - gaps[None]).square().mean() / 2) if len(gaps) else 0.0)
    assert float(differences(mine, theirs, known)) == pytest.approx(np.mean(found))
    lifted = differences(theirs + shift, theirs, known)
    assert float(lifted) == pytest.approx(0.0, abs=1e-9)  # only differences count


@pytest.mark.parametrize("as_stored", [None, "int8"])
def test_token_vectors_are_learnt_alone_where_asked(tmp_path, as_stored):
    network = toy_decoder().requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pool, answers = pool_of()
    answers = np.tile(answers, (1, -(-network.hidden // answers.shape[1])))[:, : network.hidden]
    settings_of = recovery(batch_rows=6, learns="tokens", rounded=as_stored)

    def ids(texts: list[str]) -> list[list[int]]:
        return [[int(text.split()[1]) + 5, 3] for text in texts]

    objective = Imitation(pool, answers, ids, settings_of, None)
    after, _ = recover(network, objective, settings_of, tmp_path, 0, {}, torch.device("cpu"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"embed_tokens.weight"}


def test_widths_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError) as refused:
        check_widths(16, 32, None, recovery())
    assert_mendable(refused.value, "recovery.embedding")
    check_widths(16, 32, None, recovery(embedding=0.0))
    with pytest.raises(ValueError, match="nothing would be learnt"):
        recovery(embedding=0, similarity=0, ranking=0)


# The pool


class Counted:
    """A teacher that counts what it is asked, and stops at a text."""

    def __init__(self, stop: str | None = None) -> None:
        self.stop, self.asked = stop, 0

    def ids(self, texts, most):
        return [[ord(text[0]), len(text)] for text in texts]

    def answers(self, sequences):
        if self.stop and ord(self.stop) in {s[0] for s in sequences}:
            raise KeyboardInterrupt
        self.asked += len(sequences)
        return np.array([[s[0], s[1]] for s in sequences], np.float32)


def test_answers_are_asked_once_and_a_stopped_pool_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("lingxi.compress.pool._PART", 2)
    pool = Pool("embedder", tuple("abcde"), np.array([[0, 1], [2, 3]], np.int32))
    write_pool(pool, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        ask(pool, Counted(stop="c"), tmp_path, 9)
    rest = Counted()
    found = ask(pool, rest, tmp_path, 9)
    assert rest.asked == 3 and found[:, 0].tolist() == [ord(c) for c in "abcde"]
    again = Counted()
    ask(pool, again, tmp_path, 9)
    assert again.asked == 0
    kept = read_pool(tmp_path, "embedder")
    assert kept.texts == pool.texts and (kept.rows == pool.rows).all()


def test_a_broken_folder_of_answers_is_told_in_words(tmp_path):
    with pytest.raises(InputError) as refused:
        read_pool(tmp_path, "embedder")
    assert_mendable(refused.value, "texts.jsonl")
    pool = Pool("reranker", ("a", "b"), np.array([[0, 1]], np.int32))
    write_pool(pool, tmp_path)
    np.save(tmp_path / "answers.npy", np.zeros((2, 4)))
    with pytest.raises(InputError) as refused:
        read_answers(pool, tmp_path)
    assert_mendable(refused.value, "one logit")


# Whole runs


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    rows = []
    for n in range(60):
        language, text = SENTENCES[n % len(SENTENCES)]
        words = text.split() or [text]
        start = n % max(len(words) - 3, 1)
        rows.append(
            pair(
                n,
                query=f"{' '.join(words[start : start + 3])} {n}",
                positives=(passage(f"{text} {n}"),),
                query_language=language,
                document_language=language,
            )
        )
    write_pairs(rows, path)
    yield path


def recipe(teacher: Path, of: Path, **changes) -> DistilSettings:
    values = {
        "name": "toy",
        "teacher": str(teacher),
        "pairs": (of,),
        "calibration": 16,
        "threads": 1,
        "device": "cpu",
        "shape": {"layers": 1, "heads": 2, "intermediate": 40},
        "pool": {"rows": 40, "negatives": 2, "max_tokens": 24, "mixture": {"tasks": {"retrieval": 1.0}}},
        "recovery": {
            "steps": 25,
            "batch_rows": 12,
            "learning_rate": 3e-3,
            "token_learning_rate": 3e-3,
            "warmup_steps": 2,
            "checkpoint_every": 5,
        },
    }
    return DistilSettings.model_validate({**values, **changes})


def silent(line: str) -> None:
    """Says nothing."""


def agreement(student: Path, teacher: Path) -> float:
    vectors = [Embedder(path, device="cpu").encode(list(TEXTS[:5])) for path in (student, teacher)]
    return float((vectors[0] * vectors[1]).sum(1).mean())


@CUT
@pytest.mark.slow
def test_a_students_recovery_draws_it_to_its_teacher(embedder_directory, pairs, tmp_path):
    done = distil(recipe(embedder_directory, pairs), tmp_path, silent)
    assert check_model(done.out, device="cpu").ok
    assert check_model(tmp_path / "start", device="cpu").ok
    before, after = (agreement(tmp_path / name, embedder_directory) for name in ("start", "student"))
    assert after > before
    config = read_config(done.out)
    assert (config["num_hidden_layers"], config["intermediate_size"], config["num_attention_heads"]) == (
        1,
        40,
        2,
    )
    assert done.bill.network_share < 0.4
    said = json.loads((tmp_path / "manifest.json").read_text())
    assert said["counts"]["measured"]["layers"] == [next(iter(said["counts"]["measured"]["layers"]))]
    assert "Layers of the teacher that were kept" in (done.out / "README.md").read_text()


def test_a_smaller_vocabulary_learns_from_rows_that_it_reads_anew(embedder_directory, pairs, tmp_path):
    settings_of = recipe(embedder_directory, pairs, shape={}, vocabulary={"languages": ["en"], "size": 420})
    teacher, store = open_teacher(embedder_directory), store_of(settings_of, tmp_path)
    student, _ = make_student(settings_of, teacher, store, silent)
    wanted = read_anew(settings_of, teacher, student)
    kept = set(student.vocabulary.ids)
    rows = store.rows(range(len(store)))
    seen = {True: 0, False: 0}
    for row in rows:
        texts = (row.query, row.positives[0].text)
        changed = any(not kept.issuperset(teacher.tokens.prompt(text)) for text in texts)
        if row.query_language != "en":
            assert not wanted(row)
        elif changed:
            assert wanted(row)
            seen[True] += 1
        else:
            seen[False] += 1
    assert seen[True]
    whole = recipe(embedder_directory, pairs, shape={})
    assert all(map(read_anew(whole, teacher, replace(student, vocabulary=None)), rows))


@CUT
@pytest.mark.slow
def test_a_run_that_was_stopped_ends_with_the_same_bytes(embedder_directory, pairs, tmp_path):
    settings_of = recipe(embedder_directory, pairs)
    whole = distil(settings_of, tmp_path / "whole", silent)
    step, calls = Imitation.__call__, []

    def stopping(self, rng):
        calls.append(1)
        if len(calls) == 14:
            raise KeyboardInterrupt
        return step(self, rng)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Imitation, "__call__", stopping)
        with pytest.raises(KeyboardInterrupt):
            distil(settings_of, tmp_path / "stopped", silent)
        assert not (tmp_path / "stopped" / "student").exists()
        again = distil(settings_of, tmp_path / "stopped", silent)
    names = [path / "model.safetensors" for path in (whole.out, again.out)]
    assert names[0].read_bytes() == names[1].read_bytes()
    assert len(calls) == 14 + 15  # from the checkpoint after step 10


@CUT
@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_a_rerankers_student_is_a_reranker(pairs, tmp_path, tied):
    teacher = write_toy(tmp_path / "teacher", "reranker", size=toy_size(tied_head=tied), seed=1)
    vocabulary_of = {"languages": ["en", "code"], "size": 480}
    done = distil(recipe(teacher, pairs, vocabulary=vocabulary_of), tmp_path / "run", silent)
    assert check_model(done.out, device="cpu").ok
    asked = [("gravity", text) for text in TEXTS[:4]]
    scores = Reranker(done.out, device="cpu").predict(asked)
    assert scores.shape == (4,) and np.isfinite(scores).all()
    assert read_config(done.out)["vocab_size"] <= 480


@CUT
@pytest.mark.slow
def test_vocabulary_and_width_alone_and_int8(embedder_directory, pairs, tmp_path):
    changes = {"shape": {}, "recovery": None, "vocabulary": {"languages": ["en"]}}
    done = distil(recipe(embedder_directory, pairs, **changes), tmp_path / "v", silent)
    texts = [text for language, text in SENTENCES if language == "en"]
    vectors = [Embedder(p, device="cpu").encode(texts) for p in (done.out, embedder_directory)]
    assert gap(*vectors) < 1e-5  # tokens that are kept have the vectors they had
    changes = {"shape": {"width": 48, "width_by": "importance"}, "weights": "int8", "recovery": None}
    done = distil(recipe(embedder_directory, pairs, **changes), tmp_path / "w", silent)
    assert check_model(done.out, device="cpu").ok
    assert Embedder(done.out, device="cpu").dim == 48


@CUT
@pytest.mark.slow
def test_a_student_learns_while_its_weights_are_rounded(embedder_directory, pairs, tmp_path):
    base = recipe(embedder_directory, pairs)
    assert base.recovery
    rounded_too = base.model_copy(update={"recovery": base.recovery.model_copy(update={"rounded": "int4"})})
    done = distil(rounded_too, tmp_path, silent)
    assert check_model(done.out, device="cpu").ok
    assert not any("parametrizations" in key for key in Embedder(done.out)._network.__dict__)


@CUT
@pytest.mark.slow
def test_the_student_loads_in_sentence_transformers(embedder_directory, pairs, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    changes = {"recovery": None, "vocabulary": {"languages": ["en", "zh"], "size": 480}}
    done = distil(recipe(embedder_directory, pairs, **changes), tmp_path, silent)
    theirs = library.SentenceTransformer(str(done.out), device="cpu").encode(list(TEXTS[:4]))
    assert gap(theirs, Embedder(done.out, device="cpu").encode(list(TEXTS[:4]))) < 1e-4


@CUT
@pytest.mark.slow
def test_an_encoder_is_cut_as_well(pairs, tmp_path):
    pytest.importorskip("transformers")
    from test_families import TINY, write_random

    teacher = tmp_path / "bert"
    write_random(teacher, "bert", TINY | {"vocab_size": 400})
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{c}" for c in letters)]
    (teacher / "vocab.txt").write_text(
        "\n".join([*words, *(f"w{i}" for i in range(400 - len(words)))]) + "\n"
    )
    from transformers import BertTokenizerFast

    BertTokenizerFast(str(teacher / "vocab.txt"), model_max_length=128).save_pretrained(teacher)
    (teacher / "1_Pooling").mkdir()
    (teacher / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    )
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    (teacher / "modules.json").write_text(json.dumps(modules))
    changes = {"shape": {"layers": 2, "intermediate": 16}, "vocabulary": {"languages": ["en"], "size": 300}}
    done = distil(recipe(teacher, pairs, **changes), tmp_path / "run", silent)
    assert check_model(done.out, device="cpu").ok
    assert read_config(done.out)["num_hidden_layers"] == 2
    assert agreement(done.out, teacher) > agreement(tmp_path / "run" / "start", teacher)


def test_recipes_that_do_not_fit_are_told_in_words(embedder_directory, pairs, tmp_path):
    for changes, words in (
        ({"shape": {"layers": 5}}, ("shape.layers", "2")),
        ({"shape": {"intermediate": 5000}}, ("shape.intermediate",)),
        ({"shape": {"width": 4000}}, ("shape.width",)),
        ({"vocabulary": {"languages": ["xx"]}}, ("xx",)),
        ({"pairs": ()}, ("pairs",)),
    ):
        with pytest.raises(InputError) as refused:
            distil(recipe(embedder_directory, pairs, **changes), tmp_path / "run", silent)
        assert_mendable(refused.value, *words)
    with pytest.raises(ModelError):
        distil(recipe(tmp_path / "nothing", pairs), tmp_path / "run", silent)


# Before anything runs


def test_the_recipe_of_the_8b_model_resolves_to_a_student_of_one_and_a_half_billion():
    found = estimate(load(RECIPES / "distil-8b.toml", DistilSettings))
    assert found.bill.teacher.parameters == 7_567_295_488
    assert 1.4e9 < found.bill.student.parameters < 1.6e9
    assert found.bill.network_share <= 0.2 and found.bill.operations_share <= 0.2
    values = {line.name: line.value for line in found.lines}
    assert values["memory of the student in training"] + values["memory of its activations"] < 80


@pytest.mark.parametrize("path", sorted(RECIPES.glob("distil-*.toml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_resolves(path):
    assert load(path, DistilSettings).name == path.stem


def test_the_recipe_of_nano_is_a_fifth_of_its_teacher():
    found = estimate(load(RECIPES / "distil-nano.toml", DistilSettings))
    assert found.bill.network_share <= 0.2 and found.bill.operations_share <= 0.2


def test_counted_parameters_are_those_of_the_network():
    for network in (toy_decoder(), toy_encoder()):
        cost = cost_of(network.size)
        assert cost.parameters == sum(p.numel() for p in network.parameters())
    size = toy_size(heads=4, kv_heads=4)
    matrices = 64 * 4 * 128 + 3 * 64 * 96
    assert cost_of(size, 3).operations == 2 * 3 * 2 * (matrices + 2 * 128 * 2)


def test_the_command_shows_the_estimate_and_refuses_what_it_does_not_know(tmp_path, capsys):
    assert run(["compress", "distil", str(RECIPES / "distil-8b.toml"), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "6,946,075,648" in shown and "hours" in shown and "shape.layers = 22" in shown
    assert run(["compress", "distil", str(tmp_path / "none.toml")]) == 2
    assert run(["compress", "distil", "lingxi-nano", "shape.layers=2", "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["recipe"]["shape"]["layers"] == 2 and said["recipe"]["name"] == "lingxi-nano-student"
    with pytest.raises(RecipeError):
        load(RECIPES / "distil-8b.toml", DistilSettings, ["shape.depth=3"])


@CUT
@pytest.mark.slow
def test_the_command_makes_a_student(embedder_directory, pairs, tmp_path, capsys):
    text = f"""
name = "small"
teacher = "{embedder_directory}"
pairs = ["{pairs}"]
calibration = 8
[shape]
layers = 1
[pool]
mixture.tasks = {{ retrieval = 1.0 }}
"""
    (tmp_path / "r.toml").write_text(text)
    assert run(["compress", "distil", str(tmp_path / "r.toml"), "--runs", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert Path(said["out"]).name == "student" and said["bill"]["student"]["network"] > 0
