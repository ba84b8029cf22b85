"""A reranker's twin for servers of the older layout scores pairs as the reranker does."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lingxi import Embedder, Reranker
from lingxi.cli import run
from lingxi.model.layout import read_directory, write_directory
from lingxi.model.twin import write_twin
from toys import TEXTS, gap, toy_size, write_toy

# Ends in letters: the twin's tokens are the prompt's.
QUERIES = ("capital of China", "重力", "Find bodies")


def log_odds(probabilities: Any) -> Any:
    p = np.asarray(probabilities, np.float64)
    return np.log(p) - np.log1p(-p)


def twin_of(folder: Path, **form: Any) -> tuple[Path, Path]:
    original = write_toy(folder / "reranker", "reranker", **form)
    return original, write_twin(read_directory(original), folder / "twin")


def test_a_pairs_tokens_are_the_prompts(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    original, twin = twin_of(tmp_path)
    theirs, ours = Tokenizer.from_file(str(twin / "tokenizer.json")), Reranker(original)
    for pair in [(query, text) for query in QUERIES for text in TEXTS if text]:
        assert theirs.encode(*pair).ids == ours.token_ids([pair])[0]


@pytest.mark.parametrize("form", [{}, {"size": toy_size(tied_head=False)}])
def test_it_is_a_classifier_for_others_and_a_reranker_for_us(form: dict[str, Any], tmp_path: Path) -> None:
    original, twin = twin_of(tmp_path, **form)
    config = json.loads((twin / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Qwen3ForSequenceClassification"] and len(config["id2label"]) == 1
    pairs = [(query, text) for query in (*QUERIES, "What is it?") for text in TEXTS]
    assert gap(log_odds(Reranker(twin).predict(pairs)), log_odds(Reranker(original).predict(pairs))) <= 1e-5


def test_transformers_scores_pairs_as_the_reranker_does(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers", reason="the classifier's own library")
    original, twin = twin_of(tmp_path)
    pairs = [(query, text) for query in QUERIES for text in TEXTS if text]
    tokenizer = transformers.AutoTokenizer.from_pretrained(twin)
    classifier = transformers.AutoModelForSequenceClassification.from_pretrained(twin).eval()
    with torch.no_grad():
        padded = tokenizer([list(pair) for pair in pairs], padding=True, return_tensors="pt")
        got = classifier(**padded).logits[:, 0].numpy()
    assert gap(got, log_odds(Reranker(original).predict(pairs))) <= 1e-4


def test_the_command_writes_either_kind(
    reranker_directory: Path, embedder_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "export", str(reranker_directory), str(tmp_path / "twin"), "--compat"]) == 0
    assert (tmp_path / "twin" / "golden" / "golden.json").exists()
    assert run(["models", "export", str(embedder_directory), str(tmp_path / "embedder"), "--compat"]) == 0
    plain = write_directory(read_directory(embedder_directory), tmp_path / "plain")
    for name in ("config.json", "modules.json", "tokenizer.json", "1_Pooling/config.json"):
        assert (tmp_path / "embedder" / name).read_bytes() == (plain / name).read_bytes()
    how = ["models", "export", str(embedder_directory), str(tmp_path / "int8"), "--compat", "--dtype", "int8"]
    assert run(how) == 2 and "other servers do not read int8" in capsys.readouterr().err


@contextmanager
def infinity(program: str, directories: list[Path]) -> Iterator[str]:
    """The address of an infinity-emb that serves these directories."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    models = []
    for directory in directories:
        models += ["--model-id", str(directory), "--served-model-name", directory.name]
    how = ["--device", "cpu", "--engine", "torch", "--dtype", "float32", "--no-bettertransformer"]
    command = [program, "v2", *models, *how, "--no-model-warmup", "--host", "127.0.0.1", "--port", str(port)]
    # Its own settings: no hub is asked, nothing is reported.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    environment.pop("PYTHONPATH", None)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "infinity-emb ended before it served"
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError("infinity-emb does not answer")


def _asked(address: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_infinity_serves_both(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    program = request.config.getoption("--infinity") or shutil.which("infinity_emb")
    if program is None:
        pytest.skip("infinity-emb is not installed: give its program by --infinity")
    for name in ("lingxi-pico", "lingxi-pico-reranker"):
        assert run(["models", "export", name, str(tmp_path / name), "--compat"]) == 0
    # It strips what it is given.
    texts = [text.strip() for text in TEXTS if text.strip()] + ["one two three " * 300 + "four"]
    embedder, reranker = Embedder(tmp_path / "lingxi-pico"), Reranker("lingxi-pico-reranker")
    queries = (*QUERIES, "What is it?", "Was zieht Körper an?")
    with infinity(program, [tmp_path / "lingxi-pico", tmp_path / "lingxi-pico-reranker"]) as url:
        answer = _asked(f"{url}/embeddings", {"model": "lingxi-pico", "input": texts})
        vectors = np.float32([one["embedding"] for one in answer["data"]])
        ranks = [
            _asked(f"{url}/rerank", {"model": "lingxi-pico-reranker", "query": q, "documents": texts})
            for q in queries
        ]
    cosines = (vectors * embedder.encode(texts)).sum(1)
    gaps = []
    for query, rank in zip(queries, ranks, strict=True):
        found = {one["index"]: one["relevance_score"] for one in rank["results"]}
        wanted = reranker.predict([(query, text) for text in texts])
        gaps.append(float(np.abs(np.float32([found[i] for i in range(len(texts))]) - wanted).max()))
    print(f"least cosine {cosines.min():.7f}; largest gap of scores by query {gaps}")
    assert cosines.min() > 0.999999
    assert max(gaps[: len(QUERIES)]) <= 1e-4
