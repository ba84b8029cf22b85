"""OpenVINO: the ONNX export as its own format; int8 weights by NNCF, activations quantized as it runs."""

from __future__ import annotations

from pathlib import Path

from speed import padded
from speed.jobs import Job, Opened
from speed.peers.onnx_runtime import exported


def prepare(job: Job) -> None:
    """Convert once; compress the weights to int8 where asked for."""
    import openvino

    out = _path(job)
    if out.exists():
        return
    if job.weights == "int8":
        import nncf
    model = openvino.convert_model(exported(job))
    if job.weights == "int8":
        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    openvino.save_model(model, out, compress_to_fp16=False)


def open_system(job: Job) -> Opened:
    """The model compiled for the CPU in the number type asked for."""
    import openvino

    core = openvino.Core()
    config = {
        "INFERENCE_NUM_THREADS": job.threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    if job.weights == "int8":
        config["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 32
    request = core.compile_model(_path(job), "CPU", config).create_infer_request()

    def hidden(ids: padded.Matrix, mask: padded.Matrix) -> padded.Matrix:
        return request.infer({0: ids, 1: mask}, share_inputs=True)[0]

    return padded.opened(job, hidden)


def _path(job: Job) -> Path:
    return Path(job.folder) / f"{Path(job.directory).name}.{job.weights}.openvino.xml"
