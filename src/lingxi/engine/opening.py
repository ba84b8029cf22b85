"""A model directory as the network that computes it here: our kernels on a CPU, torch elsewhere.

`weights="int8"` rounds the matrices (about a quarter of the memory, twice the speed); a directory
that `lingxi models quantize` wrote says so itself, and may hold them packed already.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast, get_args

import torch
from torch import nn

from lingxi.engine.devices import spread
from lingxi.engine.native.decoder import NativeDecoder
from lingxi.engine.native.encoder import NativeEncoder
from lingxi.engine.native.library import library, loaded
from lingxi.engine.native.matrices import PANEL
from lingxi.engine.native.packing import Fresh, Source
from lingxi.engine.native.stored import read_packed
from lingxi.engine.run import Network
from lingxi.errors import InputError
from lingxi.model.decoder import Decoder, Prefix
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.files import open_codes, open_tensors, read_config, shapes_of
from lingxi.model.modules import read_heads
from lingxi.model.network import (
    empty_network,
    network_name,
    read_network,
    read_size,
    read_stated_modules,
)
from lingxi.model.packed import Packed, Visual
from lingxi.model.pooling import Head, Pooling
from lingxi.model.sizes import Size

Engine = Literal["native", "torch"]
Weights = Literal["float32", "int8"]


class Headed:
    """A native network and the dense heads after its pooling."""

    def __init__(self, inner: NativeDecoder | NativeEncoder, heads: list[nn.Module]) -> None:
        self.inner, self._heads = inner, heads
        self.device, self.continues, self.table = inner.device, inner.continues, inner.table
        self.precision, self.pooling = inner.precision, inner.pooling
        self.hidden = [inner.hidden, *(head.size.outer for head in heads if isinstance(head, Head))][-1]

    def __call__(self, packed: Packed, prefix: Prefix | None = None) -> torch.Tensor:
        """Vectors [sequences, hidden] of a packed batch."""
        return self.headed(cast(NativeDecoder, self.inner)(packed, prefix))

    def headed(self, vectors: torch.Tensor) -> torch.Tensor:
        """Pooled states [n, width of the inner network] after the heads: [n, hidden]."""
        for head in self._heads:
            vectors = head(vectors)
        return vectors

    def states(self, packed: Packed) -> torch.Tensor:
        """Final states of all tokens, before pooling and heads, [tokens, width of the inner network]."""
        return self.inner.states(packed)

    def prefix(self, ids: list[int], after: Prefix | None = None, visual: Visual | None = None) -> Prefix:
        """Keys and values of a run of ids, where the inner network is a decoder that continues."""
        return cast(NativeDecoder, self.inner).prefix(ids, after, visual)


def open_networks(
    directory: Path,
    devices: Sequence[torch.device],
    dtype: torch.dtype,
    *,
    engine: str | None = None,
    weights: str | None = None,
) -> list[Network]:
    """The network of a directory, ready to compute on each device.

    `engine` is 'native', 'torch', or None for the faster one that computes this network on these
    devices; `weights` 'float32', 'int8', or None for what the directory says, where the engine can.
    Raises InputError for a combination that does not exist, ModelError as `read_network`.
    """
    _check(engine, get_args(Engine), "engine")
    _check(weights, get_args(Weights), "weights")
    reason = _why_not_native(directory, devices, dtype)
    if engine == "native" and reason:
        raise InputError(f"engine='native' {reason}", "leave engine out, or choose 'torch'")
    if engine != "torch" and reason is None:
        network = native_network(directory, weights or stated_weights(directory))
        return [network for _ in devices]  # one serves any number of threads
    if weights == "int8":
        why = reason or "is not what engine='torch' computes"
        raise InputError(f"weights='int8' {why}", "leave weights out, or let the native engine compute it")
    return [*spread(read_network(directory, dtype, devices[0]), devices)]


def stated_weights(directory: Path) -> Weights:
    """What a directory wants its matrices computed in: int8 where `lingxi models quantize` wrote it."""
    said = read_config(directory).get("lingxi_weights") or {}
    return "int8" if said.get("compute") == "int8" else "float32"


def native_network(directory: Path, precision: str) -> NativeDecoder | NativeEncoder | Headed:
    """The network of a directory from packed weights: mapped where they are stored, else made one by one."""
    loaded()
    size, modules = read_size(directory), read_stated_modules(directory)
    source = read_packed(directory, precision)
    if source is not None:
        network = built(size, modules.pooling, source, precision)
    else:
        shapes = shapes_of(empty_network(directory))
        with (
            open_tensors(directory, shapes, network_name) as tensors,
            open_codes(directory, network_name, shapes) as codes,
        ):
            network = built(size, modules.pooling, Fresh(tensors, precision, codes), precision)
    heads = read_heads(modules, torch.float32)
    return Headed(network, heads) if heads else network


def built(
    size: Size | EncoderSize, pooling: Pooling, source: Source, precision: str
) -> NativeDecoder | NativeEncoder:
    """The native network of a shape, from packed weights or weights to pack."""
    if isinstance(size, EncoderSize):
        return NativeEncoder(size, source, precision, pooling)
    return NativeDecoder(size, source, precision, pooling)


def computed_weights(network: Network) -> str:
    """What a network computes its matrices in: 'int8', or 'float32' (torch's: the dtype it was opened in)."""
    return str(getattr(network, "precision", "float32"))


def token_vectors(network: Network) -> torch.Tensor:
    """The vectors of the vocabulary's tokens [vocab, width], fp32, whichever engine computes."""
    table = getattr(network, "table", None)
    if table is None:
        return cast(Decoder, network).embed_tokens.weight.detach().float().cpu()
    return cast(torch.Tensor, table.read(torch.arange(len(table.rows))))


def _why_not_native(directory: Path, devices: Sequence[torch.device], dtype: torch.dtype) -> str | None:
    """What keeps the kernels from computing this network here, or None."""
    elsewhere = [str(device) for device in devices if device.type != "cpu"]
    if elsewhere:
        return f"computes on a CPU, not on {elsewhere[0]}"
    if dtype != torch.float32:
        return "computes float32 and int8, not other types"
    if library() is None:
        return "needs kernels that this installation was built without"
    return _why_not_this(read_size(directory))


def _why_not_this(size: Size | EncoderSize) -> str | None:
    dim = size.hidden // size.heads if isinstance(size, EncoderSize) else size.head_dim
    if dim % PANEL:
        return f"needs heads of a multiple of {PANEL} numbers, these have {dim}"
    if isinstance(size, EncoderSize):
        return "does not compute MPNet's distances" if size.buckets else None
    if size.window and not size.causal:
        return "does not compute windows to both sides"
    return None


def _check(value: str | None, known: tuple[str, ...], name: str) -> None:
    if value is not None and value not in known:
        raise InputError(f"unknown {name} {value!r}", f"choose one of: {', '.join(known)}")
