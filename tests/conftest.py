"""What many tests share: toy model directories, and the published Qwen3 tokenizer where it can be had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Read when transformers and sentence-transformers are imported: no test asks a hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import torch

from lingxi import Embedder, Reranker
from toys import toy_size, write_toy

_TOKENIZER_SCRIPT = Path(__file__).parent.parent / "benchmarks" / "qwen3_tokenizer.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Programs that are not installed beside this package."""
    parser.addoption(
        "--infinity", default=None, help="path of infinity_emb 0.0.78, in an environment of its own"
    )


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def embedder_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("models") / "toy-embedder")


@pytest.fixture(scope="session")
def reranker_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("models") / "toy-reranker", "reranker", seed=1)


@pytest.fixture(scope="session")
def embedder(embedder_directory: Path) -> Embedder:
    return Embedder(embedder_directory)


@pytest.fixture(scope="session")
def reranker(reranker_directory: Path) -> Reranker:
    return Reranker(reranker_directory)


@pytest.fixture(scope="session")
def qwen3_tokenizer() -> Path:
    """The published `tokenizer.json`, downloaded once into the user's cache folder."""
    run = subprocess.run([sys.executable, _TOKENIZER_SCRIPT], capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip(run.stderr.strip())
    return Path(run.stdout.strip())


@pytest.fixture(scope="session")
def qwen3_directory(qwen3_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reranker directory with the published tokenizer and a very small network."""
    size = toy_size(vocab=151669, hidden=16, layers=1)
    out = tmp_path_factory.mktemp("models") / "qwen3-reranker"
    return write_toy(out, "reranker", size=size, tokenizer=qwen3_tokenizer.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def qwen3_reranker(qwen3_directory: Path) -> Reranker:
    return Reranker(qwen3_directory)


@pytest.fixture(scope="session")
def reference_tokenizer(qwen3_directory: Path) -> Any:
    """The same files read by transformers."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(qwen3_directory)
