"""Sorted batches with padding on the right, as users of a library without its own batching make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speed.jobs import Inputs, Job, Opened

Matrix = NDArray[Any]
# ids [batch, time] and mask [batch, time] to states [batch, time, hidden]
Hidden = Callable[[Matrix, Matrix], Matrix]


def opened(job: Job, hidden: Hidden, note: str = "") -> Opened:
    """A system of a function from padded ids to states: tokenizes, sorts, pads, pools, finishes."""
    tokenized = tokenizer_of(job)
    finish = finisher(job)

    def run(inputs: Inputs, batch: int) -> NDArray[np.float32]:
        sequences = tokenized(inputs)
        order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
        parts = [order[i : i + batch] for i in range(0, len(order), batch)]
        pooled = np.concatenate([pool(job, hidden, [sequences[i] for i in part]) for part in parts])
        return finish(pooled[np.argsort(order)], inputs)

    return Opened(run, note=note)


def pool(job: Job, hidden: Hidden, sequences: Sequence[Sequence[int]]) -> Matrix:
    """States of one batch, pooled: the last token of decoders, the mean of encoders."""
    ids, mask = pad(sequences)
    states = hidden(ids, mask)
    if job.family == "bert":
        weights = mask[..., None].astype(np.float32)
        return np.asarray((states * weights).sum(1) / weights.sum(1))
    return np.asarray(states[np.arange(len(ids)), mask.sum(1) - 1])


def pad(sequences: Sequence[Sequence[int]]) -> tuple[Matrix, Matrix]:
    """Ids and mask [batch, longest], padded on the right with 0."""
    longest = max(map(len, sequences))
    ids = np.zeros((len(sequences), longest), np.int64)
    mask = np.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return ids, mask


def tokenizer_of(job: Job) -> Callable[[Inputs], list[Sequence[int]]]:
    """The directory's own tokenizer for texts; rerank prompts come as ids."""
    if job.task == "rerank":
        return lambda inputs: list(inputs.ids)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(job.directory) / "tokenizer.json"))
    tokenizer.no_padding()
    if job.family == "bert":
        tokenizer.enable_truncation(256)
    return lambda inputs: [e.ids for e in tokenizer.encode_batch(list(inputs.texts))]


def finisher(job: Job) -> Callable[[Matrix, Inputs], NDArray[np.float32]]:
    """Pooled states to what the user gets: unit vectors, or the probability of "yes" against "no"."""
    if job.task == "embed":
        return lambda states, _: _unit(states)
    inputs = job.read_inputs()
    row = answer_row(Path(job.directory), inputs.yes, inputs.no)
    return lambda states, _: np.asarray(1 / (1 + np.exp(-(states @ row))), np.float32)


def answer_row(directory: Path, yes: int, no: int) -> NDArray[np.float32]:
    """Row of "yes" minus row of "no" of the tied head, read from the weights alone."""
    from safetensors import safe_open

    with safe_open(directory / "model.safetensors", framework="pt") as weights:
        rows = weights.get_slice("model.embed_tokens.weight")
        return np.asarray((rows[yes : yes + 1].float() - rows[no : no + 1].float())[0].numpy())


def _unit(states: Matrix) -> NDArray[np.float32]:
    norms = np.linalg.norm(states, axis=1, keepdims=True)
    return np.asarray(states / norms, np.float32)
