"""CTranslate2: its own converter; a decoder's states are read off a head that is the identity.

The library gives a decoder's logits and not its states, so the head is replaced by the unit matrix
before converting: one more product of hidden × hidden a token, less than a tenth of one layer.
"""

from __future__ import annotations

import shutil
from pathlib import Path

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
    if job.family == "qwen3":
        source = _with_identity_head(source, Path(job.folder))
    converter = ctranslate2.converters.TransformersConverter(str(source))
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


def _encoded(encoder: object, ids: padded.Matrix, mask: padded.Matrix) -> padded.Matrix:
    sequences = [row[:n].tolist() for row, n in zip(ids, mask.sum(1), strict=True)]
    return np.asarray(encoder.forward_batch(sequences).last_hidden_state)  # type: ignore[attr-defined]


def _generated(generator: object, ids: padded.Matrix, mask: padded.Matrix) -> padded.Matrix:
    import ctranslate2

    tokens = ctranslate2.StorageView.from_array(np.ascontiguousarray(ids, np.int32))
    lengths = ctranslate2.StorageView.from_array(np.ascontiguousarray(mask.sum(1), np.int32))
    return np.asarray(generator.forward_batch(tokens, lengths))  # type: ignore[attr-defined]


def _path(job: Job) -> Path:
    return Path(job.folder) / f"{Path(job.directory).name}.{job.weights}.ct2"


def _with_identity_head(source: Path, folder: Path) -> Path:
    """A causal model of the same network, whose untied head has one row for each component."""
    import torch
    from transformers import AutoModelForCausalLM

    out = folder / f"{source.name}.identity"
    if out.exists():
        return out
    part = out.with_suffix(".part")
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    rows = torch.zeros(model.config.vocab_size, model.config.hidden_size)
    rows[: model.config.hidden_size].fill_diagonal_(1)
    model.config.tie_word_embeddings = False
    model.lm_head = torch.nn.Linear(model.config.hidden_size, model.config.hidden_size, bias=False)
    model.lm_head.weight = torch.nn.Parameter(rows[: model.config.hidden_size].clone())
    model.save_pretrained(part)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, part / name)
    part.rename(out)
    return out
