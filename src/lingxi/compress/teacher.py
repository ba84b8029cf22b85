"""The teacher as a distillation reads it: its network in fp32, its tokenizer, the rows of yes and no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lingxi.compress.contributions import Network
from lingxi.errors import ModelError
from lingxi.model.decoder import Decoder
from lingxi.model.files import read_answer_rows, read_config, read_output_head
from lingxi.model.layout import Kind, read_kind
from lingxi.model.network import Headed, read_network, read_network_tokens
from lingxi.model.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Opened:
    """A teacher in memory: its network in fp32, its tokenizer, and what its directory says."""

    directory: Path
    kind: Kind
    network: Network
    tokens: Tokens
    head: torch.Tensor | None
    answer_row: torch.Tensor | None


def open_teacher(directory: Path) -> Opened:
    """Read a teacher; raises ModelError where it has dense heads after its pooling, or is no one kind."""
    kind = read_kind(directory)
    if kind is None and read_config(directory).get("model_type") == "qwen3":
        raise ModelError(f"{directory}: neither an embedder nor a reranker", "add modules.json as published")
    kind = kind or "embedder"
    network = read_network(directory, torch.float32)
    if isinstance(network, Headed):
        raise ModelError(
            f"{directory}: has dense heads after its pooling, which are not cut", "distil its vectors instead"
        )
    tokens = read_network_tokens(directory, network.size.vocab)
    if kind == "embedder" or not isinstance(network, Decoder):
        return Opened(directory, kind, network, tokens, None, None)
    yes, no = tokens.answer("yes"), tokens.answer("no")
    row = read_answer_rows(directory, network.size, yes, no)
    return Opened(directory, kind, network, tokens, read_output_head(directory, network.size), row)


def answer_row(network: Network, head: torch.Tensor | None, tokens: Tokens) -> Callable[[], torch.Tensor]:
    """A reranker's w_yes − w_no [hidden], read anew at each call so that a tied one has its gradient."""
    yes, no = tokens.answer("yes"), tokens.answer("no")
    if head is not None:
        row = head[yes] - head[no]
        return lambda: row.to(network.device)
    return lambda: network.embed_tokens.weight[yes] - network.embed_tokens.weight[no]
