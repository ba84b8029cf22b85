"""Any directory that is read, as a network: the family by `model_type`, the vector by `modules.json`.

Qwen3, Qwen2, Llama and Gemma3 decoders, BERT, RoBERTa, XLM-R and MPNet encoders, with their pooling
and dense heads. Without a `modules.json` encoders are pooled by the mean, as sentence-transformers
does, and decoders at the last token; both are said as a warning, but for Qwen3, which is
published so.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from lingxi.errors import LingxiWarning, ModelError
from lingxi.model.decoder import Decoder, Prefix
from lingxi.model.encoder import Encoder
from lingxi.model.encoder_size import ENCODERS, EncoderSize, encoder_size
from lingxi.model.families import DECODERS, decoder_size
from lingxi.model.files import filled, open_published, open_tensors, read_config, shapes_of
from lingxi.model.framing import read_framed_tokens, read_token_limit
from lingxi.model.layout import read_max_length
from lingxi.model.modules import Modules, read_heads, read_modules
from lingxi.model.packed import Packed, Visual
from lingxi.model.pooling import Head, Pooling
from lingxi.model.sizes import Size
from lingxi.model.tokens import Tokens, read_tokens

TABLES = ("embed_tokens.weight", "embeddings.word_embeddings.weight")
"""What the networks call the table of token vectors."""
_PREFIXES = re.compile(r"^((model\.)?language_model|model|bert|roberta|mpnet)\.")
_QWEN3 = ("qwen3", "qwen3_vl")
_MPNET = {".attn.q.": ".self.query.", ".attn.k.": ".self.key.", ".attn.v.": ".self.value."}
_MPNET |= {".attn.o.": ".output.dense.", ".attention.LayerNorm.": ".attention.output.LayerNorm."}


class Headed(nn.Module):
    """A network and the dense heads after its pooling."""

    continues: bool

    def __init__(self, inner: Decoder | Encoder, heads: list[nn.Module]) -> None:
        super().__init__()
        self.inner = inner
        self.heads = nn.ModuleList(heads)
        self.continues = inner.continues
        widths = [head.size.outer for head in heads if isinstance(head, Head)]
        self.size: Size | EncoderSize = replace(inner.size, hidden=[inner.hidden, *widths][-1])

    @property
    def hidden(self) -> int:
        """Width of the vectors after the last head."""
        return self.size.hidden

    @property
    def pooling(self) -> Pooling:
        """How the inner network's states are pooled."""
        return self.inner.pooling

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.inner.device

    @property
    def embed_tokens(self) -> nn.Embedding:
        """The vectors of the vocabulary's tokens."""
        return self.inner.embed_tokens

    def forward(self, packed: Packed, prefix: Prefix | None = None) -> torch.Tensor:
        """Vectors [sequences, hidden] of a packed batch."""
        return self.headed(self.inner(packed, prefix))

    def headed(self, vectors: torch.Tensor) -> torch.Tensor:
        """Pooled states [n, width of the inner network] after the heads: [n, hidden]."""
        for head in self.heads:
            vectors = head(vectors)
        return vectors

    def states(self, packed: Packed) -> torch.Tensor:
        """Final states of all tokens, before pooling and heads, [tokens, width of the inner network]."""
        return self.inner.states(packed)

    def prefix(self, ids: list[int], after: Prefix | None = None, visual: Visual | None = None) -> Prefix:
        """Keys and values of a run of ids, where the inner network is a decoder that continues."""
        return cast(Decoder, self.inner).prefix(ids, after, visual)


def read_network(
    directory: Path, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Decoder | Encoder | Headed:
    """Build the network of a directory with its weights, in `dtype`, ready for inference.

    Raises ModelError for a `model_type` that is not computed, and as `read_decoder`.
    """
    modules = read_stated_modules(directory)
    network = filled(empty_network(directory), directory, dtype, device, network_name)
    heads = read_heads(modules, dtype, device)
    return Headed(network, heads) if heads else network


def empty_network(directory: Path) -> Decoder | Encoder:
    """The network of a directory without its weights, on torch's meta device; raises as `read_network`."""
    size, pooling = read_size(directory), _modules(directory).pooling
    with torch.device("meta"):
        return Encoder(size, pooling) if isinstance(size, EncoderSize) else Decoder(size, pooling)


def read_stated_modules(directory: Path) -> Modules:
    """What follows the network of a directory; an assumption is said as a warning."""
    modules = _modules(directory)
    if not modules.stated and read_config(directory).get("model_type") not in _QWEN3:
        _say_assumed(directory, modules.pooling)
    return modules


def _modules(directory: Path) -> Modules:
    kind = _kind(read_config(directory), directory)
    return read_modules(directory, "mean" if kind in ENCODERS else "lasttoken")


def read_network_tokens(directory: Path, vocab: int, *, reference_specials: bool = False) -> Tokens:
    """The tokenizer of a directory for a network of `vocab` rows; raises ModelError where it does not fit."""
    if _kind(read_config(directory), directory) in _QWEN3:
        return read_tokens(directory / "tokenizer.json", vocab, reference_specials=reference_specials)
    return read_framed_tokens(directory, vocab, reference_specials=reference_specials)


def read_limit(directory: Path) -> int | None:
    """How many tokens a directory says a text may have, or None where it says nothing.

    sentence-transformers 6 states it as the tokenizer's `model_max_length` alone.
    """
    stated = read_max_length(directory)
    if stated is None and _kind(read_config(directory), directory) not in _QWEN3:
        return read_token_limit(directory)
    return stated


def read_size(directory: Path) -> Size | EncoderSize:
    """The shape of a directory's network; raises ModelError for one that is not computed."""
    config = read_config(directory)
    read = encoder_size if _kind(config, directory) in ENCODERS else decoder_size
    return read(config, str(directory))


def open_network_tensors(directory: Path) -> AbstractContextManager[Mapping[str, torch.Tensor]]:
    """The tensors of a directory's network in fp32 under its own names, read one by one while it is open.

    Raises ModelError as `read_network`.
    """
    return open_tensors(directory, shapes_of(empty_network(directory)), network_name)


def published_state(directory: Path, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A network's tensors under the names that a directory's files have for them, and BERT's pooler as it is.

    No vector uses the pooler, but transformers complains without it.
    """
    with open_published(directory) as tensors:
        pooler = {key: tensors[key] for key in tensors if "pooler." in key and network_name(key) not in state}
        named = {key: state[network_name(key)] for key in tensors if network_name(key) in state}
    return {**named, **pooler}


def read_decoder_size(directory: Path) -> Size:
    """The shape of a Qwen3 or Qwen3-VL decoder; raises ModelError for another network, as `read_size`."""
    config = read_config(directory)
    if config.get("model_type") not in _QWEN3:
        found = config.get("model_type", "nothing")
        raise ModelError(f"{directory}: model_type is {found!r}", f"lingxi reranks by {' and '.join(_QWEN3)}")
    return decoder_size(config, str(directory))


def _kind(config: dict[str, Any], directory: Path) -> str:
    kind = config.get("model_type")
    if kind not in (*DECODERS, *ENCODERS):
        known = ", ".join((*DECODERS, *ENCODERS))
        raise ModelError(f"{directory}: model_type is {kind!r}", f"lingxi computes one of: {known}")
    return str(kind)


def network_name(key: str) -> str:
    """The network's name for a published key: without the head's prefix, MPNet's words as BERT's."""
    name = _PREFIXES.sub("", key)
    for theirs, ours in _MPNET.items():
        name = name.replace(theirs, ours)
    return name


def _say_assumed(directory: Path, pooling: Pooling) -> None:
    warnings.warn(
        f"{directory}: no module says how states are pooled, {pooling!r} is assumed; "
        "add modules.json and 1_Pooling/config.json to say it",
        LingxiWarning,
        stacklevel=5,
    )
