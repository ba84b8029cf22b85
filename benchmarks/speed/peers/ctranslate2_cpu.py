"""CTranslate2: its own converter; a decoder's states are read off a head that is the identity.

The library gives a decoder's logits and not its states, so the head is replaced by the unit matrix
before converting: one more product of hidden × hidden a token, less than a tenth of one layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from speed import padded
from speed.jobs import Job, Opened


def prepare(job: Job) -> None:
    """Convert once."""
    import ctranslate2

    out = _path(job)
    if out.exists():
        return
    source = Path(job.directory)
    plain = ctranslate2.converters.TransformersConverter
    converter = _identity_converter(source) if job.family == "qwen3" else plain(str(source))
    part = out.with_name(out.name + ".part")
    converter.convert(str(part), quantization=job.weights, force=True)
    part.rename(out)


def open_system(job: Job) -> Opened:
    """An Encoder for BERT, a Generator for Qwen3."""
    import ctranslate2

    options = {"compute_type": job.weights, "intra_threads": job.threads, "inter_threads": 1}
    if job.family == "bert":
        encoder = ctranslate2.Encoder(str(_path(job)), "cpu", **options)
        return padded.opened(job, lambda ids, mask: _encoded(encoder, ids, mask))
    generator = ctranslate2.Generator(str(_path(job)), "cpu", **options)
    return padded.opened(job, lambda ids, mask: _generated(generator, ids, mask))


def _encoded(encoder: Any, ids: padded.Matrix, mask: padded.Matrix) -> padded.Matrix:
    sequences = [row[:n].tolist() for row, n in zip(ids, mask.sum(1), strict=True)]
    return np.asarray(encoder.forward_batch(sequences).last_hidden_state)


def _generated(generator: Any, ids: padded.Matrix, mask: padded.Matrix) -> padded.Matrix:
    import ctranslate2

    tokens = ctranslate2.StorageView.from_array(np.ascontiguousarray(ids, np.int32))
    lengths = ctranslate2.StorageView.from_array(np.ascontiguousarray(mask.sum(1), np.int32))
    return np.asarray(generator.forward_batch(tokens, lengths))


def _path(job: Job) -> Path:
    return Path(job.folder) / f"{Path(job.directory).name}.{job.weights}.ct2"


def _identity_converter(source: Path) -> Any:
    """The library's converter, told of a head that has one row for each component of the state."""
    import torch
    from ctranslate2.converters import TransformersConverter

    class Identity(TransformersConverter):  # type: ignore[misc]
        def load_model(self, *args: Any, **options: Any) -> Any:
            model = super().load_model(*args, **options)
            width = model.config.hidden_size
            model.lm_head = torch.nn.Linear(width, width, bias=False, dtype=model.dtype)
            torch.nn.init.eye_(model.lm_head.weight)
            return model

    return Identity(str(source))
