"""A BERT-type encoder made ready for the kernels: the same numbers as `model.encoder.Encoder`."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lingxi.engine.native.matrices import Matrix, Room
from lingxi.engine.native.packing import Source
from lingxi.engine.native.steps import Epilogue, Heads, Norm, attend, one_each, product, ready, spans
from lingxi.model.decoder import Prefix
from lingxi.model.encoder_size import EncoderSize
from lingxi.model.packed import Packed
from lingxi.model.pooling import Pooling, places, pool


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Packed weights of one block."""

    qkv: Matrix
    out: Matrix
    attention_norm: Norm
    inner: Matrix
    outer: Matrix
    norm: Norm


class NativeEncoder:
    """Packed ids in, pooled states out, with int8 or fp32 weights; safe for several threads at once."""

    device = torch.device("cpu")
    continues = False

    def __init__(self, size: EncoderSize, source: Source, precision: str, pooling: Pooling = "mean") -> None:
        self.size, self.hidden, self.pooling = size, size.hidden, pooling
        self.precision = precision
        at = "embeddings"
        self.table = source.table(f"{at}.word_embeddings")
        self._positions = source.table(f"{at}.position_embeddings")
        self._type = source.table(f"{at}.token_type_embeddings") if size.types else None
        self._norm = _norm(size, source, f"{at}.LayerNorm")
        self._layers = [_layer(size, source, depth) for depth in range(size.layers)]
        dim = size.hidden // size.heads
        self._heads = Heads(size.heads, size.heads, dim, dim**-0.5, causal=False)
        self._gelu = Epilogue.GELU if size.approximate == "none" else Epilogue.GELU_TANH
        self._room = Room()

    def __call__(self, packed: Packed, prefix: Prefix | None = None) -> torch.Tensor:
        """Pooled states, [sequences, hidden], in the order of the batch."""
        if self.pooling == "mean":
            return pool(self._through(packed, self._layers), packed, self.pooling)
        # One token of each sequence is pooled: the last block is finished for those alone.
        x = self._through(packed, self._layers[:-1])
        asking, threads = places(packed, self.pooling), torch.get_num_threads()
        return self._block(self._layers[-1], x, spans(packed), threads, asking).clone()

    def states(self, packed: Packed) -> torch.Tensor:
        """Final states of all tokens, [tokens, hidden]."""
        return self._through(packed, self._layers).clone()

    def _through(self, packed: Packed, layers: list[Layer]) -> torch.Tensor:
        threads = torch.get_num_threads()
        x = self.table.read(packed.ids) + self._positions.read(packed.positions + self.size.offset)
        if self._type is not None:
            x += self._type.read(torch.zeros(1, dtype=torch.long))
        x = self._normed(x, self._norm, "stream", threads)
        where = spans(packed)
        for layer in layers:
            x = self._block(layer, x, where, threads, None)
        return x

    def _block(
        self, layer: Layer, x: torch.Tensor, where: torch.Tensor, threads: int, asking: torch.Tensor | None
    ) -> torch.Tensor:
        """States after the block of all tokens, or of those `asking`, in a buffer that the next reuses."""
        hidden = self.hidden
        rows = ready(x, None, layer.qkv, self._room, threads)
        qkv = self._room.take("qkv", (len(x), 3 * hidden))
        product(rows, layer.qkv, qkv, Epilogue.STORE, threads)
        queries, keys, values = torch.split(qkv, hidden, dim=1)
        if asking is not None:
            queries, x = queries[asking], x[asking]
        attended = self._room.take("attended", (len(queries), hidden))
        attend(
            queries,
            keys,
            values,
            self._heads,
            where if asking is None else one_each(where),
            None,
            attended,
            threads,
        )
        x = self._added(attended, layer.out, layer.attention_norm, x, "middle", threads)
        inner = self._room.take("inner", (len(x), self.size.intermediate))
        product(ready(x, None, layer.inner, self._room, threads), layer.inner, inner, self._gelu, threads)
        return self._added(inner, layer.outer, layer.norm, x, "stream", threads)

    def _added(
        self, found: torch.Tensor, matrix: Matrix, norm: Norm, before: torch.Tensor, name: str, threads: int
    ) -> torch.Tensor:
        """A projection added to what came before, and normed into the buffer `name`."""
        total = self._room.take("total", before.shape)
        total.copy_(before)
        product(ready(found, None, matrix, self._room, threads), matrix, total, Epilogue.ADD, threads)
        return self._normed(total, norm, name, threads)

    def _normed(self, x: torch.Tensor, norm: Norm, name: str, threads: int) -> torch.Tensor:
        found = ready(x, norm, None, self._room, threads, name).floats
        assert found is not None
        return found


def _norm(size: EncoderSize, source: Source, name: str) -> Norm:
    return Norm(source.vector(f"{name}.weight"), source.vector(f"{name}.bias"), size.norm_eps)


def _layer(size: EncoderSize, source: Source, depth: int) -> Layer:
    at = f"encoder.layer.{depth}"
    own = f"{at}.attention.self"
    return Layer(
        qkv=source.matrix(f"{at}.qkv", f"{own}.query", f"{own}.key", f"{own}.value"),
        out=source.matrix(f"{at}.out", f"{at}.attention.output.dense"),
        attention_norm=_norm(size, source, f"{at}.attention.output.LayerNorm"),
        inner=source.matrix(f"{at}.inner", f"{at}.intermediate.dense"),
        outer=source.matrix(f"{at}.outer", f"{at}.output.dense"),
        norm=_norm(size, source, f"{at}.output.LayerNorm"),
    )
