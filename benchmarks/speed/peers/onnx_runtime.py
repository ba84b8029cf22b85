"""ONNX Runtime: transformers' network exported by torch, dynamic int8 by its own tool, padded batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from speed import padded
from speed.jobs import Job, Opened


def prepare(job: Job) -> None:
    """Export the directory to ONNX, and quantize its matrices where int8 is asked for."""
    import onnxruntime  # noqa: F401  (says at once that it is absent)

    plain = exported(job)
    out = _quantized(job)
    if job.weights == "int8" and not out.exists():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with _whole(out) as part:
            quantize_dynamic(
                plain,
                part,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                use_external_data_format=job.family == "qwen3",
            )


def open_system(job: Job) -> Opened:
    """A session with the threads asked for."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = job.threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    path = _quantized(job) if job.weights == "int8" else onnx_path(job)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def hidden(ids: padded.Matrix, mask: padded.Matrix) -> padded.Matrix:
        return np.asarray(session.run(None, {"input_ids": ids, "attention_mask": mask})[0])

    return padded.opened(job, hidden)


def onnx_path(job: Job) -> Path:
    """Where the exported network lies."""
    return Path(job.folder) / f"{Path(job.directory).name}.onnx" / "model.onnx"


def exported(job: Job) -> Path:
    """The network as ONNX with any batch and length, made once."""
    out = onnx_path(job)
    if out.exists():
        return out
    import onnxscript  # noqa: F401
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(job.directory, dtype=torch.float32, attn_implementation="sdpa").eval()
    ids = torch.ones(2, 7, dtype=torch.long)
    sizes = {0: torch.export.Dim("batch", max=4096), 1: torch.export.Dim("time", max=8192)}
    with _whole(out) as part, torch.inference_mode():
        torch.onnx.export(
            _States(model, job.family),
            (ids, torch.ones_like(ids)),
            str(part),
            input_names=["input_ids", "attention_mask"],
            output_names=["states"],
            dynamic_shapes={"input_ids": sizes, "attention_mask": sizes},
            dynamo=True,
            external_data=job.family == "qwen3",
        )
    return out


def _States(model: Any, family: str) -> Any:
    """The network with one output, as a module for export."""
    import torch

    class States(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            options = {"use_cache": False} if family == "qwen3" else {}
            out = self.model(input_ids=input_ids, attention_mask=attention_mask, **options)
            return out.last_hidden_state  # type: ignore[no-any-return]

    return States().eval()


def _quantized(job: Job) -> Path:
    return onnx_path(job).parent.with_suffix(".int8") / "model.onnx"


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A place to write in, whose folder gets its name only when all is written."""
    part = out.parent.with_name(out.parent.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    yield part / out.name
    part.rename(out.parent)
