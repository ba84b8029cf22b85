"""Everyone who takes part, by the name the table gives them."""

from __future__ import annotations

from dataclasses import dataclass

from speed.jobs import Weights

REFERENCE = "sentence-transformers fp32"


@dataclass(frozen=True, slots=True)
class System:
    """A name, the module that runs it and its weights; `prepares` where it needs files of its own."""

    name: str
    module: str
    weights: Weights = "float32"
    engine: str = ""
    prepares: bool = False


SYSTEMS = (
    System(REFERENCE, "speed.peers.sentence_transformers_fp32"),
    System("transformers fp32", "speed.peers.transformers_fp32"),
    System("ONNX Runtime fp32", "speed.peers.onnx_runtime", prepares=True),
    System("ONNX Runtime int8", "speed.peers.onnx_runtime", "int8", prepares=True),
    System("OpenVINO fp32", "speed.peers.openvino_cpu", prepares=True),
    System("OpenVINO int8", "speed.peers.openvino_cpu", "int8", prepares=True),
    System("CTranslate2 fp32", "speed.peers.ctranslate2_cpu", prepares=True),
    System("CTranslate2 int8", "speed.peers.ctranslate2_cpu", "int8", prepares=True),
    System("fastembed fp32", "speed.peers.fastembed_onnx", prepares=True),
    System("llama.cpp F32", "speed.peers.llama_cpp", prepares=True),
    System("llama.cpp Q8_0", "speed.peers.llama_cpp", "int8", prepares=True),
    System("lingxi fp32 torch", "speed.peers.lingxi_engines", engine="torch"),
    System("lingxi fp32 native", "speed.peers.lingxi_engines", engine="native"),
    System("lingxi int8 native", "speed.peers.lingxi_engines", "int8", "native", prepares=True),
)
