"""fastembed with MiniLM: ONNX Runtime under its own batching, fed with the export of the same weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speed.jobs import Inputs, Job, Opened, UnfitError
from speed.peers.onnx_runtime import exported

_NAME = "lingxi-bench/minilm"


def prepare(job: Job) -> None:
    """A folder as fastembed wants it: the export and the tokenizer's files side by side."""
    import fastembed  # noqa: F401

    if job.family != "bert":
        raise UnfitError("fastembed has no Qwen3 decoder among its models (encoders with a pooling it knows)")
    out = _path(job)
    if not out.exists():
        part = out.with_suffix(".part")
        shutil.copytree(exported(job).parent, part, dirs_exist_ok=True)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            shutil.copy(Path(job.directory) / name, part / name)
        part.rename(out)


def open_system(job: Job) -> Opened:
    """A TextEmbedding of a custom model: mean pooling, normalized."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    TextEmbedding.add_custom_model(
        model=_NAME,
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf=_NAME),
        dim=384,
        model_file="model.onnx",
    )
    model = TextEmbedding(_NAME, specific_model_path=str(_path(job)), threads=job.threads)

    def run(inputs: Inputs, batch: int) -> NDArray[np.float32]:
        return np.asarray(list(model.embed(list(inputs.texts), batch_size=batch)), np.float32)

    return Opened(run)


def _path(job: Job) -> Path:
    return Path(job.folder) / f"{Path(job.directory).name}.fastembed"
