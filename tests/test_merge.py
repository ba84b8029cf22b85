"""Merging: each method against a slow reference, what a search finds, and whole directories."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lingxi import Embedder, Reranker
from lingxi.check import check_model, make_golden
from lingxi.cli import run
from lingxi.errors import InputError, LingxiError, ModelError
from lingxi.merge import methods, sphere
from lingxi.merge.alike import equal
from lingxi.merge.descend import backward, descend
from lingxi.merge.run import FILE, Dev, merge_models
from lingxi.merge.search import compositions, grid, search
from lingxi.merge.settings import MergeSettings, SearchSettings, weights_for
from lingxi.model.decoder import Decoder
from lingxi.model.files import open_weights, read_decoder
from lingxi.model.layout import read_kind
from lingxi.model.packed import pack
from lingxi.records import Pair, passage, write_pairs
from toys import assert_mendable, random_ids, random_state, toy_size, toy_tokenizer, write_toy

SIZE = toy_size(layers=1, hidden=32, heads=2, kv_heads=1, head_dim=16, intermediate=32, vocab=64)
SHARES = st.floats(0, 1)
# The toys are short, some golden texts are not.
CUT = pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning")


def states(count: int = 3) -> list[dict[str, torch.Tensor]]:
    """Checkpoints of one run: a start, and steps away from it."""
    start = random_state(SIZE, 0)
    others = [random_state(SIZE, seed) for seed in range(1, count)]
    return [start, *({n: start[n] + 0.3 * other[n] for n in start} for other in others)]


def flat(state) -> np.ndarray:
    return np.concatenate([state[name].double().numpy().ravel() for name in sorted(state)])


def slow_slerp(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    angle = math.acos(float(np.clip(a.ravel() @ b.ravel() / norms, -1, 1))) if norms else 0.0
    if math.sin(angle) < 1e-6:
        return (1 - t) * a + t * b
    return (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)


def close(a, b, tolerance: float = 1e-5) -> None:
    assert set(a) == set(b)
    for name in a:
        assert torch.allclose(a[name].float(), b[name].float(), atol=tolerance), name


@settings(max_examples=15, deadline=None)
@given(SHARES)
def test_slerp_equals_a_slow_reference(t):
    a, b = states(2)
    local, everywhere = methods.slerp(a, b, t), methods.slerp(a, b, t, "global")
    for name in a:
        expected = slow_slerp(a[name].double().numpy(), b[name].double().numpy(), t)
        assert np.abs(local[name].numpy() - expected).max() < 1e-6
    assert np.abs(flat(everywhere) - slow_slerp(flat(a), flat(b), t)).max() < 1e-6


@pytest.mark.parametrize("granularity", ["tensor", "global"])
def test_slerp_has_its_ends_and_is_symmetric(granularity):
    a, b = states(2)
    assert equal(dict(methods.slerp(a, b, 0.0, granularity)), a)
    assert equal(dict(methods.slerp(a, b, 1.0, granularity)), b)
    close(methods.slerp(a, b, 0.3, granularity), methods.slerp(b, a, 0.7, granularity), 1e-6)


@settings(max_examples=15, deadline=None)
@given(SHARES)
def test_slerp_keeps_a_norm_that_both_have(t):
    a, b = ({n: x / x.norm() for n, x in state.items()} for state in states(2))
    for name, tensor in methods.slerp(a, b, t).items():
        assert tensor.norm().item() == pytest.approx(1, abs=1e-5), name
    assert np.linalg.norm(flat(methods.slerp(a, b, t, "global"))) == pytest.approx(
        math.sqrt(len(a)), abs=1e-5
    )
    # The line cuts the corner.
    assert methods.linear((a, b), (0.5, 0.5))["layers.0.mlp.up_proj.weight"].norm() < 0.995


def test_slerp_is_linear_where_there_is_no_angle():
    a = {"w": torch.tensor([[1.0, 2.0]])}
    for b in ({"w": 3 * a["w"]}, {"w": torch.zeros(1, 2)}, {"w": -a["w"]}):
        close(methods.slerp(a, b, 0.25), methods.linear((a, b), (0.75, 0.25)))
    assert torch.equal(methods.slerp({"w": torch.zeros(2)}, {"w": torch.zeros(2)}, 0.5)["w"], torch.zeros(2))


def test_slerp_of_many_goes_one_by_one():
    a, b, c = states()
    name = "layers.0.self_attn.q_proj.weight"
    pair = slow_slerp(a[name].double().numpy(), b[name].double().numpy(), 0.3 / 0.5)
    expected = slow_slerp(pair, c[name].double().numpy(), 0.5)
    assert np.abs(methods.slerp_many((a, b, c), (0.2, 0.3, 0.5))[name].numpy() - expected).max() < 1e-6
    close(methods.slerp_many((a, b, c), (0.0, 0.0, 1.0)), c, 0)


def test_dot_products_of_chunks_are_those_of_the_whole(monkeypatch):
    tensors = [torch.randn(7, 9), torch.randn(7, 9)]
    whole = sphere.gram(tensors)
    monkeypatch.setattr(sphere, "_CHUNK", 10)
    assert torch.allclose(sphere.gram(tensors), whole)
    assert whole[0, 1].item() == pytest.approx((tensors[0] * tensors[1]).sum().item(), abs=1e-4)


def test_a_soup_is_the_weighted_mean_and_of_equal_models_the_model():
    a, b, c = states()
    soup = methods.linear((a, b, c), (0.5, 0.3, 0.2))
    close(soup, {n: 0.5 * a[n] + 0.3 * b[n] + 0.2 * c[n] for n in a}, 1e-6)
    for many in (methods.linear((a, a), (0.5, 0.5)), methods.slerp_many((a, a, a), (1 / 3,) * 3)):
        close(many, a, 1e-6)


def test_task_vectors_are_added_to_the_base():
    base, a, b = states()
    close(
        methods.task(base, (a, b), (0.8, -0.4)),
        {n: base[n] + 0.8 * (a[n] - base[n]) - 0.4 * (b[n] - base[n]) for n in base},
    )
    assert equal(dict(methods.task(base, (a, b), (0.0, 1.0))), b)


def test_trimming_keeps_the_largest():
    kept = methods.trimmed(torch.tensor([[0.1, -3.0], [2.0, 0.5]]), 0.5)
    assert kept.tolist() == [[0.0, -3.0], [2.0, 0.0]]
    base, a, b = states()
    merged = methods.task(base, (a, b), (1.0, 1.0), trim=0.25)["embed_tokens.weight"]
    changed = (merged - base["embed_tokens.weight"]).abs() > 1e-7
    assert 0.25 <= changed.float().mean() <= 0.5


def slow_ties(columns: np.ndarray, weights: np.ndarray) -> float:
    sign = np.sign((weights * columns).sum())
    agree = [(w, x) for w, x in zip(weights, columns, strict=True) if x != 0 and np.sign(x) == sign and w > 0]
    mass = sum(w for w, _ in agree)
    return weights.sum() * sum(w * x for w, x in agree) / mass if mass else 0.0


def test_elected_signs_equal_a_slow_reference():
    differences = torch.randn(3, 20, generator=torch.Generator().manual_seed(0)).double()
    differences[0, :5] = 0
    weights = [0.5, 0.2, 0.4]
    found = methods.elected(list(differences), weights)
    expected = [slow_ties(differences[:, i].numpy(), np.array(weights)) for i in range(20)]
    assert np.allclose(found.numpy(), expected)
    base, a, _ = states()
    # Without a conflict it is task arithmetic.
    close(methods.task(base, (a, a), (0.3, 0.5), elect=True), methods.task(base, (a, a), (0.3, 0.5)))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(1, 40))
def test_a_grid_has_even_weights_and_no_corner_or_point_twice(models, most):
    points = grid(models, most)
    assert 1 <= len(points) <= most
    assert points[0] == pytest.approx((1 / models,) * models)
    assert len({tuple(round(w, 9) for w in point) for point in points}) == len(points)
    assert all(sum(p) == pytest.approx(1) and max(p) < 1 for p in points)


def test_compositions_are_all_of_them():
    assert sorted(compositions(2, 2)) == [(0, 2), (1, 1), (2, 0)]
    assert len(list(compositions(4, 3))) == 15
    assert len(grid(2, 19)) == 19


@pytest.mark.parametrize("method", ["grid", "coordinate"])
def test_a_search_finds_a_planted_optimum(method):
    models = states(2)
    reach = methods.linear_space(models)
    wanted = flat(methods.linear(models, (0.3, 0.7)))
    found = search(
        reach,
        models,
        lambda state: -float(np.abs(flat(state) - wanted).mean()),
        SearchSettings(method=method, trials=25),
    )
    assert found.weights == pytest.approx((0.3, 0.7), abs=0.03)
    assert found.kept is None
    assert len(found.trials) <= 25
    assert found.score == max(trial.score for trial in found.trials)


def test_coordinates_of_task_vectors_are_free():
    base, a, b = states()
    reach = methods.task_space(base, (a, b))
    wanted = flat(methods.task(base, (a, b), (1.0, 0.75)))
    found = search(
        reach,
        (a, b),
        lambda state: -float(np.square(flat(state) - wanted).mean()),
        SearchSettings(method="coordinate", trials=40),
    )
    assert found.weights == pytest.approx((1.0, 0.75), abs=0.05)


def test_the_best_input_is_kept_where_no_merge_is_as_good():
    models = states(3)
    target = flat(models[2])
    found = search(
        methods.linear_space(models),
        models,
        lambda state: -float(np.abs(flat(state) - target).mean()),
        SearchSettings(trials=8),
    )
    assert (found.kept, found.weights, found.score) == (2, (0.0, 0.0, 1.0), 0.0)
    assert "input 3" in found.said()
    with pytest.raises(InputError, match="dev score is nan"):
        search(methods.linear_space(models), models, lambda state: math.nan, SearchSettings())


def toy_loss(decoder: Decoder, step: int) -> torch.Tensor:
    return decoder(pack(random_ids([5, 5, 3], SIZE.vocab, seed=step))).square().mean()


@pytest.mark.parametrize(
    "reach",
    [
        lambda s: methods.linear_space(s[1:]),
        lambda s: methods.slerp_space(s[1:], "tensor"),
        lambda s: methods.slerp_space(s[1:], "global"),
        lambda s: methods.task_space(s[0], s[1:]),
        lambda s: methods.task_space(s[0], s[1:], trim=0.3),
    ],
)
def test_the_gradient_of_the_weights_is_that_of_a_slow_reference(reach):
    room = reach(states(4))
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64, requires_grad=True)
    with torch.device("meta"):
        decoder = Decoder(SIZE)
    value = backward(room, weights, decoder, toy_loss, 3)

    other = weights.detach().clone().requires_grad_()
    merged = {
        name: sum(
            share.float() * part[name]
            for share, part in zip(room.shares(name, other), room.parts, strict=True)
        )
        for name in room.parts[0]
    }
    packed = pack(random_ids([5, 5, 3], SIZE.vocab, seed=3))
    loss = torch.func.functional_call(Decoder(SIZE), merged, (packed,)).square().mean()
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(weights.grad, other.grad, rtol=1e-3, atol=1e-6)


def empty() -> Decoder:
    """A network of the tests' shape without weights."""
    with torch.device("meta"):
        return Decoder(SIZE)


@pytest.mark.parametrize("convex", [True, False])
def test_descent_finds_a_planted_optimum(convex):
    base, a, b = states()
    reach = methods.slerp_space((a, b), "tensor") if convex else methods.task_space(base, (a, b))
    planted = (0.25, 0.75) if convex else (0.9, 0.3)
    wanted = dict(reach.merged(planted))

    def loss(decoder: Decoder, step: int) -> torch.Tensor:
        """Distance to the planted weights."""
        return sum((p - wanted[n]).square().sum() for n, p in decoder.named_parameters()) / 100

    target = flat(wanted)
    found = descend(
        reach,
        (a, b),
        lambda state: -float(np.square(flat(state) - target).sum()),
        loss,
        empty(),
        SearchSettings(method="descend", steps=60),
    )
    assert found.weights == pytest.approx(planted, abs=0.03)
    losses = [trial.loss for trial in found.trials if trial.loss is not None]
    assert len(losses) == 60
    assert losses[-1] < losses[0] / 20
    assert sum(trial.score is not None for trial in found.trials) == 5


def test_descent_stops_at_a_loss_that_is_not_finite():
    models = states(2)
    with pytest.raises(InputError, match="is nan at step 0"):
        descend(
            methods.linear_space(models),
            models,
            lambda state: 0.0,
            lambda decoder, step: decoder.norm.weight.sum() * math.nan,
            empty(),
            SearchSettings(method="descend"),
        )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"weights": (0.5, 0.2)}, "add up to 0.7"),
        ({"weights": (1.5, -0.5)}, "below 0"),
        ({"weights": (math.nan, 1.0)}, "finite"),
        ({"method": "task"}, "set base"),
        ({"base": "x"}, "belong to the method task"),
        ({"trim": 0.5, "method": "linear"}, "belong to the method task"),
        ({"method": "task", "base": "x", "trim": 0.0}, "greater than 0"),
        ({"method": "task", "base": "x", "elect": True, "weights": (1, -1)}, "below 0"),
        ({"method": "task", "base": "x", "elect": True, "search": {"method": "descend"}}, "no gradient"),
        ({"weights": (0.5, 0.5), "search": {}}, "given or searched"),
        ({"wieghts": (0.5, 0.5)}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, words):
    with pytest.raises(ValidationError, match=words):
        MergeSettings.model_validate(values)


def test_weights_fit_the_models():
    assert weights_for(MergeSettings(), 4) == (0.25,) * 4
    assert sum(weights_for(MergeSettings(weights=(0.333, 0.333, 0.333)), 3)) == pytest.approx(1)
    with pytest.raises(InputError, match="2 weights for 3 models"):
        weights_for(MergeSettings(weights=(0.5, 0.5)), 3)
    with pytest.raises(InputError, match="two or more"):
        weights_for(MergeSettings(), 1)


@pytest.fixture(scope="module")
def embedders(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("merge")
    return [write_toy(folder / f"e{seed}", seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def rerankers(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("merge")
    return [
        write_toy(folder / f"r{seed}", "reranker", size=toy_size(tied_head=False), seed=seed)
        for seed in range(2)
    ]


@CUT
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_a_merged_embedder_loads_and_passes_its_check(embedders, tmp_path, dtype):
    done = merge_models(
        MergeSettings(method="linear", weights=(0.2, 0.8), dtype=dtype),
        embedders[:2],
        tmp_path / "m",
        make_golden,
    )
    assert done.weights == (0.2, 0.8)
    assert check_model(done.out, device="cpu").ok
    assert Embedder(done.out).encode("gravity").shape == (64,)
    with open_weights(embedders[0]) as a, open_weights(embedders[1]) as b, open_weights(done.out) as merged:
        tolerance = {"float32": 1e-6, "bfloat16": 2e-2, "int8": 1e-2}[dtype]
        close(merged, {n: 0.2 * a[n] + 0.8 * b[n] for n in a}, tolerance)
    said = json.loads((done.out / FILE).read_text())
    assert [each["weight"] for each in said["inputs"]] == [0.2, 0.8]
    assert len({each["hash"] for each in said["inputs"]}) == 2
    assert str(tmp_path) not in json.dumps(said)
    card = (done.out / "README.md").read_text()
    assert "weighted mean" in card and "- qwen3\n" in card
    assert "| e1 |" in card
    assert not list(tmp_path.glob("*.partial"))


@CUT
def test_a_merged_reranker_keeps_its_kind_and_head(rerankers, tmp_path):
    done = merge_models(MergeSettings(dtype="float32"), rerankers, tmp_path / "m", make_golden)
    assert read_kind(done.out) == "reranker"
    assert check_model(done.out, device="cpu").ok
    assert 0 <= Reranker(done.out).predict([("gravity", "a force")])[0] <= 1
    with open_weights(rerankers[0]) as a, open_weights(rerankers[1]) as b, open_weights(done.out) as merged:
        close(merged, dict(methods.slerp(a, b, 0.5)), 1e-6)
        assert "lm_head.weight" in merged


@CUT
def test_int8_and_shards_are_read_as_what_they_stand_for(tmp_path):
    whole = write_toy(tmp_path / "int8", dtype="int8", seed=4)
    shards = write_toy(tmp_path / "shards", "embedder", dtype="float16", max_shard_bytes=40_000, seed=4)
    for directory in (whole, shards):
        expected = read_decoder(directory, torch.float32).state_dict()
        with open_weights(directory) as found:
            assert equal(dict(found), expected)
    done = merge_models(MergeSettings(), [whole, shards], tmp_path / "m", make_golden)
    assert check_model(done.out).ok


@CUT
def test_an_earlier_merge_is_replaced_and_nothing_else(embedders, tmp_path):
    out = tmp_path / "m"
    for weights in ((0.5, 0.5), (0.25, 0.75)):
        merge_models(MergeSettings(weights=weights), embedders[:2], out, make_golden)
    assert json.loads((out / FILE).read_text())["inputs"][0]["weight"] == 0.25
    (tmp_path / "other").mkdir()
    again = MergeSettings(method="task", base=str(out))
    with pytest.raises(InputError, match="is, or holds, a model"):
        merge_models(again, embedders[:2], out, make_golden)
    for wrong in (tmp_path / "other", embedders[0], embedders[0].parent):
        with pytest.raises(InputError) as caught:
            merge_models(MergeSettings(), embedders[:2], wrong, make_golden)
        assert_mendable(caught.value, str(wrong))
    assert (embedders[0] / "config.json").exists()


def no_golden(_: Path) -> None:
    pytest.fail("nothing is to be written")


def test_a_merge_that_is_an_input_is_refused(embedders, tmp_path):
    twice = [embedders[0], embedders[0]]
    for options in ({}, {"method": "task", "base": str(embedders[1]), "weights": (0.5, 0.5)}):
        with pytest.raises(InputError) as caught:
            merge_models(MergeSettings(**options), twice, tmp_path / "m", no_golden)
        assert_mendable(caught.value, "equals", "e0")
    lost = MergeSettings(method="task", base=str(embedders[2]), weights=(0, 0))
    with pytest.raises(InputError, match="equals its base"):
        merge_models(lost, embedders[:2], tmp_path / "m", no_golden)
    assert not (tmp_path / "m").exists()


@CUT
def test_an_input_of_weight_1_is_itself(embedders, tmp_path):
    done = merge_models(
        MergeSettings(weights=(0, 1), dtype="float32"), embedders[:2], tmp_path / "m", make_golden
    )
    with open_weights(done.out) as merged, open_weights(embedders[1]) as other:
        assert equal(dict(merged), other)


def test_models_that_differ_are_refused_in_words(embedders, rerankers, tmp_path):
    other = json.loads(toy_tokenizer())
    merges = other["model"]["merges"]
    other["model"]["merges"] = [merges[1], merges[0], *merges[2:]]
    directories = {
        "hidden": write_toy(tmp_path / "wide", size=toy_size(hidden=96)),
        "kind": write_toy(tmp_path / "kind", "reranker"),
        "tokenizer.json": write_toy(tmp_path / "words", tokenizer=json.dumps(other)),
        "tied_head": rerankers[0],
    }
    for what, directory in directories.items():
        with pytest.raises(ModelError) as caught:
            merge_models(MergeSettings(), [embedders[0], directory], tmp_path / "m", no_golden)
        assert_mendable(caught.value, f"differ in {what}", directory.name)


def test_prompts_must_agree_and_are_kept(embedders, tmp_path):
    made = [write_toy(tmp_path / f"p{seed}", seed=seed) for seed in (5, 6)]
    path = "config_sentence_transformers.json"
    for directory in made:
        held = json.loads((directory / path).read_text())
        (directory / path).write_text(json.dumps({**held, "prompts": {"query": "q: ", "document": "d: "}}))
    with pytest.raises(ModelError, match="differ in prompts"):
        merge_models(MergeSettings(), [embedders[0], made[0]], tmp_path / "m", no_golden)
    done = merge_models(MergeSettings(), made, tmp_path / "m", lambda out: None)
    assert json.loads((done.out / path).read_text())["prompts"] == {"query": "q: ", "document": "d: "}


def dev_pairs(path: Path, kind: str = "retrieval") -> Path:
    words = ("gravity", "silla", "北京", "cocina", "search", "text", "double", "capital")
    rows = [
        Pair(
            id=str(n),
            group=str(n),
            query=f"{word} {n}",
            positives=(passage(f"the {word} of {n}"),),
            negatives=(passage(f"no {words[n - 1]} {n}"),),
            instruction="find it",
            task=kind,
            query_language="en",
            document_language="en",
            source="t",
            licence="CC0",
        )
        for n, word in enumerate(words)
    ]
    write_pairs(rows, path)
    return path


@CUT
@pytest.mark.parametrize("method", ["grid", "descend"])
@pytest.mark.parametrize("kind", ["embedder", "reranker"])
def test_weights_are_searched_on_pairs(kind, method, tmp_path):
    models = [write_toy(tmp_path / f"{seed}", kind, seed=seed) for seed in range(2)]
    found = merge_models(
        MergeSettings(search=SearchSettings(method=method, trials=5, steps=4), dtype="float32"),
        models,
        tmp_path / "m",
        make_golden,
        dev=dev_pairs(tmp_path / "dev.parquet"),
        device="cpu",
    )
    assert found.search is not None
    assert found.search.score >= max(found.search.inputs)
    assert check_model(found.out, device="cpu").ok
    said = json.loads((found.out / FILE).read_text())["search"]
    assert said["dev_rows"] == (4 if method == "descend" else 8)
    assert len(said["trials"]) == 5
    assert [each for each in said["inputs"] if not 0 < each <= 1] == []


@CUT
def test_the_score_of_an_input_is_that_of_the_embedder(embedders, tmp_path):
    from lingxi.merge.probe import make_probe
    from lingxi.merge.reading import Reading, read_dev
    from lingxi.metrics import ndcg_at_k
    from lingxi.model.network import empty_network

    asked = SearchSettings()
    pairs = read_dev(dev_pairs(tmp_path / "dev.parquet"), asked)
    embedder = Embedder(embedders[0], device="cpu")
    reading = Reading(
        "embedder", partial(empty_network, embedders[0]), embedder.tokenizer, 100, torch.device("cpu")
    )
    with open_weights(embedders[0]) as state:
        score = make_probe(pairs, reading, asked).score(state)
    texts = [item.text for pair in pairs for item in (*pair.positives, *pair.negatives)]
    queries = embedder.encode_query([pair.query for pair in pairs], instruction="find it")
    order = np.argsort(-(queries @ embedder.encode(texts).T), axis=1)
    grades = [
        [float(texts[i] == p.positives[0].text) for i in row] for p, row in zip(pairs, order, strict=True)
    ]
    assert score == pytest.approx(ndcg_at_k(grades, [[1.0]] * len(pairs), 10).mean())


def test_a_search_needs_a_dev_set_and_the_other_way_round(embedders, tmp_path):
    some = Dev(lambda state: 0.0)
    for options, dev, words in (
        ({"search": {}}, None, "without a dev set"),
        ({}, some, "no search"),
        ({"search": {"method": "descend"}}, some, "needs a loss"),
    ):
        with pytest.raises(InputError, match=words):
            made = MergeSettings.model_validate(options)
            merge_models(made, embedders[:2], tmp_path / "m", no_golden, dev=dev)
    (tmp_path / "few.jsonl").write_text('{"query": "a", "positive": "b"}\n')
    with pytest.raises(LingxiError, match="1 pairs to measure"):
        merge_models(
            MergeSettings(search=SearchSettings()),
            embedders[:2],
            tmp_path / "m",
            no_golden,
            dev=tmp_path / "few.jsonl",
        )


@CUT
def test_the_best_input_is_written_where_it_is_kept(embedders, tmp_path):
    with open_weights(embedders[1]) as best:
        target = flat(best)
    done = merge_models(
        MergeSettings(
            method="task", base=str(embedders[2]), trim=0.5, search=SearchSettings(), dtype="float32"
        ),
        embedders[:2],
        tmp_path / "m",
        make_golden,
        dev=Dev(lambda state: -float(np.abs(flat(state) - target).mean())),
    )
    assert done.search is not None
    assert done.search.kept == 1
    with open_weights(done.out) as merged, open_weights(embedders[1]) as other:
        assert equal(dict(merged), other)
    assert "which is kept" in (done.out / "README.md").read_text()


@CUT
def test_the_command_merges_and_searches(embedders, tmp_path, capsys):
    names = [str(path) for path in embedders[:2]]
    out = str(tmp_path / "m")
    assert run(["merge", *names, "--out", out, "--weights", "0.4,0.6", "--global", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"] == [0.4, 0.6]
    assert run(["check", out]) == 0
    dev = dev_pairs(tmp_path / "dev.parquet", "bitext")
    arguments = ["--method", "task", "--base", str(embedders[2]), "--dev", str(dev), "--trials", "3"]
    assert run(["merge", *names, "--out", str(tmp_path / "n"), "--search", "coordinate", *arguments]) == 0
    # Which of the two depends on the toys; the inputs are named either way.
    said = capsys.readouterr().out
    assert "the best input" in said or "it is kept" in said
    (tmp_path / "dev.jsonl").write_text(
        "".join(f'{{"anchor": "gravity {n}", "positive": "a force {n}"}}\n' for n in range(5))
    )
    assert (
        run(["merge", *names, "--out", str(tmp_path / "o"), "--dev", str(tmp_path / "dev.jsonl"), "--json"])
        == 0
    )
    assert len(json.loads(capsys.readouterr().out)["search"]["trials"]) == 19


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weights", "0.5,x"], "weights are '0.5,x'"),
        (["--weights", "0.5,0.1"], "add up to 0.6"),
        (["--weights", "0.5,0.3,0.2"], "3 weights for 2 models"),
        (["--method", "soup"], "method"),
        (["--method", "task"], "set base"),
        (["--dev", "nowhere.parquet"], "nowhere.parquet"),
        (["--dtype", "int4"], "dtype"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(embedders, tmp_path, capsys, arguments, words):
    names = [str(path) for path in embedders[:2]]
    assert run(["merge", *names, "--out", str(tmp_path / "m"), *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    assert not (tmp_path / "m").exists()
