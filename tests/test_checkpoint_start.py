"""Training starts from any Qwen3 checkpoint, as transformers writes them, and from nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lingxi import Reranker
from lingxi.cli import run
from lingxi.engine.run import pooled_states
from lingxi.errors import ModelError
from lingxi.model.files import read_answer_rows
from lingxi.model.layout import read_kind, write_directory
from lingxi.model.packed import pack
from lingxi.model.sizes import config_from_size
from lingxi.train.checkpoint_start import open_for_training
from toys import assert_mendable, gap, random_ids, toy_size, toy_tokenizer, write_toy

# As in base models, the network has more rows than the tokenizer has ids.
VOCAB = 520
IDS = random_ids([3, 9, 9, 40], 512)
CAUSAL, BARE, CLASSIFIER = "Qwen3ForCausalLM", "Qwen3Model", "Qwen3ForSequenceClassification"


def saved(out: Path, name: str, *, tied: bool = True, dtype: str = "float32", **options: Any) -> Any:
    """A tiny model of transformers, saved by it with a tokenizer.json beside, and read back."""
    import transformers

    config = config_from_size(toy_size(vocab=VOCAB, tied_head=tied), end_id=0, dtype=dtype)
    torch.manual_seed(0)
    kind = getattr(transformers, name)
    kind(transformers.Qwen3Config(**config)).to(getattr(torch, dtype)).save_pretrained(out, **options)
    (out / "tokenizer.json").write_text(toy_tokenizer(), encoding="utf-8")
    return kind.from_pretrained(out, dtype=torch.float32).eval()


@torch.inference_mode()
def their_states(model: Any) -> torch.Tensor:
    inner = getattr(model, "model", model)
    return torch.cat([inner(torch.tensor([s])).last_hidden_state[:, -1] for s in IDS])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (BARE, {}),
        (CAUSAL, {}),
        (CAUSAL, {"tied": False}),
        (CAUSAL, {"tied": False, "dtype": "bfloat16"}),
        (CAUSAL, {"tied": False, "max_shard_size": "100KB"}),
    ],
)
def test_a_checkpoint_opens(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = saved(tmp_path, name, **options)
    start = open_for_training(tmp_path)
    assert gap(pooled_states(start.decoder, IDS), their_states(model)) < 1e-5
    assert start.decoder.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in start.decoder.parameters())
    assert (start.kind, start.max_seq_length, start.tokenizer) == (None, 512, toy_tokenizer())
    untied = not options.get("tied", True)
    assert (start.head is not None) is untied
    if name == CAUSAL:
        assert torch.equal(start.output_rows(), model.lm_head.weight.float())


@pytest.mark.parametrize("tied", [True, False])
def test_a_reranker_starts_from_a_base_model_and_keeps_the_head_it_trained(
    tied: bool, tmp_path: Path
) -> None:
    saved(tmp_path / "base", CAUSAL, tied=tied)
    start = open_for_training(tmp_path / "base")
    yes, no = start.answers()
    rows = start.output_rows()
    learning = [*start.decoder.parameters(), *([start.head] if start.head is not None else [])]
    optimizer = torch.optim.SGD(learning, lr=0.1)
    before = (rows[yes] - rows[no]).detach().clone()
    (start.decoder(pack(IDS)) @ (rows[yes] - rows[no])).sum().backward()
    optimizer.step()
    after = (start.output_rows()[yes] - start.output_rows()[no]).detach()
    assert gap(after, before) > 1e-3
    out = write_directory(start.files("reranker", "# new\n"), tmp_path / "out")
    assert read_kind(out) == "reranker"
    assert gap(read_answer_rows(out, start.decoder.size, yes, no), after) == 0
    assert gap(Reranker(out).judge.row, after) == 0
    again = open_for_training(out)
    assert again.kind == "reranker" and torch.equal(again.output_rows(), start.output_rows())


def test_an_embedder_starts_from_an_untied_model_and_leaves_the_head(tmp_path: Path) -> None:
    saved(tmp_path / "base", CAUSAL, tied=False)
    out = write_directory(open_for_training(tmp_path / "base").files("embedder", "# new\n"), tmp_path / "out")
    again = open_for_training(out)
    assert again.kind == "embedder" and again.head is None
    # Nothing is left to answer with.
    for ask in (again.answers, again.output_rows, lambda: again.files("reranker", "")):
        with pytest.raises(ModelError) as caught:
            ask()
        assert_mendable(caught.value, "lm_head.weight")


def test_own_directories_open(tmp_path: Path) -> None:
    small = write_toy(tmp_path / "int8", "reranker", size=toy_size(tied_head=False), dtype="int8")
    start = open_for_training(small)
    assert (start.kind, start.max_seq_length) == ("reranker", 256)
    yes, no = start.answers()
    rows = start.output_rows()
    assert gap((rows[yes] - rows[no]).detach(), Reranker(small).judge.row) < 1e-6


def test_a_template_without_rows_is_refused_for_a_reranker(tmp_path: Path) -> None:
    saved(tmp_path, CAUSAL)
    described = json.loads(toy_tokenizer())
    described["added_tokens"] = [t for t in described["added_tokens"] if t["content"] != "</think>"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    start = open_for_training(tmp_path)
    with pytest.raises(ModelError) as caught:
        start.answers()
    assert_mendable(caught.value, "'</think>'")


def test_classifiers_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, CLASSIFIER)
    with pytest.raises(ModelError) as caught:
        open_for_training(tmp_path)
    assert_mendable(caught.value, str(tmp_path), CLASSIFIER, "causal")


def test_an_adapter_alone_is_no_start(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError) as caught:
        open_for_training(tmp_path)
    assert_mendable(caught.value, "an adapter", "models adapt")


def test_a_head_of_another_shape_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    saved(tmp_path, CAUSAL, tied=False)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({**weights, "lm_head.weight": torch.zeros(7, 64)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError) as caught:
        open_for_training(tmp_path)
    assert_mendable(caught.value, "lm_head.weight", "[7, 64]")


# The toys are short, some golden texts are not.
@pytest.mark.filterwarnings("ignore::lingxi.errors.LingxiWarning")
def test_an_int8_head_is_exported_with_its_scale(tmp_path: Path) -> None:
    size = toy_size(tied_head=False)
    small = write_toy(tmp_path / "int8", "reranker", size=size, dtype="int8")
    assert run(["models", "export", str(small), str(tmp_path / "out")]) == 0
    assert gap(read_answer_rows(tmp_path / "out", size, 9, 4), read_answer_rows(small, size, 9, 4)) < 1e-7
    shutil.rmtree(tmp_path / "out")
