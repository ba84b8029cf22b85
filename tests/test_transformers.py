"""Parity with transformers: the same random weights give the same vectors and scores."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lingxi import Embedder, Reranker, prompts
from lingxi.engine.run import pooled_states
from lingxi.model.decoder import Decoder
from lingxi.model.sizes import SIZES, Size, config_from_size
from toys import TEXTS, decoder_of, gap, random_ids, random_state, toy_size, unit, write_toy

VECTORS = 1e-5  # largest absolute difference of unit vectors
SCORES = 1e-4  # of probabilities
# Alone, equal lengths side by side, and one long sequence that dominates a padded batch.
LENGTHS = (1, 2, 9, 9, 9, 23, 40, 130)
YES, NO = 9, 4

Reference = Any  # a transformers model


@pytest.fixture(autouse=True)
def _one_tokenizer_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TOKENIZERS_PARALLELISM", "false")


def reference_of(size: Size, state: Mapping[str, torch.Tensor], *, head: bool = False) -> Reference:
    """transformers' own network around the same tensors, built as it builds one from `config.json`."""
    from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

    config = Qwen3Config(**config_from_size(size, end_id=0, dtype="float32"))
    with torch.device("meta"):
        model = Qwen3ForCausalLM(config) if head else Qwen3Model(config)
    inner = model.model if head else model
    inner.load_state_dict({k: v for k, v in state.items() if k != "lm_head.weight"}, assign=True)
    inner.rotary_emb = Qwen3RotaryEmbedding(config)  # its buffers are not stored with the weights
    if head:
        weight = state["embed_tokens.weight"] if size.tied_head else state["lm_head.weight"]
        model.lm_head.weight = torch.nn.Parameter(weight, requires_grad=False)
    return model.eval()


def padded(sequences: Sequence[Sequence[int]], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, sequences))
    ids, mask = torch.zeros(2, len(sequences), width, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        place = slice(width - len(sequence), None) if side == "left" else slice(len(sequence))
        ids[row, place] = torch.tensor(sequence)
        mask[row, place] = 1
    return ids, mask


@torch.inference_mode()
def reference_states(model: Reference, sequences: Sequence[Sequence[int]], side: str) -> torch.Tensor:
    """The state at the last 1 of each mask, whichever side is padded."""
    ids, mask = padded(sequences, side)
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
    return hidden[torch.arange(len(ids)), last]


@torch.inference_mode()
def reference_scores(model: Reference, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    """The published scoring: left padding, softmax over two logits of the last position."""
    ids, mask = padded(sequences, "left")
    logits = model(input_ids=ids, attention_mask=mask).logits[:, -1]
    return logits[:, [NO, YES]].float().softmax(-1)[:, 1]


def scores_of(decoder: Decoder, head: torch.Tensor, sequences: list[list[int]], share: bool) -> torch.Tensor:
    states = pooled_states(decoder, sequences, share_prefix=share)
    return torch.sigmoid(states @ (head[YES] - head[NO]))


def assert_embedder_parity(size: Size, seed: int = 0) -> None:
    state = random_state(size, seed)
    decoder, reference = decoder_of(size, state), reference_of(size, state)
    sequences = random_ids(LENGTHS, size.vocab, seed)
    expected = unit(reference_states(reference, sequences, "left"))
    assert gap(unit(reference_states(reference, sequences, "right")), expected) <= VECTORS
    assert gap(unit(pooled_states(decoder, sequences)), expected) <= VECTORS
    alone = torch.cat([unit(pooled_states(decoder, [s])) for s in sequences])
    assert gap(alone, expected) <= VECTORS
    order = [5, 0, 7, 2, 6, 1, 4, 3]
    shuffled = unit(pooled_states(decoder, [sequences[i] for i in order], budget=60))
    assert gap(shuffled, expected[order]) <= VECTORS
    equal = sequences[2:5]
    assert gap(unit(pooled_states(decoder, equal)), expected[2:5]) <= VECTORS


def assert_reranker_parity(size: Size, seed: int = 1) -> None:
    state = random_state(size, seed)
    decoder, reference = decoder_of(size, state), reference_of(size, state, head=True)
    (prefix,) = random_ids([60], size.vocab, seed)
    sequences = [prefix + tail for tail in random_ids([4, 4, 17, 50], size.vocab, seed + 1)]
    expected = reference_scores(reference, sequences)
    head = state.get("lm_head.weight", state["embed_tokens.weight"])
    for share in (True, False):
        assert gap(scores_of(decoder, head, sequences, share), expected) <= SCORES


def shape(name: str, vocab: int | None = 2000, layers: int = 2) -> Size:
    size = replace(SIZES[name], layers=layers)
    return size if vocab is None else replace(size, vocab=vocab)


SLOW = pytest.mark.slow
EMBEDDERS = [
    pytest.param("pico", None),
    pytest.param("embedding-0.6B", None),
    pytest.param("embedding-4B", 2000, marks=SLOW),
    pytest.param("embedding-8B", 2000, marks=SLOW),
]
RERANKERS = [
    pytest.param("pico"),
    pytest.param("reranker-0.6B"),
    pytest.param("reranker-4B", marks=SLOW),
    pytest.param("reranker-8B", marks=SLOW),
]


# --- every published shape -----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "vocab"), EMBEDDERS)
def test_vectors_at_every_published_shape(name: str, vocab: int | None) -> None:
    assert_embedder_parity(shape(name, vocab))


@pytest.mark.parametrize("name", RERANKERS)
def test_scores_at_every_published_shape(name: str) -> None:
    assert_reranker_parity(shape(name))


@pytest.mark.slow
def test_vectors_and_scores_at_full_depth() -> None:
    size = shape("embedding-0.6B", vocab=2000, layers=28)
    assert_embedder_parity(size)
    assert_reranker_parity(size)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "changes", [{}, {"kv_heads": 4}, {"kv_heads": 1}, {"rope_theta": 1e4}, {"norm_eps": 1e-3}, {"layers": 1}]
)
def test_vectors_at_other_shapes(changes: dict[str, Any], seed: int) -> None:
    assert_embedder_parity(toy_size(**changes), seed)
    assert_reranker_parity(toy_size(**changes, tied_head=seed % 2 == 0), seed)


def test_a_long_sequence() -> None:
    size = toy_size(max_positions=4096)
    state = random_state(size)
    sequences = random_ids([3000, 5], size.vocab)
    expected = unit(reference_states(reference_of(size, state), sequences, "left"))
    assert gap(unit(pooled_states(decoder_of(size, state), sequences)), expected) <= VECTORS


# --- directories, read by both -------------------------------------------------------------------


def texts_by_reference(directory: Path, texts: Sequence[str]) -> torch.Tensor:
    """The model card's recipe: left padding, the end token appended by the tokenizer, last token."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    assert tokenizer.padding_side == "left"
    model = AutoModel.from_pretrained(directory, dtype=torch.float32)
    batch = tokenizer(list(texts), padding=True, return_tensors="pt")
    with torch.inference_mode():
        return unit(model(**batch).last_hidden_state[:, -1])


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"max_shard_bytes": 60_000},
        {"dtype": "bfloat16"},
        {"dtype": "float16"},
        {"dtype": "bfloat16", "max_shard_bytes": 60_000},
    ],
)
def test_directories_read_the_same(form: dict[str, Any], tmp_path: Path) -> None:
    out = write_toy(tmp_path / "embedder", **form)
    expected = texts_by_reference(out, TEXTS)
    assert gap(Embedder(out).encode(TEXTS), expected) <= VECTORS
    queries = texts_by_reference(out, [prompts.query(t) for t in TEXTS])
    assert gap(Embedder(out).encode_query(TEXTS), queries) <= VECTORS


@pytest.mark.parametrize("tied", [True, False])
def test_a_reranker_directory_reads_the_same(tied: bool, tmp_path: Path) -> None:
    """The published example, by hand: prefix ids + pair ids + suffix ids, left padding, two logits."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = write_toy(tmp_path / "reranker", "reranker", size=toy_size(tied_head=tied))
    tokenizer = AutoTokenizer.from_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(out).eval()

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    bodies = [prompts.rerank_body("capital of China", text) for text in TEXTS]
    frame = ids(prompts.RERANK_PREFIX), ids(prompts.RERANK_SUFFIX)
    sequences = [frame[0] + ids(body) + frame[1] for body in bodies]
    batch, mask = padded(sequences, "left")
    with torch.inference_mode():
        logits = model(input_ids=batch, attention_mask=mask).logits[:, -1]
    yes_no = tokenizer.convert_tokens_to_ids(["no", "yes"])
    expected = logits[:, yes_no].softmax(-1)[:, 1]
    pairs = [("capital of China", text) for text in TEXTS]
    assert gap(Reranker(out).predict(pairs), expected) <= SCORES


def test_a_sequence_classification_twin_reads_the_same(reranker_directory: Path, tmp_path: Path) -> None:
    """transformers' own save of a one-row head, as the converted rerankers on the hub are."""
    import shutil

    from transformers import Qwen3ForSequenceClassification

    original = Reranker(reranker_directory)
    twin = Qwen3ForSequenceClassification.from_pretrained(reranker_directory, num_labels=1)
    with torch.no_grad():
        twin.score.weight.copy_(original.judge.row[None])
    twin.save_pretrained(tmp_path / "twin")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(reranker_directory / name, tmp_path / "twin" / name)
    pairs = [("capital of China", text) for text in TEXTS]
    assert gap(Reranker(tmp_path / "twin").predict(pairs), original.predict(pairs)) <= 1e-6
