"""A model directory as the network that computes it here: our kernels on a CPU, torch elsewhere.

`weights="int8"` rounds the matrices (about a quarter of the memory, twice the speed); a directory
that `lingxi models quantize` wrote says so itself, and may hold them packed already.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast, get_args

import torch
from torch import nn

from lingxi.engine.native.decoder import NativeDecoder
from lingxi.engine.native.encoder import NativeEncoder
from lingxi.engine.native.library import library, loaded
from lingxi.engine.native.packing import Fresh, Source
from lingxi.engine.native.stored import read_packed
from lingxi.engine.run import Network
from lingxi.errors import InputError
from lingxi.model.decoder import Decoder, Prefix
from lingxi.model.encoder import Encoder
from lingxi.model.files import open_tensors, read_config, shapes_of
from lingxi.model.modules import read_heads
from lingxi.model.network import empty_network, network_name, read_network
from lingxi.model.packed import Packed
from lingxi.model.pooling import Head

Engine = Literal["native", "torch"]
Weights = Literal["float32", "int8"]


class Headed:
    """A native network and the dense heads after its pooling."""

    def __init__(self, inner: NativeDecoder | NativeEncoder, heads: list[nn.Module]) -> None:
        self.inner, self._heads = inner, heads
        self.device, self.continues, self.table = inner.device, inner.continues, inner.table
        self.precision = inner.precision
        self.hidden = [inner.hidden, *(head.size.outer for head in heads if isinstance(head, Head))][-1]

    def __call__(self, packed: Packed, prefix: Prefix | None = None) -> torch.Tensor:
        """Vectors [sequences, hidden] of a packed batch."""
        vectors = cast(NativeDecoder, self.inner)(packed, prefix)
        for head in self._heads:
            vectors = head(vectors)
        return vectors

    def states(self, packed: Packed) -> torch.Tensor:
        """Final states of all tokens, before pooling and heads, [tokens, width of the inner network]."""
        return self.inner.states(packed)

    def prefix(self, ids: list[int], after: Prefix | None = None) -> Prefix:
        """Keys and values of a run of ids, where the inner network is a decoder that continues."""
        return cast(NativeDecoder, self.inner).prefix(ids, after)


def open_network(
    directory: Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    engine: str | None = None,
    weights: str | None = None,
) -> Network:
    """The network of a directory, ready to compute.

    `engine` is 'native', 'torch', or None for the faster one that computes this network on this
    device; `weights` 'float32', 'int8', or None for what the directory says, where the engine can.
    Raises InputError for a combination that does not exist, ModelError as `read_network`.
    """
    _check(engine, get_args(Engine), "engine")
    _check(weights, get_args(Weights), "weights")
    reason = _why_not_native(directory, device, dtype)
    if engine == "native" and reason:
        raise InputError(f"engine='native' {reason}", "leave engine out, or choose 'torch'")
    if engine != "torch" and reason is None:
        return native_network(directory, weights or stated_weights(directory))
    if weights == "int8":
        why = reason or "is asked of engine='torch'"
        raise InputError(f"weights='int8' {why}", "leave weights out, or let the native engine compute it")
    return read_network(directory, dtype, device)


def stated_weights(directory: Path) -> Weights:
    """What a directory wants its matrices computed in: int8 where `lingxi models quantize` wrote it."""
    said = read_config(directory).get("lingxi_weights") or {}
    return "int8" if said.get("compute") == "int8" else "float32"


def native_network(directory: Path, precision: str) -> NativeDecoder | NativeEncoder | Headed:
    """The network of a directory from packed weights; matrices are packed one after the other, or mapped."""
    loaded()
    empty, modules = empty_network(directory)
    stored = read_packed(directory, precision)
    if stored is not None:
        network = built(empty, stored, precision)
    else:
        with open_tensors(directory, shapes_of(empty), network_name) as tensors:
            network = built(empty, Fresh(tensors, precision), precision)
    heads = read_heads(modules, torch.float32)
    return Headed(network, heads) if heads else network


def built(empty: Decoder | Encoder, source: Source, precision: str) -> NativeDecoder | NativeEncoder:
    """The native network of a shape, from packed weights or weights to pack."""
    if isinstance(empty, Encoder):
        return NativeEncoder(empty.size, source, precision, empty.pooling)
    return NativeDecoder(empty.size, source, precision, empty.pooling)


def computed_weights(network: Network) -> str:
    """In what a network's matrices are computed: 'int8' or 'float32' (or the dtype of torch's, which callers know)."""
    return str(getattr(network, "precision", "float32"))


def token_vectors(network: Network) -> torch.Tensor:
    """The vectors of the vocabulary's tokens [vocab, width], fp32, whichever engine computes."""
    table = getattr(network, "table", None)
    if table is None:
        return cast(Decoder, network).embed_tokens.weight.detach().float().cpu()
    return cast(torch.Tensor, table.read(torch.arange(len(table.rows))))


def _why_not_native(directory: Path, device: torch.device, dtype: torch.dtype) -> str | None:
    """What keeps the kernels from computing this network here, or None."""
    if device.type != "cpu":
        return f"computes on a CPU, not on {device}"
    if dtype != torch.float32:
        return "computes float32 and int8, not other types"
    if library() is None:
        return "needs kernels that this installation was built without"
    size = empty_network(directory)[0].size
    dim = getattr(size, "head_dim", 0) or size.hidden // size.heads
    if dim % 16:
        return f"needs heads of a multiple of 16 numbers, these have {dim}"
    if getattr(size, "buckets", 0):
        return "does not compute MPNet's distances"
    if getattr(size, "window", None) and not getattr(size, "causal", True):
        return "does not compute windows to both sides"
    return None


def _check(value: str | None, known: tuple[str, ...], name: str) -> None:
    if value is not None and value not in known:
        raise InputError(f"unknown {name} {value!r}", f"choose one of: {', '.join(known)}")
