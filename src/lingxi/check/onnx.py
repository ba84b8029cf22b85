"""A model as an ONNX file, run by ONNX Runtime on the ids that this package gives its network."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lingxi.check.padded import pad, pooled_padded
from lingxi.check.report import Values
from lingxi.check.subject import Compute, Subject
from lingxi.errors import InputError, MissingExtraError
from lingxi.model.golden import GoldenText

_PLACES = ("model.onnx", "onnx/model.onnx")
_KNOWN = ("input_ids", "attention_mask", "position_ids", "token_type_ids")


def onnx_reference(subject: Subject, file: Path | None) -> Compute:
    """Vectors or scores of an ONNX file: that one, or `model.onnx` or `onnx/model.onnx` in the directory.

    Its first output is states [batch, tokens, hidden], pooled as the model says, or logits of the vocabulary,
    or one vector or score a text. Raises InputError where there is no such file or it asks for more than ids.
    """
    path = file or _found(subject.directory)
    session = _session(path)
    asked = [i.name for i in session.get_inputs()]
    strange = [name for name in asked if name not in _KNOWN]
    if strange:
        raise InputError(
            f"{path}: asks for {strange[0]!r}", "export the network without a cache of keys and values"
        )

    def compute(texts: Sequence[GoldenText]) -> Values:
        """Batches of eight, padded on the right."""
        found = [
            _run(session, asked, subject, subject.ids(texts[i : i + 8])) for i in range(0, len(texts), 8)
        ]
        return np.concatenate(found)

    return compute


def _found(directory: Path) -> Path:
    for place in _PLACES:
        if (directory / place).exists():
            return directory / place
    raise InputError(f"{directory}: no model.onnx", "name the file with --against onnx:FILE")


def _session(path: Path) -> Any:
    try:
        onnxruntime: Any = import_module("onnxruntime")
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnx", "the comparison with an ONNX file") from None
    if not path.is_file():
        raise InputError(f"{path}: no such file", "name an ONNX file")
    try:
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common ancestor
        first = str(error).partition("\n")[0]
        raise InputError(f"{path}: ONNX Runtime cannot load it ({first})", "export it again") from None


def _run(session: Any, asked: Sequence[str], subject: Subject, sequences: list[list[int]]) -> Values:
    ids, mask = pad(sequences, "right")
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    given = dict(zip(_KNOWN, (ids, mask, positions, torch.zeros_like(ids)), strict=True))
    try:
        out = session.run(None, {name: given[name].numpy() for name in asked})[0]
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
