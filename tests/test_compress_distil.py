"""Whole runs: what is cut adds least, what is kept computes the same, and a run ends in a whole model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lingxi import Embedder, Reranker, prompts
from lingxi.check import check_model
from lingxi.cli import run
from lingxi.compress.bill import cost_of
from lingxi.compress.distil import distil
from lingxi.compress.estimate import estimate
from lingxi.compress.lists import draw_lists
from lingxi.compress.reading import read_anew, store_of
from lingxi.compress.recover import Imitation
from lingxi.compress.settings import DistilSettings, PoolSettings
from lingxi.compress.shaping import make_student
from lingxi.compress.teacher import open_teacher
from lingxi.config import load
from lingxi.errors import InputError, ModelError, RecipeError
from lingxi.model.files import read_config
from lingxi.model.layout import read_prompts
from lingxi.records import passage, write_pairs
from lingxi.train.packaged import write_packed_e5
from lingxi.train.phases import MixtureSettings
from lingxi.train.storing import build_store
from test_store import pair
from toys import (
    SENTENCES,
    TEXTS,
    assert_mendable,
    gap,
    toy_decoder,
    toy_encoder,
    toy_size,
    write_toy,
)

RECIPES = Path(__file__).parent.parent / "recipes"
# The toys are short, some golden texts are not.
CUT = pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning")


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


def by_words(texts, instruction):
    """Vectors of hashed words: an embedder whose nearest documents can be told by eye."""
    out = np.zeros((len(texts), 256), np.float32)
    for row, text in zip(out, texts, strict=True):
        for word in text.lower().split():
            row[sum(map(ord, word)) % 256] += 1
    return out / np.linalg.norm(out, axis=1, keepdims=True).clip(1e-9)


def test_a_rerankers_lists_are_the_right_document_and_the_nearest_wrong_ones(pairs, tmp_path):
    mixture = MixtureSettings(tasks={"retrieval": 1.0})
    store = build_store((pairs,), tmp_path / "store", 0)
    drawn = PoolSettings(rows=12, candidates=6, corpus=50, max_tokens=64, mixture=mixture)
    pool = draw_lists(store, drawn, 0, by_words)
    assert pool.kind == "reranker" and pool.rows.shape == (12, 6)
    rows = {row.query: row for row in store.rows(range(len(store)))}
    for numbers in pool.rows:
        bodies = [pool.texts[i] for i in numbers if i >= 0]
        query = bodies[0].split("<Query>: ")[1].split("\n")[0]
        documents = [body.split("<Document>: ")[1] for body in bodies]
        assert documents[0] == rows[query].positives[0].text
        assert documents[0] not in documents[1:] and len(set(documents)) == len(documents)
        asked, found = by_words([query], None), by_words(documents[1:], None)
        assert (np.diff(found @ asked[0]) <= 1e-6).all()
    again = draw_lists(store, drawn, 0, by_words)
    assert again.texts == pool.texts and (again.rows == pool.rows).all()


def test_lists_need_a_corpus_and_a_reranker(embedder_directory, pairs, tmp_path):
    for wrong in ({"corpus": 3}, {"corpus": 50, "negatives": 1}):
        with pytest.raises(ValueError, match="candidates need"):
            PoolSettings(rows=10, candidates=5, **wrong)
    changes = {"pool": {"rows": 10, "candidates": 5, "corpus": 20, "mixture": {"tasks": {"retrieval": 1.0}}}}
    with pytest.raises(InputError) as refused:
        distil(recipe(embedder_directory, pairs, **changes), tmp_path, silent)
    assert_mendable(refused.value, "pool.candidates", "reranker")


@CUT
@pytest.mark.slow
def test_the_rerankers_recipe_in_miniature(embedder_directory, pairs, tmp_path):
    """As shipped but for names, sizes and lengths: lists by an embedder, a part of each at a step."""
    teacher = write_toy(tmp_path / "teacher", "reranker", seed=1)
    changes = [
        f"teacher={teacher}",
        f'pairs=["{pairs}"]',
        f"pool.found_by={embedder_directory}",
        "calibration=16",
        "shape.layers=1",
        "shape.heads=2",
        "shape.intermediate=40",
        "pool.rows=12",
        "pool.corpus=40",
        "pool.candidates=8",
        "pool.max_tokens=24",
        "pool.mixture={tasks={retrieval=1.0}}",
        "recovery.listed=4",
        "recovery.steps=6",
        "recovery.warmup_steps=2",
        "recovery.checkpoint_every=3",
    ]
    settings_of = load(RECIPES / "distil-pico-reranker.toml", DistilSettings, changes)
    done = distil(settings_of, tmp_path / "run", silent)
    assert check_model(done.out, device="cpu").ok
    assert np.load(tmp_path / "run" / "pool" / "rows.npy").shape == (12, 8)
    assert done.figures["right"] > 0


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


@CUT
@pytest.mark.slow
def test_the_start_of_nano_in_miniature(pairs, tmp_path):
    """As shipped but for names, languages and sizes: half of a Unigram vocabulary, and Qwen3's prompts."""
    from test_packaged import packed_file, tensors

    letters = sorted({c for _, text in SENTENCES for c in "".join(text.split())} | set("0123456789▁"))
    words = sorted({f"▁{word}" for language, text in SENTENCES if language == "en" for word in text.split()})
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *words, *letters, *(f"▁un{i}" for i in range(300)), "<mask>"]
    (tmp_path / "e5-small").mkdir()
    given = tensors(np.random.default_rng(2), pieces)
    write_packed_e5(packed_file(tmp_path / "e5.bin", given, pieces=pieces), tmp_path / "e5-small")
    changes = [
        f"teacher={tmp_path / 'e5-small'}",
        f'pairs=["{pairs}"]',
        'vocabulary.languages=["en", "zh"]',
        "vocabulary.size=320",
        "vocabulary.texts=20",
        "pool.mixture={tasks={retrieval=1.0}}",
    ]
    settings_of = load(RECIPES / "nano-start.toml", DistilSettings, changes)
    done = distil(settings_of, tmp_path / "run", silent)
    assert check_model(done.out, device="cpu").ok
    assert read_config(done.out)["vocab_size"] == 320 < len(pieces)
    assert read_prompts(done.out) == {"query": prompts.query_prefix(), "document": ""}
    student, teacher = (Embedder(d, device="cpu") for d in (done.out, tmp_path / "e5-small"))
    asked = teacher.encode(["gravity is long"], prompt=prompts.query_prefix())
    assert gap(student.encode_query(["gravity is long"]), asked) < 2e-3  # float16
    # Pieces that no text has are kept by their probability, the likelier first.
    described = (done.out / "tokenizer.json").read_text(encoding="utf-8")
    kept = [piece for piece, _ in json.loads(described)["model"]["vocab"]]
    assert set(words) <= set(kept) and "▁un0" in kept and "▁un299" not in kept
    assert "\n" not in described and ": " not in described.replace('": "', "")


def test_prompts_of_a_student_are_refused_where_it_learns_or_judges(embedder_directory, pairs, tmp_path):
    with pytest.raises(ValueError, match="leave out recovery"):
        recipe(embedder_directory, pairs, prompts="instruct")
    judge = write_toy(tmp_path / "judge", "reranker", seed=1)
    with pytest.raises(InputError) as refused:
        distil(recipe(judge, pairs, prompts="instruct", recovery=None), tmp_path / "run", silent)
    assert_mendable(refused.value, "instruct", "reranker")


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


def test_the_recipe_of_the_8b_model_resolves_to_a_student_of_one_and_a_half_billion():
    found = estimate(load(RECIPES / "distil-8b.toml", DistilSettings))
    assert found.bill.teacher.parameters == 7_567_295_488
    assert 1.4e9 < found.bill.student.parameters < 1.6e9
    assert found.bill.network_share <= 0.2 and found.bill.operations_share <= 0.2
    values = {line.name: line.value for line in found.lines}
    assert values["memory of the student in training"] + values["memory of its activations"] < 80


@pytest.mark.parametrize(
    "path", [*sorted(RECIPES.glob("distil-*.toml")), RECIPES / "nano-start.toml"], ids=lambda path: path.stem
)
def test_every_shipped_recipe_resolves(path):
    assert load(path, DistilSettings).name == path.stem


@pytest.mark.parametrize("name", ["distil-pico", "distil-pico-reranker"])
def test_the_recipe_of_nano_is_a_fifth_of_its_teacher(name):
    found = estimate(load(RECIPES / f"{name}.toml", DistilSettings))
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
    assert run(["compress", "distil", "lingxi-pico", "shape.layers=2", "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["recipe"]["shape"]["layers"] == 2 and said["recipe"]["name"] == "lingxi-pico-student"
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
