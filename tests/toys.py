"""Toy models made in memory: a trained tokenizer of a few hundred tokens and networks of random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lingxi.errors import LingxiError
from lingxi.model.decoder import Decoder
from lingxi.model.encoder import Encoder
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.layout import Kind, ModelFiles, write_directory
from lingxi.model.sizes import Size
from lingxi.train.settings import TokenizerSettings
from lingxi.train.tokenizer import train_tokenizer

SENTENCES = (
    ("en", "The capital of China is Beijing. Gravity is a force that attracts two bodies."),
    ("en", "Where is a text cut when it is too long, and who is told about it?"),
    ("zh", "北京是中华人民共和国的首都。人工智能正在改变搜索引擎。"),
    ("es", "El gato duerme en la silla de la cocina mientras llueve."),
    ("code", "def double(x):\n    return x + x\n\nprint(double(21))\n"),
)
TEXTS = (
    "The capital of China is Beijing.",
    " a space first",
    "\na line break first",
    "7 is a number",
    "北京是首都。",
    "",
    "El gato duerme en la silla",
    "def double(x):\n    return x + x",
    "gravity " * 20,
)


@cache
def toy_tokenizer() -> str:
    """The text of a `tokenizer.json` with Qwen's pre-tokenizer and special tokens' names."""
    return train_tokenizer(SENTENCES * 3, TokenizerSettings(vocab=512, characters_per_language=100_000))


def toy_size(**changes: Any) -> Size:
    """Two layers of width 64, grouped heads, a head size that is not hidden / heads."""
    return replace(Size(64, 2, 4, 2, 32, 96, vocab=512, max_positions=512), **changes)


def random_state(size: Size, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights under their published names; no norm weight is 1, so that none can be forgotten."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Decoder(size).state_dict().items()}
    state = {name: _random(shape, generator) for name, shape in shapes.items()}
    if not size.tied_head:
        state["lm_head.weight"] = _random(torch.Size((size.vocab, size.hidden)), generator)
    return state


def _random(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    if len(shape) == 1:
        return torch.empty(shape).uniform_(0.5, 1.5, generator=generator)
    return torch.empty(shape).normal_(0, shape[1] ** -0.5, generator=generator)


def decoder_of(size: Size, state: Mapping[str, torch.Tensor]) -> Decoder:
    """A decoder that holds `state` without copying it."""
    with torch.device("meta"):
        decoder = Decoder(size)
    decoder.load_state_dict({k: v for k, v in state.items() if k != "lm_head.weight"}, assign=True)
    return decoder.eval().requires_grad_(False)


def toy_decoder(**changes: Any) -> Decoder:
    """`toy_size` with random weights."""
    size = toy_size(**changes)
    return decoder_of(size, random_state(size))


def toy_encoder(seed: int = 0, **changes: Any) -> Encoder:
    """A small BERT with random weights."""
    size = replace(EncoderSize(32, 3, 4, 48, vocab=512, max_positions=64), **changes)
    torch.manual_seed(seed)
    encoder = Encoder(size)
    for tensor in encoder.parameters():
        with torch.no_grad():
            tensor.normal_(1.0, 0.3) if tensor.dim() == 1 else tensor.normal_(0, tensor.shape[1] ** -0.5)
    return encoder.eval().requires_grad_(False)


def write_toy(
    out: Path,
    kind: Kind = "embedder",
    *,
    size: Size | None = None,
    tokenizer: str | None = None,
    dtype: str = "float32",
    max_shard_bytes: int | None = None,
    seed: int = 0,
    max_seq_length: int = 256,
) -> Path:
    """Write a model directory with random weights."""
    size = size or toy_size()
    files = ModelFiles(
        kind=kind,
        size=size,
        state=random_state(size, seed),
        tokenizer=tokenizer or toy_tokenizer(),
        card="# A toy\n",
        max_seq_length=max_seq_length,
    )
    return write_directory(files, out, dtype, max_shard_bytes=max_shard_bytes)


def random_ids(lengths: Sequence[int], vocab: int, seed: int = 0) -> list[list[int]]:
    """Sequences of random ids of the lengths given."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocab, size=n).tolist() for n in lengths]


def unit(states: torch.Tensor) -> torch.Tensor:
    """Rows brought to unit length."""
    return torch.nn.functional.normalize(states.float(), dim=-1)


def gap(a: Any, b: Any) -> float:
    """Largest absolute difference; shapes must agree."""
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    assert left.shape == right.shape
    return float(np.abs(left - right).max(initial=0))


def assert_mendable(error: LingxiError, *words: str) -> None:
    """One line, with a remedy, that names what it is about."""
    text = str(error)
    assert "\n" not in text
    assert error.remedy
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"
