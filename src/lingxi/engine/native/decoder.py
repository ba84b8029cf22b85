"""A decoder made ready for the kernels: the same numbers as `model.decoder.Decoder`, from packed weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lingxi.engine.native.matrices import Matrix, Room, gated, pack, rounded
from lingxi.engine.native.steps import Epilogue, Heads, Norm, Ready, attend, product, ready, rotate, spans
from lingxi.model.decoder import KeysValues, Prefix
from lingxi.model.packed import Packed
from lingxi.model.packed import pack as lay
from lingxi.model.sizes import Size


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Token vectors: fp32, or int8 codes with a scale a row."""

    rows: torch.Tensor
    scale: torch.Tensor | None

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """Vectors [tokens, hidden] of ids, a new fp32 tensor."""
        found = self.rows.index_select(0, ids)
        return found.clone() if self.scale is None else found.float() * self.scale[ids, None]


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Packed weights of one block."""

    attention_norm: Norm
    query_key: Matrix
    value: Matrix
    query_norm: Norm | None
    key_norm: Norm | None
    out: Matrix
    mlp_norm: Norm
    gate_up: Matrix
    down: Matrix


class NativeDecoder:
    """Packed ids in, normed states out, with weights as 'int8' or 'float32'; safe for several threads at once."""

    device = torch.device("cpu")

    def __init__(self, size: Size, tensors: Mapping[str, torch.Tensor], precision: str) -> None:
        self.size, self.hidden, self.precision = size, size.hidden, precision
        self._int8 = precision == "int8"
        self._table = _table(tensors["embed_tokens.weight"], self._int8)
        self._layers = [
            _layer(size, tensors, f"layers.{i}.", precision) for i in range(size.layers)
        ]
        self._norm = Norm(tensors["norm.weight"].float(), None, size.norm_eps)
        self._heads = Heads(size.heads, size.kv_heads, size.head_dim, size.head_dim**-0.5, causal=True)
        self._angles = _angles(size, 64)
        self._room = Room()

    def __call__(self, packed: Packed, prefix: Prefix | None = None) -> torch.Tensor:
        """Final normed states of the last tokens, [sequences, hidden]."""
        run = self._begin(packed, prefix)
        for depth, layer in enumerate(self._layers[:-1]):
            self._block(layer, run, prefix.layers[depth] if prefix else None)
        x = self._pooled(self._layers[-1], run, packed.last, prefix.layers[-1] if prefix else None)
        return self._normed(x)

    def states(self, packed: Packed) -> torch.Tensor:
        """Final normed states of all tokens, [tokens, hidden]."""
        run = self._begin(packed, None)
        for layer in self._layers:
            self._block(layer, run, None)
        return self._normed(run.x)

    def prefix(self, ids: list[int], after: Prefix | None = None) -> Prefix:
        """Keys and values of a run of ids that many sequences begin with, computed once."""
        run = self._begin(lay([ids]), after)
        layers = []
        for depth, layer in enumerate(self._layers):
            seen = after.layers[depth] if after else None
            layers.append(_joined(seen, self._block(layer, run, seen)))
        return Prefix(len(ids) + (after.length if after else 0), tuple(layers))

    def _begin(self, packed: Packed, prefix: Prefix | None) -> _Run:
        start = prefix.length if prefix else 0
        lengths = [
            (run.start + i * run.length, run.length) for run in packed.runs for i in range(run.count)
        ]
        longest = start + max(run.length for run in packed.runs)
        if longest > len(self._angles[0]):
            self._angles = _angles(self.size, max(longest, 2 * len(self._angles[0])))
        return _Run(
            self._table.read(packed.ids), packed.positions + start, lengths, self._angles, torch.get_num_threads()
        )

    def _block(self, layer: Layer, run: _Run, seen: KeysValues | None) -> KeysValues:
        """The block over all tokens, in place; returns its keys and values as views that the next block overwrites."""
        size, threads = self.size, run.threads
        wide = size.heads * size.head_dim
        rows = self._ready(run.x, layer.attention_norm, run)
        qkv = self._room.take("qkv", (len(run.x), wide + 2 * size.kv_heads * size.head_dim))
        queries, keys, values = self._split(qkv)
        product(rows, layer.query_key, qkv[:, : layer.query_key.columns], Epilogue.STORE, threads)
        product(rows, layer.value, values, Epilogue.STORE, threads)
        rotate(queries, size.heads, size.head_dim, layer.query_norm, run.angles, run.positions, threads)
        rotate(keys, size.kv_heads, size.head_dim, layer.key_norm, run.angles, run.positions, threads)
        attended = self._room.take("attended", (len(run.x), wide))
        attend(queries, keys, values, self._heads, spans(run.lengths, last_only=False), seen, attended, threads)
        self._finish(layer, run.x, attended, run)
        return keys.unflatten(1, (size.kv_heads, -1)), values.unflatten(1, (size.kv_heads, -1))

    def _pooled(self, layer: Layer, run: _Run, last: torch.Tensor, seen: KeysValues | None) -> torch.Tensor:
        """The block for the last tokens alone: all keys and values, few queries."""
        size, threads = self.size, run.threads
        wide = size.heads * size.head_dim
        rows = self._ready(run.x, layer.attention_norm, run)
        keys, values = self._room.take("qkv", (len(run.x), 2 * size.kv_heads * size.head_dim)).chunk(2, dim=1)
        product(rows, layer.query_key.part(wide, layer.query_key.columns), keys, Epilogue.STORE, threads)
        product(rows, layer.value, values, Epilogue.STORE, threads)
        rotate(keys, size.kv_heads, size.head_dim, layer.key_norm, run.angles, run.positions, threads)
        queries = self._room.take("queries", (len(last), wide))
        product(_some(rows, last), layer.query_key.part(0, wide), queries, Epilogue.STORE, threads)
        positions = run.positions[last]
        rotate(queries, size.heads, size.head_dim, layer.query_norm, run.angles, positions, threads)
        attended = self._room.take("attended", (len(last), wide))
        attend(queries, keys, values, self._heads, spans(run.lengths, last_only=True), seen, attended, threads)
        x = run.x[last]
        self._finish(layer, x, attended, run)
        return x

    def _finish(self, layer: Layer, x: torch.Tensor, attended: torch.Tensor, run: _Run) -> None:
        """Add the attention's output and the feed-forward layer to `x`."""
        product(self._ready(attended, None, run), layer.out, x, Epilogue.ADD, run.threads)
        inner = self._room.take("inner", (len(x), self.size.intermediate))
        product(self._ready(x, layer.mlp_norm, run), layer.gate_up, inner, Epilogue.GATE_SILU, run.threads)
        product(self._ready(inner, None, run), layer.down, x, Epilogue.ADD, run.threads)

    def _ready(self, x: torch.Tensor, norm: Norm | None, run: _Run) -> Ready:
        return ready(x, norm, self._room, int8=self._int8, threads=run.threads)

    def _normed(self, x: torch.Tensor) -> torch.Tensor:
        found = ready(x, self._norm, self._room, int8=False, threads=1).floats
        assert found is not None
        return found.clone()

    def _split(self, qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        wide, narrow = self.size.heads * self.size.head_dim, self.size.kv_heads * self.size.head_dim
        queries, keys, values = torch.split(qkv, [wide, narrow, narrow], dim=1)
        return queries, keys, values


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """One forward pass: the residual stream, and where its tokens stand."""

    x: torch.Tensor
    positions: torch.Tensor
    lengths: list[tuple[int, int]]
    angles: tuple[torch.Tensor, torch.Tensor]
    threads: int


def _some(rows: Ready, index: torch.Tensor) -> Ready:
    floats = None if rows.floats is None else rows.floats[index]
    if rows.codes is None or rows.scale is None or rows.low is None:
        return Ready(floats)
    return Ready(floats, rows.codes[index], rows.scale[index], rows.low[index])


def _joined(seen: KeysValues | None, own: KeysValues) -> KeysValues:
    keys, values = own
    if seen is None:
        return keys.contiguous().clone(), values.contiguous().clone()
    return torch.cat((seen[0], keys)), torch.cat((seen[1], values))


def _table(weight: torch.Tensor, int8: bool) -> Table:
    return Table(*rounded(weight.float())) if int8 else Table(weight.float(), None)


def _layer(size: Size, tensors: Mapping[str, torch.Tensor], at: str, precision: str) -> Layer:
    def norm(name: str) -> Norm:
        return Norm(tensors[f"{at}{name}.weight"].float().contiguous(), None, size.norm_eps)

    def weight(name: str) -> torch.Tensor:
        return tensors[f"{at}{name}.weight"].float()

    return Layer(
        attention_norm=norm("input_layernorm"),
        query_key=pack(torch.cat([weight("self_attn.q_proj"), weight("self_attn.k_proj")]), None, precision),
        # A third of all error would be the values', for a fifteenth of the work: they stay fp32.
        value=pack(weight("self_attn.v_proj"), None, "float32"),
        query_norm=norm("self_attn.q_norm"),
        key_norm=norm("self_attn.k_norm"),
        out=pack(weight("self_attn.o_proj"), None, precision),
        mlp_norm=norm("post_attention_layernorm"),
        gate_up=pack(gated(weight("mlp.gate_proj"), weight("mlp.up_proj")), None, precision),
        down=pack(weight("mlp.down_proj"), None, precision),
    )


def _angles(size: Size, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines [count, head_dim / 2] of the rotary angles."""
    half = torch.arange(0, size.head_dim, 2, dtype=torch.float32)
    frequencies = 1.0 / (size.rope_theta ** (half / size.head_dim))
    angles = torch.arange(count).float()[:, None] * frequencies
    return angles.cos(), angles.sin()
