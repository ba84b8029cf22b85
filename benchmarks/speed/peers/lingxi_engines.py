"""lingxi itself, through the faces its users hold: `Embedder` and `Reranker`."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from speed.jobs import Inputs, Job, Opened, UnfitError


def prepare(job: Job) -> None:
    """`lingxi models quantize --packed`, once."""
    from lingxi.engine.quantizing import quantize_directory

    if _copy(job).exists():
        return
    part = _copy(job).with_name(_copy(job).name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    quantize_directory(Path(job.directory), part, packed=True).rename(_copy(job))


def open_system(job: Job) -> Opened:
    """The face for the task, with the engine and weights the job names."""
    from lingxi import Embedder, Reranker
    from lingxi.errors import LingxiError

    torch.set_num_threads(job.threads)
    face = Reranker if job.task == "rerank" else Embedder
    try:
        model: Any = face(_directory(job), device="cpu", **_options(face, job))
    except LingxiError as error:
        raise UnfitError(f"not in this build: {error.reason}") from None
    run = _scores if job.task == "rerank" else _vectors
    return Opened(lambda inputs, batch: run(model, inputs), sized=False)


def _directory(job: Job) -> Path:
    return _copy(job) if job.weights == "int8" else Path(job.directory)


def _copy(job: Job) -> Path:
    return Path(job.folder) / f"{Path(job.directory).name}.int8.lingxi"


def _options(face: type, job: Job) -> dict[str, Any]:
    """The engine and weights as arguments; the first engine ran before there was a choice."""
    known = inspect.signature(face).parameters
    wanted = {"engine": job.engine, "weights": job.weights}
    missing = sorted(set(wanted) - set(known))
    if job.engine == "torch" and job.weights == "float32":
        return {"dtype": "float32"} | {k: v for k, v in wanted.items() if k in known}
    if missing:
        raise UnfitError(f"not in this build: {face.__name__} has no argument {' or '.join(missing)}")
    return wanted


def _vectors(model: Any, inputs: Inputs) -> NDArray[np.float32]:
    return np.asarray(model.encode(list(inputs.texts), show_progress_bar=False), np.float32)


def _scores(model: Any, inputs: Inputs) -> NDArray[np.float32]:
    pairs = [(inputs.query, document) for document in inputs.texts]
    return np.asarray(model.predict(pairs, show_progress_bar=False), np.float32)
