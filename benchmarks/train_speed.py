"""Measure contrastive training against sentence-transformers' trainer: same network, texts and steps.

    python benchmarks/train_speed.py [--tasks pico,short,wide] [--rounds 3] [--steps 3] [--json …]

The network is ours with random weights, written as a directory and opened by each side as published:
there Transformer, last token, Normalize, its SentenceTransformerTrainer with
MultipleNegativesRankingLoss in the directions that ours has, here `train.loop` over `cached_step`.
Both have fp32, AdamW with the same rates, clipping, and the same pairs in the same order, tokenized in
the step. The pairs are docstrings of Python's own library, behind the instruction for code, and their
functions; `short` has sentences that stand side by side. Nothing is downloaded.

Blocks of steps are interleaved, each from the same first weights, the side that starts changing each
time. A block counts from the end of its first step to the end of its last, so that neither start-up nor
a checkpoint counts. All token ids and the first step's loss must agree: it is the same work. How far later
losses part is told: AdamW's first steps divide by small gradients, which carries rounding far.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import platform
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch
import transformers

from lingxi import prompts
from lingxi.model.decoder import Decoder
from lingxi.model.files import SHIPPED
from lingxi.model.layout import ModelFiles, write_directory
from lingxi.model.sizes import SIZES, Size
from lingxi.train.checkpoint_start import Start, open_for_training
from lingxi.train.contrast import Contrast
from lingxi.train.encoders import encoder_of
from lingxi.train.gradcache import Step, cached_step
from lingxi.train.loop import Schedule, train
from lingxi.train.mixture import Draw, Kind
from lingxi.train.phases import ContrastiveSettings
from lingxi.train.store import Candidate, Row
from speed.machine import processor
from speed.texts import MODULES

CODE_TASK = "Given a description in words, retrieve the function that does it"
NEAR_TASK = "Given a sentence of a manual, retrieve the sentence that follows it"
MAX_TOKENS = 128
QUERY_CHARACTERS = 200
TARGET = 1.5
PARITY = 1e-4
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Task:
    """A network's shape and what it reads, `batch` pairs at a time."""

    name: str
    size: Size
    batch: int
    instruction: str
    pairs: Callable[[], list[Pair]]


@dataclass(frozen=True, slots=True)
class Block:
    """Seconds of one block's counted steps, and the loss of every step."""

    cpu: float
    wall: float
    losses: tuple[float, ...]


@dataclass(slots=True)
class Clock:
    """Told of the end of each step."""

    ends: list[tuple[float, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def tick(self) -> None:
        self.ends.append((time.process_time(), time.perf_counter()))

    def block(self) -> Block:
        (cpu, wall), (cpu_end, wall_end) = self.ends[0], self.ends[-1]
        return Block(cpu_end - cpu, wall_end - wall, tuple(self.losses))


@dataclass(frozen=True, slots=True)
class Result:
    """Medians over the blocks, ours then theirs; tokens are real ones, prompts and end tokens included."""

    task: str
    parameters: int
    batch: int
    tokens_a_step: float
    padded_tokens_a_step: float
    tokens_per_cpu_second: tuple[float, float]
    pairs_per_cpu_second: tuple[float, float]
    tokens_per_second: tuple[float, float]
    pairs_per_second: tuple[float, float]
    cpu_ratio: float
    wall_ratio: float
    cpu_ratios: tuple[float, ...]
    first_loss: tuple[float, float]
    first_loss_gap: float
    largest_loss_gap: float
    target: float = TARGET


def main() -> None:
    """Measure each task, print a table and write the JSON."""
    options = _options()
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    chosen = [task for task in tasks() if task.name in options.tasks.split(",")]
    results = []
    for task in chosen:
        with tempfile.TemporaryDirectory(prefix="lingxi-bench-") as folder:
            results.append(measure(task, Path(folder), options))
    report(options, results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", default=",".join(task.name for task in tasks()))
    parser.add_argument("--rounds", type=int, default=3, help="interleaved blocks of each side")
    parser.add_argument("--steps", type=int, default=3, help="steps of a block, the first of which warms up")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch, for both sides")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    return parser.parse_args()


def tasks() -> list[Task]:
    """lingxi-pico's shape on code and on sentences, and two layers as wide as the 0.6B network's."""
    pico = SIZES["pico"]
    wide = replace(SIZES["embedding-0.6B"], layers=2, vocab=pico.vocab)
    return [
        Task("pico", pico, 64, CODE_TASK, functions),
        Task("short", pico, 128, NEAR_TASK, sentences),
        Task("wide", wide, 16, CODE_TASK, functions),
    ]


# --- texts ---------------------------------------------------------------------------------------


def functions() -> list[Pair]:
    """Docstrings' first paragraphs with their functions, the docstring taken out; each text once."""
    pairs: list[Pair] = []
    for source, node in _documented():
        words = (ast.get_docstring(node) or "").split("\n\n")[0]
        body = node.body[1:]
        if body and isinstance(node, ast.FunctionDef) and len(words) <= QUERY_CHARACTERS:
            lines = source.splitlines()
            head = lines[node.lineno - 1 : node.body[0].lineno - 1]
            pairs.append((words, "\n".join(head + lines[body[0].lineno - 1 : node.end_lineno])))
    return _once(pairs)


def sentences() -> list[Pair]:
    """Neighbouring sentences of docstrings; each text once."""
    pairs: list[Pair] = []
    for _, node in _documented():
        text = " ".join((ast.get_docstring(node) or "").split())
        found = [s for s in re.split(r"(?<=[.!?]) ", text) if 30 <= len(s) <= QUERY_CHARACTERS]
        pairs += zip(found[::2], found[1::2], strict=False)
    return _once(pairs)


def _documented() -> list[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    found = []
    for name in MODULES:
        source = inspect.getsource(import_module(name))
        nodes = (n for n in ast.walk(ast.parse(source)) if isinstance(n, (ast.FunctionDef, ast.ClassDef)))
        found += [(source, node) for node in nodes if ast.get_docstring(node)]
    return found


def _once(pairs: Sequence[Pair]) -> list[Pair]:
    seen: set[str] = set()
    kept = []
    for pair in pairs:
        if not seen & set(pair):
            kept.append(pair)
            seen |= set(pair)
    random.Random(0).shuffle(kept)
    return kept


# --- ours ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class InOrder:
    """Stands for a sampler and its store: batches of the pairs, one after another."""

    pairs: list[Pair]
    instruction: str
    taken: int = 0

    @property
    def store(self) -> InOrder:
        return self

    def draw(self, rng: np.random.Generator, size: int) -> Draw:
        numbers = np.arange(self.taken, self.taken + size)
        self.taken += size
        none = np.empty(0)
        return Draw(Kind("code", self.instruction, none, none, none), numbers)

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        return [self._row(int(number)) for number in numbers]

    def _row(self, number: int) -> Row:
        query, text = self.pairs[number]
        nan = float("nan")
        right = (Candidate(number, text, nan),)
        return Row(
            number, query, right, (), self.instruction, "code", number, "library", "en", "code", nan, nan
        )


def contrast_of(task: Task, start: Start, pairs: list[Pair]) -> Contrast:
    """The objective as a recipe would give it, without what the other side does not do."""
    settings = ContrastiveSettings(
        steps=1,
        learning_rate=1.0,
        token_learning_rate=1.0,
        warmup_steps=0,
        batch_pairs=task.batch,
        temperature=0.05,
        margin=2.0,  # beyond any cosine: no negative is masked
        max_tokens=MAX_TOKENS,
        raw_query_rate=0.0,
        default_task_rate=0.0,
        paraphrase_rate=0.0,
    )
    ordered: Any = InOrder(pairs, task.instruction)
    dims = (task.size.hidden,)
    return Contrast(ordered, None, start.tokens, settings, dims, None, 0.0, instructed=True)


def schedule_of(steps: int) -> Schedule:
    """Small steps, so that random weights neither stand still nor burst."""
    return Schedule(steps, 2e-4, 2e-4, warmup_steps=2, checkpoint_every=steps, weight_decay=0.0)


def our_block(task: Task, directory: Path, pairs: list[Pair], steps: int) -> Block:
    """Train by the loop, from the directory's weights."""
    start = open_for_training(directory)
    clock = Clock()
    step: Step = cached_step(encoder_of(start.decoder), contrast_of(task, start, pairs), None)

    def heard(number: int, row: Any) -> None:
        clock.tick()

    def told(rng: np.random.Generator) -> Any:
        figures = step(rng)
        clock.losses.append(figures["loss"])
        return figures

    with tempfile.TemporaryDirectory(dir=directory.parent) as folder:
        train(start.decoder, told, schedule_of(steps), Path(folder), seed=0, listeners=[heard])
    return clock.block()


# --- theirs --------------------------------------------------------------------------------------


def their_block(task: Task, directory: Path, pairs: list[Pair], steps: int) -> Block:
    """Train by SentenceTransformerTrainer, from the directory's weights."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = SentenceTransformer(str(directory), device="cpu", model_kwargs={"dtype": torch.float32})
    # Ours cuts the text before the end token is put on.
    model.max_seq_length = MAX_TOKENS + 1
    loss = MultipleNegativesRankingLoss(
        model, scale=20.0, directions=("query_to_doc", "query_to_query", "doc_to_doc"), partition_mode="joint"
    )
    clock = Clock()
    loss.register_forward_hook(lambda module, given, out: clock.losses.append(float(out.detach())))

    class Listener(transformers.TrainerCallback):
        def on_step_end(self, *told: Any, **more: Any) -> None:
            clock.tick()

    def in_order(dataset: Any, batch_size: int, drop_last: bool, **more: Any) -> DefaultBatchSampler:
        order = torch.utils.data.SequentialSampler(dataset)
        return DefaultBatchSampler(order, batch_size=batch_size, drop_last=drop_last)

    schedule = schedule_of(steps)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
    )
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.share)
    with tempfile.TemporaryDirectory(dir=directory.parent) as folder:
        arguments = Arguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=task.batch,
            max_grad_norm=schedule.max_norm,
            prompts={"query": prompts.query_prefix(task.instruction)},
            batch_sampler=in_order,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        dataset = Dataset.from_dict({"query": [q for q, _ in pairs], "text": [t for _, t in pairs]})
        trainer = SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            loss=loss,
            callbacks=[Listener()],
            optimizers=(optimizer, rates),
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return clock.block()


# --- both ----------------------------------------------------------------------------------------


def measure(task: Task, folder: Path, options: argparse.Namespace) -> Result:
    """Interleaved blocks of both sides."""
    directory = write_model(folder, task.size)
    pairs = task.pairs()[: task.batch * options.steps]
    if len(pairs) < task.batch * options.steps:
        raise SystemExit(f"{task.name}: {len(pairs)} pairs are too few for {options.steps} steps")
    lengths = checked_lengths(task, directory, pairs)
    sides = (our_block, their_block)
    rounds: list[tuple[Block, Block]] = []
    for number in range(options.rounds):
        found: dict[Callable[..., Block], Block] = {}
        for side in sides if number % 2 == 0 else sides[::-1]:
            found[side] = side(task, directory, pairs, options.steps)
        rounds.append((found[our_block], found[their_block]))
        ours, theirs = rounds[-1]
        print(f"{task.name} block {number + 1}: {ours.cpu:.2f} and {theirs.cpu:.2f} CPU s", flush=True)
    return result_of(task, lengths, rounds, options.steps)


def checked_lengths(task: Task, directory: Path, pairs: list[Pair]) -> np.ndarray[Any, Any]:
    """Lengths [steps, 2, batch] of queries and texts; both sides must read the same ids."""
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(directory), device="cpu")
    theirs.max_seq_length = MAX_TOKENS + 1
    contrast = contrast_of(task, open_for_training(directory), pairs)
    before = prompts.query_prefix(task.instruction)
    lengths = []
    for first in range(0, len(pairs), task.batch):
        batch = pairs[first : first + task.batch]
        ours = contrast(np.random.default_rng(0)).sequences
        sides = [theirs.tokenizer([before + q for q, _ in batch]), theirs.tokenizer([t for _, t in batch])]
        ids = [one[: theirs.max_seq_length] for side in sides for one in side["input_ids"]]
        ends = [[*one[:-1], contrast.tokens.end] for one in ids]
        if ours != ends:
            raise SystemExit(f"{task.name}: the two sides read other ids")
        lengths.append([[len(s) for s in ours[: task.batch]], [len(s) for s in ours[task.batch :]]])
    return np.array(lengths)


def result_of(
    task: Task, lengths: np.ndarray[Any, Any], rounds: Sequence[tuple[Block, Block]], steps: int
) -> Result:
    counted = lengths[1:]
    tokens, count = int(counted.sum()), task.batch * (steps - 1)
    cpu = [statistics.median(pair[side].cpu for pair in rounds) for side in (0, 1)]
    wall = [statistics.median(pair[side].wall for pair in rounds) for side in (0, 1)]
    gaps = [abs(a - b) for ours, theirs in rounds for a, b in zip(ours.losses, theirs.losses, strict=True)]
    firsts = (rounds[0][0].losses[0], rounds[0][1].losses[0])
    ratios = tuple(round(theirs.cpu / ours.cpu, 3) for ours, theirs in rounds)

    def rate(amount: int, seconds: list[float]) -> tuple[float, float]:
        return (round(amount / seconds[0], 2), round(amount / seconds[1], 2))

    return Result(
        task=task.name,
        parameters=task.size.parameters(),
        batch=task.batch,
        tokens_a_step=tokens / len(counted),
        padded_tokens_a_step=float(counted.max(2).sum() * task.batch / len(counted)),
        tokens_per_cpu_second=rate(tokens, cpu),
        pairs_per_cpu_second=rate(count, cpu),
        tokens_per_second=rate(tokens, wall),
        pairs_per_second=rate(count, wall),
        cpu_ratio=statistics.median(ratios),
        wall_ratio=statistics.median(theirs.wall / ours.wall for ours, theirs in rounds),
        cpu_ratios=ratios,
        first_loss=firsts,
        first_loss_gap=abs(firsts[0] - firsts[1]),
        largest_loss_gap=max(gaps),
    )


def write_model(folder: Path, size: Size) -> Path:
    """A directory of random weights with the shipped tokenizer."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Decoder(size).state_dict().items()}
    state = {
        name: torch.ones(shape)
        if len(shape) == 1
        else torch.empty(shape).normal_(0, 0.02, generator=generator)
        for name, shape in shapes.items()
    }
    tokenizer = (SHIPPED / "lingxi-pico" / "tokenizer.json").read_text(encoding="utf-8")
    files = ModelFiles("embedder", size, state, tokenizer, "# Random weights\n", max_seq_length=8192)
    return write_directory(files, folder / "model", "float32")


# --- report --------------------------------------------------------------------------------------


def report(options: argparse.Namespace, results: Sequence[Result]) -> None:
    """Print a table and write the JSON; the exit status says whether the losses agreed."""
    row = "{:<6} {:>6} {:>7} {:>7} {:>10} {:>10} {:>8} {:>8} {:>6} {:>6} {:>7} {:>9} {:>9}"
    names = ("task", "pairs", "tokens", "padded", "tok/cpu s", "ST", "pairs/s", "ST", "cpu ×", "wall ×")
    print(row.format(*names, "target", "1st loss", "all loss"))
    for r in results:
        sizes = (r.task, r.batch, f"{r.tokens_a_step:.0f}", f"{r.padded_tokens_a_step:.0f}")
        rates = [f"{x:.0f}" for x in r.tokens_per_cpu_second] + [f"{x:.1f}" for x in r.pairs_per_cpu_second]
        ratios = (f"{r.cpu_ratio:.2f}", f"{r.wall_ratio:.2f}", f"≥ {r.target}")
        print(row.format(*sizes, *rates, *ratios, f"{r.first_loss_gap:.0e}", f"{r.largest_loss_gap:.0e}"))
    libraries = {name: version(name) for name in ("torch", "transformers", "sentence-transformers")}
    about = {"rounds": options.rounds, "steps": options.steps, "threads": options.threads}
    machine = {"python": platform.python_version(), "processor": processor(), "cores": os.cpu_count()}
    content = {**about, **machine, "libraries": libraries, "results": [asdict(r) for r in results]}
    options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written: {options.json}")
    if any(r.first_loss_gap > PARITY for r in results):
        raise SystemExit("the first step's losses differ: it is not the same work")


if __name__ == "__main__":
    main()
