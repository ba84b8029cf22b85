"""A model as an ONNX file, run by ONNX Runtime or OpenVINO on the ids that this package gives its network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lingxi.check.padded import pad, pooled_padded
from lingxi.check.report import EXACT, LOSSY, Tolerance, Values
from lingxi.check.subject import Compute, Subject
from lingxi.errors import InputError, MissingExtraError
from lingxi.model.golden import GoldenText

_PLACES = ("model.onnx", "onnx/model.onnx")
_PRECISION = "lingxi_precision"
_KNOWN = ("input_ids", "attention_mask", "position_ids", "token_type_ids")


@dataclass(frozen=True, slots=True)
class Runtime:
    """An ONNX file in a runtime: what it asks for, its first output for those, what it says about itself."""

    inputs: tuple[str, ...]
    run: Callable[[Mapping[str, np.ndarray[Any, Any]]], np.ndarray[Any, Any]]
    about: Mapping[str, str]

    @property
    def tolerance(self) -> Tolerance:
        """How near it should be: lingxi's export says where numbers are rounded."""
        return LOSSY if self.about.get(_PRECISION) in ("int8", "float16") else EXACT


def onnx_reference(
    subject: Subject, file: Path | None, library: str = "onnxruntime"
) -> tuple[Compute, Tolerance]:
    """Vectors or scores of an ONNX file: that one, or `model.onnx` or `onnx/model.onnx` in the directory.

    Its first output is states [batch, tokens, hidden], pooled as the model says, or logits of the vocabulary,
    or one vector or score a text. Raises InputError where there is no such file or it asks for more than ids.
    """
    path = file or _found(subject.directory)
    runtime = open_runtime(path, library)
    strange = [name for name in runtime.inputs if name not in _KNOWN]
    if strange:
        raise InputError(
            f"{path}: asks for {strange[0]!r}", "export the network without a cache of keys and values"
        )

    def compute(texts: Sequence[GoldenText]) -> Values:
        """Batches of eight, padded on the right."""
        found = [_run(runtime, subject, subject.ids(texts[i : i + 8])) for i in range(0, len(texts), 8)]
        return np.concatenate(found)

    return compute, runtime.tolerance


def _found(directory: Path) -> Path:
    for place in _PLACES:
        if (directory / place).exists():
            return directory / place
    raise InputError(f"{directory}: no model.onnx", "name the file with --against onnx:FILE")


def open_runtime(path: Path, library: str = "onnxruntime", threads: int = 0) -> Runtime:
    """Load an ONNX file into `onnxruntime` or `openvino`, on `threads` threads (0: as many as it likes).

    Raises InputError where it cannot be loaded, MissingExtraError without the library.
    """
    try:
        module: Any = import_module(library)
    except ImportError:
        raise MissingExtraError(library, "onnx", f"running an ONNX file in {library}") from None
    if not path.is_file():
        raise InputError(f"{path}: no such file", "name an ONNX file")
    try:
        return (_onnxruntime if library == "onnxruntime" else _openvino)(module, path, threads)
    except Exception as error:  # their errors have no common ancestor
        first = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: {library} cannot load it ({first})", "export it again") from None


def _onnxruntime(module: Any, path: Path, threads: int) -> Runtime:
    options = module.SessionOptions()
    options.intra_op_num_threads = threads
    session = module.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = tuple(i.name for i in session.get_inputs())
    first = session.get_outputs()[0].name
    about = session.get_modelmeta().custom_metadata_map
    return Runtime(inputs, lambda given: np.asarray(session.run([first], dict(given))[0]), about)


def _openvino(module: Any, path: Path, threads: int) -> Runtime:
    core = module.Core()
    # By itself it computes in halves, and rounds the inputs of packed weights, where that is faster.
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    model = core.read_model(path)
    compiled = core.compile_model(model, "CPU", settings)
    names = tuple(i.get_any_name() for i in compiled.inputs)
    said = model.has_rt_info(["framework", _PRECISION])
    about = {_PRECISION: model.get_rt_info(["framework", _PRECISION]).astype(str)} if said else {}
    return Runtime(names, lambda given: np.asarray(compiled(dict(given))[compiled.output(0)]), about)


def _run(runtime: Runtime, subject: Subject, sequences: list[list[int]]) -> Values:
    ids, mask = pad(sequences, "right")
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    given = dict(zip(_KNOWN, (ids, mask, positions, torch.zeros_like(ids)), strict=True))
    try:
        out = runtime.run({name: given[name].numpy() for name in runtime.inputs})
    except Exception as error:
        first = str(error).partition("\n")[0]
        raise InputError(f"the ONNX file does not run ({first})", "export it with dynamic shapes") from None
    states = torch.from_numpy(np.asarray(out, np.float32))
    if states.dim() == 3:
        states = pooled_padded(subject, states, mask, sequences)
    return _values(subject, states)


def _values(subject: Subject, states: torch.Tensor) -> Values:
    """Vectors, or probabilities of states, of the vocabulary's logits, or of one log-odds a pair."""
    width = states.shape[-1]
    if subject.kind == "embedder" or width == subject.plain.size.hidden:
        return subject.finished(states)
    if width == subject.plain.size.vocab:
        states = states[:, subject.tokens.answer("yes")] - states[:, subject.tokens.answer("no")]
    return np.asarray(torch.sigmoid(states.reshape(len(states))).numpy(), np.float32)
