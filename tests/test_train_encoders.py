"""BERT-type encoders in training: tuned as embedders that read Qwen3's prompts, kept, merged, served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from lingxi import life, prompts
from lingxi.check import check_model, make_golden
from lingxi.embedder import Embedder
from lingxi.engine.quantizing import quantize_directory
from lingxi.errors import InputError, ModelError
from lingxi.merge.run import merge_models
from lingxi.merge.settings import MergeSettings
from lingxi.model.int4 import nearest
from lingxi.model.layout import read_prompts
from lingxi.model.network import open_network_tensors
from lingxi.records import write_pairs
from lingxi.train.checkpoint_start import open_for_training
from lingxi.train.feeding import text_ids
from lingxi.train.settings import TeacherSettings, TrainSettings
from lingxi.train.stages import train_models
from test_stages import CARD, WEAK, sentences
from toys import assert_mendable, gap, toy_encoder

# Texts of the golden file are longer than the toys read.
pytestmark = pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning")

TABLE = "embeddings.word_embeddings.weight"
MATRIX = "encoder.layer.0.attention.self.query.weight"
PHASE = {**WEAK, "steps": 4, "checkpoint_every": 2}


def toy_tokens() -> Tokenizer:
    """A Unigram tokenizer of single characters between `<s>` and `</s>`."""
    seen = sorted({c for row in sentences() for c in row.query + row.positives[0].text} | set("▁:?.,"))
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *seen]
    model = models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=3)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    return tokenizer


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT of random weights, as a sentence-transformers directory with prompts of its own."""
    out = tmp_path_factory.mktemp("bert") / "toy"
    out.mkdir()
    tokenizer = toy_tokens()
    encoder = toy_encoder(vocab=tokenizer.get_vocab_size(), max_positions=512)
    tokenizer.save(str(out / "tokenizer.json"))
    save_file({name: t.contiguous() for name, t in encoder.state_dict().items()}, out / "model.safetensors")
    size = encoder.size
    files: dict[str, Any] = {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_size": size.hidden,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "intermediate_size": size.intermediate,
            "vocab_size": size.vocab,
            "max_position_embeddings": size.max_positions,
            "layer_norm_eps": size.norm_eps,
        },
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate((("", "Transformer"), ("1_Pooling", "Pooling")))
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
        "config_sentence_transformers.json": {"prompts": {"query": "query: ", "document": "passage: "}},
        "sentence_bert_config.json": {"max_seq_length": 400},
    }
    for name, content in files.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(json.dumps(content), encoding="utf-8")
    return out


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    write_pairs(sentences(), path)
    return path


def trained(pairs: Path, folder: Path, start: Path, **table: Any) -> dict[str, Any]:
    stated = {"threads": 1, "dims": [16, 32], "start": str(start), **table}
    return train_models(pairs, TrainSettings.model_validate(stated), folder, CARD, make_golden)


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")


def open_table(directory: Path) -> torch.Tensor:
    with open_network_tensors(directory) as state:
        return state[TABLE].float()


def test_an_encoder_is_tuned_with_all_its_weights(pairs: Path, start: Path, tmp_path: Path) -> None:
    figures = trained(pairs, tmp_path, start, weak=PHASE, supervised={**PHASE, "negatives": 1}, held_out=0.2)
    assert set(figures) == {"pairs", "taught", "weak", "supervised"}
    before, after = weights(start), weights(tmp_path / "embedder")
    assert not [name for name in before if torch.equal(before[name], after[name])]
    assert check_model(tmp_path / "embedder", device="cpu").ok
    dev = [json.loads(line) for line in (tmp_path / "phases/weak/dev.jsonl").read_text().splitlines()]
    assert len(dev) > 1


def test_what_was_trained_is_served_under_the_prompts_it_was_trained_with(
    pairs: Path, start: Path, tmp_path: Path
) -> None:
    trained(pairs, tmp_path, start, weak=PHASE)
    assert read_prompts(start)["query"] == "query: "
    assert read_prompts(tmp_path / "embedder") == {"query": prompts.query_prefix(), "document": ""}
    task = "find it"
    served = Embedder(tmp_path / "embedder", device="cpu").token_ids(["北京是首都。"], instruction=task)
    assert served == text_ids(
        open_for_training(start).tokens, ["北京是首都。"], [prompts.query_prefix(task)], 64
    )


def test_frozen_tokens_stay_as_they_were(pairs: Path, start: Path, tmp_path: Path) -> None:
    trained(pairs, tmp_path, start, weak={**PHASE, "keep": 1}, frozen_tokens=True, products="bfloat16")
    before, after = weights(start), weights(tmp_path / "embedder")
    same = {name for name in before if torch.equal(before[name], after[name])}
    tables = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    assert same == {f"embeddings.{table}.weight" for table in tables}
    (kept,) = (tmp_path / "kept").iterdir()
    assert torch.equal(weights(kept)[TABLE], before[TABLE])


def test_only_the_last_layers_may_be_trained(pairs: Path, start: Path, tmp_path: Path) -> None:
    trained(pairs, tmp_path, start, weak=PHASE, last_layers=1)
    before, after = weights(start), weights(tmp_path / "embedder")
    last = max(int(name.split(".")[2]) for name in before if name.startswith("encoder.layer."))
    assert last > 0
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith(f"encoder.layer.{last}.")}


def test_last_layers_of_a_decoder_keep_the_rest_as_it_was(
    pairs: Path, embedder_directory: Path, tmp_path: Path
) -> None:
    trained(pairs, tmp_path, embedder_directory, weak=PHASE, last_layers=1, dims=[32, 64])
    before, after = weights(embedder_directory), weights(tmp_path / "embedder")
    last = max(int(name.split(".")[1]) for name in before if name.startswith("layers."))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name == "norm.weight" or name.startswith(f"layers.{last}.")}


def test_last_layers_are_not_those_of_adapters() -> None:
    table = {"start": "lingxi-pico", "weak": PHASE, "last_layers": 1, "lora": {"rank": 2}}
    with pytest.raises(ValueError, match="last_layers"):
        TrainSettings.model_validate(table)


def test_more_last_layers_than_there_are_is_refused(pairs: Path, start: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        trained(pairs, tmp_path, start, weak=PHASE, last_layers=99)
    assert_mendable(refused.value, "last_layers")


def test_a_phase_may_round_the_token_vectors_as_they_will_be_stored(
    pairs: Path, start: Path, tmp_path: Path
) -> None:
    trained(pairs, tmp_path, start, weak=PHASE, supervised={**PHASE, "tokens": "int4", "keep": 2})
    before, weak, after = (weights(path) for path in (start, tmp_path / "weak", tmp_path / "embedder"))
    assert not torch.equal(before[TABLE], weak[TABLE])
    assert torch.equal(after[TABLE], nearest(weak[TABLE]).values)
    assert not torch.equal(weak[MATRIX], after[MATRIX])
    for kept in (tmp_path / "kept").iterdir():
        assert torch.equal(weights(kept)[TABLE], after[TABLE])
    stored = quantize_directory(tmp_path / "embedder", tmp_path / "stored", packed=False, table="int4")
    assert torch.equal(open_table(stored), after[TABLE])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"weak": {**PHASE, "tokens": "int4"}, "lora": {"rank": 2}}, "adapters"),
        ({"weak": {**PHASE, "tokens": "int4"}, "supervised": PHASE}, "supervised"),
    ],
)
def test_rounded_token_vectors_are_neither_adapted_nor_trained_on(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TrainSettings.model_validate({"start": "lingxi-pico", **wrong})


@pytest.mark.parametrize("search", [None, {"method": "descend", "steps": 3, "rows": 40}])
def test_checkpoints_of_an_encoder_are_merged(
    search: dict[str, Any] | None, pairs: Path, start: Path, tmp_path: Path
) -> None:
    trained(pairs, tmp_path, start, weak={**PHASE, "keep": 2})
    kept = sorted((tmp_path / "kept").iterdir())
    settings = MergeSettings.model_validate({"method": "linear", "search": search, "dtype": "float32"})
    out = tmp_path / "merged"
    done = merge_models(settings, kept, out, make_golden, dev=pairs if search else None, device="cpu")
    assert check_model(out, device="cpu").ok
    assert read_prompts(out) == read_prompts(kept[0])
    assert "- bert\n" in (out / "README.md").read_text(encoding="utf-8")
    if done.search is None or done.search.kept is None:
        parts = [weights(path) for path in kept]
        expected = sum(share * part[TABLE] for share, part in zip(done.weights, parts, strict=True))
        assert torch.allclose(weights(out)[TABLE], torch.as_tensor(expected), atol=1e-6)


def test_models_of_two_families_are_not_merged(start: Path, embedder_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as refused:
        merge_models(MergeSettings(), [start, embedder_directory], tmp_path / "out", make_golden)
    assert_mendable(refused.value, "family")


@pytest.mark.parametrize(
    ("table", "said"),
    [({"lora": {}}, "encoder"), ({"recompute": True}, "recompute")],
)
def test_what_encoders_lack_is_told_in_words(
    table: dict[str, Any], said: str, pairs: Path, start: Path, tmp_path: Path
) -> None:
    with pytest.raises((InputError, ModelError)) as refused:
        trained(pairs, tmp_path, start, weak=PHASE, **table)
    assert_mendable(refused.value, said)


def test_a_reranker_does_not_start_from_an_encoder(pairs: Path, start: Path, tmp_path: Path) -> None:
    reranker = {
        "steps": 2,
        "batch_queries": 4,
        "learning_rate": 1e-3,
        "token_learning_rate": 1e-3,
        "warmup_steps": 1,
        "miner": str(start),
        "mixture": {"tasks": {"bitext": 1.0}},
        "mining": {"ranks": [1, 8], "rows": 60, "count": 2},
    }
    with pytest.raises(ModelError) as refused:
        trained(pairs, tmp_path, start, reranker=reranker)
    assert_mendable(refused.value, "encoder")


def test_dense_heads_are_not_trained(start: Path, tmp_path: Path) -> None:
    import shutil

    headed = tmp_path / "headed"
    shutil.copytree(start, headed)
    modules = json.loads((headed / "modules.json").read_text())
    dense = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    (headed / "modules.json").write_text(json.dumps([*modules, dense]))
    (headed / "2_Dense").mkdir()
    (headed / "2_Dense/config.json").write_text(json.dumps({"in_features": 32, "out_features": 16}))
    save_file(
        {"linear.weight": torch.randn(16, 32), "linear.bias": torch.zeros(16)},
        headed / "2_Dense/model.safetensors",
    )
    with pytest.raises(ModelError) as refused:
        open_for_training(headed)
    assert_mendable(refused.value, "dense")


def test_a_teacher_in_whose_space_a_network_starts_is_not_turned() -> None:
    assert TeacherSettings().rotated
    assert not TeacherSettings(rotated=False).rotated


SHORT = {"steps": 4, "batch_pairs": 8, "mixture": "{tasks={bitext=1.0}}"}


@pytest.mark.parametrize("recipe", ["nano", "nano-cpu"])
def test_the_recipes_of_the_shipped_embedder_run_in_miniature(
    recipe: str, start: Path, tmp_path: Path
) -> None:
    root = Path(__file__).parent.parent
    short = (
        f'collect.labelled="{root / "tests/data/tiny"}"',
        f'train.start="{start}"',
        "train.pairs=[]",
        "train.teacher={}",
        "train.dims=[16, 32]",
        "train.weak.instruction_rate=0",
        *(f"train.weak.{name}={value}" for name, value in SHORT.items()),
        *(f"train.supervised.{name}={value}" for name, value in SHORT.items()),
    )
    life.run(root / f"recipes/{recipe}.toml", short, runs=tmp_path)
    merged = life.model_of(tmp_path / recipe, "embedder")
    assert merged == tmp_path / recipe / "5-merge" / "embedder"
    assert check_model(merged, device="cpu").ok
    before, after = weights(start)[TABLE], weights(merged)[TABLE].float()
    if recipe == "nano-cpu":
        assert torch.equal(before.half().float(), after)
    else:  # rounded to four bits, but for what float16 rounds
        assert gap(nearest(after).values, after) < 5e-4 < 1e-2 < gap(before, after)
    card = (merged / "README.md").read_text(encoding="utf-8")
    assert "bitext_zh_en_msdocs" in card and "512 tokens" in card
