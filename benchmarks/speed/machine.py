"""What stands under the figures: processor, instruction sets, libraries, and how busy the machine was."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = (
    *("torch", "transformers", "sentence-transformers", "onnx", "onnxruntime", "openvino", "nncf"),
    *("ctranslate2", "fastembed", "xllamacpp", "gguf", "lingxi"),
)
_SETS = (
    *("avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"),
    *("amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm"),
)


def describe() -> dict[str, Any]:
    """The machine and the libraries, as they go into the JSON."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "instructions": instruction_sets(),
        "python": platform.python_version(),
        "system": platform.system(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load() -> list[float]:
    """Processes that wait for a core, averaged over 1, 5 and 15 minutes."""
    return [round(x, 2) for x in os.getloadavg()]


def processor() -> str:
    """The name of the machine's processor."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def instruction_sets() -> list[str]:
    """Those that matter for matrices, as the system names them."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return [name for name in _SETS if name in flags]


def _cpuinfo(key: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith(key)]
    return found[0] if found else ""


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
