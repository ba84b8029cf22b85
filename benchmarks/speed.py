"""Measure lingxi against sentence-transformers on the same random weights and the same real texts.

    python benchmarks/speed.py [--layers 28] [--rounds 3] [--threads 1] [--json benchmarks/speed.json]

The network has the shape of Qwen3-0.6B with its real vocabulary (speed does not depend on what
the weights are), the tokenizer is the published one, and the texts are paragraphs, docstrings and
functions of Python's own library. Both sides hold the very same tensors in fp32. Rounds are
interleaved, so that a busy machine slows both; CPU seconds count all threads. Embedding: 64 texts.
Reranking: one query with 50 documents, against length-sorted padded batches.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers

from lingxi import Embedder, Reranker, prompts
from lingxi.model.decoder import Decoder
from lingxi.model.layout import Kind, ModelFiles, write_directory
from lingxi.model.sizes import SIZES, Size
from qwen3_tokenizer import qwen3_tokenizer

MODULES = (
    *("argparse", "ast", "asyncio.tasks", "collections", "configparser", "contextlib", "csv", "dataclasses"),
    *(
        "datetime",
        "decimal",
        "difflib",
        "email.message",
        "enum",
        "fractions",
        "functools",
        "heapq",
        "inspect",
    ),
    *("json.decoder", "logging", "pathlib", "random", "shutil", "statistics", "string", "subprocess"),
    *("tempfile", "textwrap", "threading", "typing", "unittest.case", "urllib.parse", "zipfile"),
)
QUERY = "How do I split a long text into lines of a given width without breaking words?"
TEXTS, DOCUMENTS = 64, 50
CHARACTERS = 1200  # of a passage: about what search engines cut documents into
TARGETS = {"embedding": 1.3, "rerank": 1.8}


@dataclass(frozen=True, slots=True)
class Result:
    """Medians of one task in seconds, ours and theirs; `agreement` is the largest difference of results."""

    task: str
    tokens: int
    cpu_ours: float
    cpu_theirs: float
    wall_ours: float
    wall_theirs: float
    cpu_ratio: float
    wall_ratio: float
    cpu_ratios: tuple[float, ...]
    agreement: float
    target: float


@dataclass(frozen=True, slots=True)
class Lap:
    """One run of one side, in seconds."""

    cpu: float
    wall: float


def main() -> None:
    """Write the weights, measure both tasks, print a table and write the JSON."""
    options = _options()
    torch.set_num_threads(options.threads)
    transformers.logging.disable_progress_bar()
    texts = library_texts(TEXTS, seed=0)
    documents = library_texts(DOCUMENTS, seed=1)
    with tempfile.TemporaryDirectory(prefix="lingxi-bench-") as folder:
        size = replace(SIZES["embedding-0.6B"], layers=options.layers)
        embedding = measure_embedding(Path(folder), size, texts, options.rounds)
        rerank = measure_rerank(Path(folder), size, documents, options.rounds)
    report(options, [embedding, rerank])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=28, help="28 is the published depth; fewer is faster")
    parser.add_argument(
        "--rounds", type=int, default=3, help="interleaved rounds, after one that is not counted"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of torch, for both sides")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    return parser.parse_args()


def library_texts(count: int, seed: int) -> list[str]:
    """Paragraphs, whole docstrings and functions of Python's library, a third each."""
    docstrings: list[str] = []
    functions: list[str] = []
    for name in MODULES:
        source = inspect.getsource(import_module(name))
        lines = source.splitlines()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                docstrings.append(ast.get_docstring(node) or "")
            if isinstance(node, ast.FunctionDef):
                functions.append("\n".join(lines[node.lineno - 1 : node.end_lineno]))
    paragraphs = [part for text in docstrings for part in text.split("\n\n")]
    rng = random.Random(seed)
    chosen = [
        rng.choice([text[:CHARACTERS] for text in kind if len(text) >= least])
        for kind, least in islice(cycle([(paragraphs, 60), (docstrings, 300), (functions, 100)]), count)
    ]
    rng.shuffle(chosen)
    return chosen


# --- models --------------------------------------------------------------------------------------


def write_model(folder: Path, kind: Kind, size: Size) -> Path:
    """A directory of random weights (as bf16, to be quick to write)."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Decoder(size).state_dict().items()}
    state = {name: _random(shape, generator) for name, shape in shapes.items()}
    tokenizer = qwen3_tokenizer().read_text(encoding="utf-8")
    files = ModelFiles(kind, size, state, tokenizer, "# Random weights\n", max_seq_length=8192)
    return write_directory(files, folder / kind, "bfloat16")


def _random(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape)
    return torch.empty(shape).normal_(0, shape[1] ** -0.5, generator=generator)


def share_weights(theirs: torch.nn.Module, decoder: Decoder) -> None:
    """Make both hold one copy of the tensors: the same weights, and half the memory."""
    state = {k.removeprefix("model."): k for k in theirs.state_dict() if not k.startswith("lm_head")}
    ours = decoder.state_dict()
    theirs.load_state_dict({key: ours[name] for name, key in state.items()}, strict=False, assign=True)
    if hasattr(theirs, "lm_head"):
        theirs.lm_head.weight = theirs.get_input_embeddings().weight


# --- tasks ---------------------------------------------------------------------------------------


def measure_embedding(folder: Path, size: Size, texts: list[str], rounds: int) -> Result:
    """64 texts to vectors, both sides at their defaults."""
    from sentence_transformers import SentenceTransformer

    directory = write_model(folder, "embedder", size)
    ours = Embedder(directory, device="cpu", dtype="float32")
    theirs = SentenceTransformer(str(directory), device="cpu", model_kwargs={"dtype": torch.float32})
    share_weights(theirs[0].auto_model, ours._decoder)
    return interleaved(
        "embedding",
        sum(ours.count_tokens(texts)),
        lambda: ours.encode(texts, show_progress_bar=False),
        lambda: theirs.encode(texts, show_progress_bar=False),
        rounds,
    )


def measure_rerank(folder: Path, size: Size, documents: list[str], rounds: int) -> Result:
    """One query with 50 documents; the other side sorts them by length and pads batches of 8."""
    from sentence_transformers import CrossEncoder

    directory = write_model(folder, "reranker", size)
    ours = Reranker(directory, device="cpu", dtype="float32")
    theirs = CrossEncoder(str(directory), device="cpu", model_kwargs={"dtype": torch.float32})
    share_weights(theirs[0].auto_model, ours._decoder)
    pairs = [(QUERY, d) for d in documents]
    sequences, _ = ours._sequences(pairs, prompts.DEFAULT_TASK)

    def theirs_scores() -> np.ndarray[Any, Any]:
        log_odds = theirs.predict(pairs, batch_size=8, show_progress_bar=False)
        return 1 / (1 + np.exp(-np.asarray(log_odds)))

    return interleaved(
        "rerank",
        sum(map(len, sequences)),
        lambda: ours.predict(pairs, show_progress_bar=False),
        theirs_scores,
        rounds,
    )


def interleaved(
    task: str, tokens: int, ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int
) -> Result:
    """Medians of `rounds` in which both sides run, the one that starts changing each time."""
    agreement = float(np.abs(np.asarray(ours()) - np.asarray(theirs())).max())
    laps: list[tuple[Lap, Lap]] = []
    for number in range(rounds):
        if number % 2:
            second = lap(theirs)
            laps.append((lap(ours), second))
        else:
            first = lap(ours)
            laps.append((first, lap(theirs)))
    cpu = [statistics.median(pair[side].cpu for pair in laps) for side in (0, 1)]
    wall = [statistics.median(pair[side].wall for pair in laps) for side in (0, 1)]
    ratios = tuple(round(b.cpu / a.cpu, 3) for a, b in laps)
    return Result(
        task, tokens, *cpu, *wall, cpu[1] / cpu[0], wall[1] / wall[0], ratios, agreement, TARGETS[task]
    )


def lap(run: Callable[[], Any]) -> Lap:
    """Seconds of one run; CPU seconds of all threads."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return Lap(time.process_time() - cpu, time.perf_counter() - wall)


# --- report --------------------------------------------------------------------------------------


def report(options: argparse.Namespace, results: Sequence[Result]) -> None:
    """Print a table and write the JSON."""
    row = "{:<10} {:>7} {:>10} {:>10} {:>7} {:>9} {:>9} {:>7} {:>8} {:>10}"
    print(
        row.format(
            "task", "tokens", "cpu s", "ST cpu s", "cpu ×", "wall s", "ST wall", "wall ×", "target", "differ"
        )
    )
    for r in results:
        cells = (f"{r.cpu_ours:.2f}", f"{r.cpu_theirs:.2f}", f"{r.cpu_ratio:.2f}", f"{r.wall_ours:.2f}")
        more = (f"{r.wall_theirs:.2f}", f"{r.wall_ratio:.2f}", f"≥ {r.target}", f"{r.agreement:.1e}")
        print(row.format(r.task, r.tokens, *cells, *more))
    libraries = {name: version(name) for name in ("torch", "transformers", "sentence-transformers")}
    about = {"layers": options.layers, "rounds": options.rounds, "threads": options.threads}
    machine = {"python": platform.python_version(), "processor": processor(), "cores": os.cpu_count()}
    content = {**about, **machine, "libraries": libraries, "results": [asdict(r) for r in results]}
    options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written: {options.json}")


def processor() -> str:
    """The name of the machine's processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
