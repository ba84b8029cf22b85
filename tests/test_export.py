"""What write_directory writes loads in sentence-transformers without a word and computes the same."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lingxi import Embedder, Reranker
from toys import TEXTS, gap, toy_size, write_toy

PAIRS = [(query, text) for query in ("capital of China", "重力", "What is it?") for text in TEXTS]


@pytest.fixture(autouse=True)
def _no_word(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Warnings are errors already; log records of warnings are failures too."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("sentence_transformers", "transformers"):
            logging.getLogger(name).propagate = True
        yield
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert said == []


def sentence_transformer(directory: Path, **options: Any) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(directory), device="cpu", local_files_only=True, **options)


def cross_encoder(directory: Path, **options: Any) -> Any:
    from sentence_transformers import CrossEncoder

    return CrossEncoder(str(directory), device="cpu", local_files_only=True, **options)


def log_odds(probabilities: Any) -> Any:
    p = np.asarray(probabilities, dtype=np.float64)
    return np.log(p) - np.log1p(-p)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 1e-3), ("bfloat16", 5e-2)])
def test_vectors(dtype: str, tolerance: float, tmp_path: Path) -> None:
    out = write_toy(tmp_path / dtype, dtype=dtype)
    theirs, ours = sentence_transformer(out), Embedder(out)
    assert gap(np.asarray(theirs.encode(list(TEXTS)), np.float32), ours.encode(TEXTS)) <= tolerance


def test_prompts_and_widths(embedder_directory: Path) -> None:
    theirs, ours = sentence_transformer(embedder_directory), Embedder(embedder_directory)
    assert gap(theirs.encode_query(list(TEXTS)), ours.encode_query(TEXTS)) <= 1e-5
    assert gap(theirs.encode_document(list(TEXTS)), ours.encode_document(TEXTS)) <= 1e-5
    assert gap(theirs.encode(list(TEXTS), prompt="p: "), ours.encode(TEXTS, prompt="p: ")) <= 1e-5
    assert theirs.prompts == ours.prompts
    assert theirs.get_embedding_dimension() == ours.get_embedding_dimension()
    assert theirs.max_seq_length == ours.max_seq_length
    assert theirs.similarity_fn_name == "cosine"
    narrow = sentence_transformer(embedder_directory, truncate_dim=32)
    cut = narrow.encode(list(TEXTS), normalize_embeddings=True)
    assert gap(cut, ours.encode(TEXTS, truncate_dim=32)) <= 1e-5


def test_a_long_text_keeps_its_end_token(embedder_directory: Path) -> None:
    theirs = sentence_transformer(embedder_directory)
    ours = Embedder(embedder_directory, max_seq_length=16)
    theirs.max_seq_length = 16
    long = "gravity is a force that attracts " * 10
    with pytest.warns(UserWarning, match="were cut"):
        vector = ours.encode(long)
    assert gap(theirs.encode(long), vector) <= 1e-5


def test_a_sharded_directory_loads(tmp_path: Path) -> None:
    out = write_toy(tmp_path / "sharded", max_shard_bytes=60_000)
    assert gap(sentence_transformer(out).encode(list(TEXTS)), Embedder(out).encode(TEXTS)) <= 1e-5


@pytest.mark.parametrize(
    ("form", "tolerance"),
    [
        ({}, 1e-4),
        ({"size": toy_size(tied_head=False)}, 1e-4),
        ({"max_shard_bytes": 60_000}, 1e-4),
        ({"dtype": "float16"}, 2e-2),
    ],
)
def test_rerank_log_odds(form: dict[str, Any], tolerance: float, tmp_path: Path) -> None:
    out = write_toy(tmp_path / "reranker", "reranker", **form)
    theirs, ours = cross_encoder(out), Reranker(out)
    scores = np.asarray(theirs.predict(PAIRS), np.float32)
    assert gap(scores, log_odds(ours.predict(PAIRS))) <= tolerance


def test_rerank_with_an_instruction_and_ranks(reranker_directory: Path) -> None:
    theirs, ours = cross_encoder(reranker_directory), Reranker(reranker_directory)
    task = "Find a text in the same language"
    assert gap(theirs.predict(PAIRS, prompt=task), log_odds(ours.predict(PAIRS, instruction=task))) <= 1e-4
    ranked = [hit["corpus_id"] for hit in theirs.rank("gravity", list(TEXTS))]
    assert ranked == [hit["corpus_id"] for hit in ours.rank("gravity", TEXTS)]


def test_other_servers_find_what_they_look_for(embedder_directory: Path, reranker_directory: Path) -> None:
    def read(name: str, directory: Path = embedder_directory) -> Any:
        return json.loads((directory / name).read_text(encoding="utf-8"))

    # TEI and vLLM: legacy type names, the pooling booleans, and Matryoshka widths in config.json.
    types = [module["type"] for module in read("modules.json")]
    assert types == [f"sentence_transformers.models.{t}" for t in ("Transformer", "Pooling", "Normalize")]
    pooling = read("1_Pooling/config.json")
    assert pooling["pooling_mode_lasttoken"] and pooling["pooling_mode"] == "lasttoken"
    modes = [name for name, on in pooling.items() if name.startswith("pooling_mode_") and on is True]
    assert modes == ["pooling_mode_lasttoken"]
    assert pooling["word_embedding_dimension"] == 64 and pooling["include_prompt"]
    config = read("config.json")
    assert config["is_matryoshka"] and config["matryoshka_dimensions"] == [32, 64]
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert read("tokenizer_config.json")["padding_side"] == "left"
    head = read("1_LogitScore/config.json", reranker_directory)
    ours = Reranker(reranker_directory).tokenizer
    assert (head["true_token_id"], head["false_token_id"]) == (ours.answer("yes"), ours.answer("no"))
    assert len(read("tokenizer_config.json", reranker_directory)["chat_template"]) == 741
