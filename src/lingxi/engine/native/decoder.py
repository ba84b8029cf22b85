"""A decoder made ready for the kernels: the same numbers as `model.decoder.Decoder`, from packed weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from lingxi.engine.native.matrices import Matrix, Room
from lingxi.engine.native.packing import Source
from lingxi.engine.native.steps import (
    Epilogue,
    Heads,
    Norm,
    Ready,
    attend,
    one_each,
    product,
    ready,
    rotate,
    spans,
)
from lingxi.model.attention import KeysValues
from lingxi.model.decoder import Prefix, axis_angles, frequencies, joined
from lingxi.model.packed import Packed, Visual, pack
from lingxi.model.pooling import Pooling, pool
from lingxi.model.sizes import Size

Angles = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Packed weights of one block, and how its heads see."""

    heads: Heads
    local: bool
    attention_norm: Norm
    query_key: Matrix
    value: Matrix
    query_norm: Norm | None
    key_norm: Norm | None
    out: Matrix
    attention_end: Norm | None
    mlp_norm: Norm
    gate_up: Matrix
    down: Matrix
    mlp_end: Norm | None


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """One forward pass: the residual stream, where its tokens stand, and the angles of each kind of layer."""

    x: torch.Tensor
    positions: torch.Tensor
    spans: torch.Tensor
    angles: dict[bool, Angles]
    threads: int


class NativeDecoder:
    """Packed ids in, pooled normed states out, with int8 or fp32 weights; several threads may share it."""

    device = torch.device("cpu")

    def __init__(self, size: Size, source: Source, precision: str, pooling: Pooling = "lasttoken") -> None:
        self.size, self.hidden, self.pooling = size, size.hidden, pooling
        self.continues = size.causal and pooling == "lasttoken"
        self.precision = precision
        self.table = source.table("embed_tokens")
        self._layers = [_layer(size, source, depth) for depth in range(size.layers)]
        self._norm = _norm(size, source, "norm")
        self._gate = Epilogue.GATE_SILU if size.style.activation == "silu" else Epilogue.GATE_GELU_TANH
        self._angles: dict[bool, Angles] = {}
        self._room = Room()

    def __call__(self, packed: Packed, prefix: Prefix | None = None) -> torch.Tensor:
        """Pooled final normed states, [sequences, hidden]: of the last tokens, unless pooling is another."""
        if self.pooling != "lasttoken":
            return pool(self.states(packed), packed, self.pooling)
        run = self._begin(packed, prefix)
        for depth, layer in enumerate(self._layers[:-1]):
            self._block(layer, run, prefix.layers[depth] if prefix else None)
            _deepen(run.x, packed.visual, depth)
        x = self._pooled(self._layers[-1], run, packed.last, prefix.layers[-1] if prefix else None)
        return self._normed(x, self._norm).clone()

    def states(self, packed: Packed) -> torch.Tensor:
        """Final normed states of all tokens, [tokens, hidden]."""
        run = self._begin(packed, None)
        for depth, layer in enumerate(self._layers):
            self._block(layer, run, None)
            _deepen(run.x, packed.visual, depth)
        return self._normed(run.x, self._norm).clone()

    def prefix(self, ids: list[int], after: Prefix | None = None, visual: Visual | None = None) -> Prefix:
        """Keys and values of a run of ids that many sequences begin with, computed once."""
        run = self._begin(replace(pack([ids]), visual=visual), after)
        layers = []
        for depth, layer in enumerate(self._layers):
            keys, values = self._block(layer, run, after.layers[depth] if after else None)
            layers.append((_kept(keys), _kept(values)))
            _deepen(run.x, visual, depth)
        return joined(after, Prefix(len(ids), tuple(layers)))

    def _begin(self, packed: Packed, prefix: Prefix | None) -> _Run:
        start = prefix.length if prefix else 0
        if packed.visual is not None:
            return self._begin_seen(packed, packed.visual)
        longest = start + max(run.length for run in packed.runs)
        angles = {layer.local: self._angles_to(longest, layer.local) for layer in self._layers}
        x = self.table.read(packed.ids)
        if self.size.style.scaled_embedding:
            x *= self.size.hidden**0.5
        return _Run(x, packed.positions + start, spans(packed), angles, torch.get_num_threads())

    def _begin_seen(self, packed: Packed, visual: Visual) -> _Run:
        """A pass among pictures: each token has a row of angles of its own."""
        x = self.table.read(packed.ids)
        x[visual.places] = visual.vectors.float()
        angles = axis_angles(self.size, visual.axes)
        own = (angles.cos().contiguous(), angles.sin().contiguous())
        return _Run(x, torch.arange(len(x)), spans(packed), {False: own}, torch.get_num_threads())

    def _angles_to(self, longest: int, local: bool) -> Angles:
        """Angles of at least `longest` positions; never changed: another thread may read the old ones."""
        found = self._angles.get(local)
        if found is None or len(found[0]) < longest:
            found = self._angles[local] = _angles(
                self.size, max(longest, 256, 2 * len(found[0]) if found else 0), local
            )
        return found

    def _block(self, layer: Layer, run: _Run, seen: KeysValues | None) -> KeysValues:
        """The block over all tokens, in place; its keys and values, in buffers that the next block reuses."""
        heads, x = layer.heads, run.x
        wide, narrow = heads.heads * heads.dim, heads.kv_heads * heads.dim
        rows = self._ready(x, layer.attention_norm, layer.query_key, run)
        qkv = self._room.take("qkv", (len(x), wide + 2 * narrow))
        queries, keys, values = torch.split(qkv, [wide, narrow, narrow], dim=1)
        product(rows, layer.query_key, qkv[:, : wide + narrow], Epilogue.STORE, run.threads)
        product(rows, layer.value, values, Epilogue.STORE, run.threads)
        rotate(
            queries,
            heads.heads,
            heads.dim,
            layer.query_norm,
            run.angles[layer.local],
            run.positions,
            run.threads,
        )
        rotate(
            keys,
            heads.kv_heads,
            heads.dim,
            layer.key_norm,
            run.angles[layer.local],
            run.positions,
            run.threads,
        )
        attended = self._room.take("attended", (len(x), wide))
        attend(queries, keys, values, heads, run.spans, seen, attended, run.threads)
        self._finish(layer, x, attended, run)
        shape = (len(x), heads.kv_heads, heads.dim)
        return keys.view(shape), values.view(shape)

    def _pooled(self, layer: Layer, run: _Run, last: torch.Tensor, seen: KeysValues | None) -> torch.Tensor:
        """The block for the last tokens alone: all keys and values, few queries."""
        heads, threads = layer.heads, run.threads
        wide, narrow = heads.heads * heads.dim, heads.kv_heads * heads.dim
        rows = self._ready(run.x, layer.attention_norm, layer.query_key, run)
        keys, values = self._room.take("qkv", (len(run.x), 2 * narrow)).chunk(2, dim=1)
        product(rows, layer.query_key.part(wide, wide + narrow), keys, Epilogue.STORE, threads)
        product(rows, layer.value, values, Epilogue.STORE, threads)
        rotate(
            keys, heads.kv_heads, heads.dim, layer.key_norm, run.angles[layer.local], run.positions, threads
        )
        queries = self._room.take("queries", (len(last), wide))
        product(rows.some(last), layer.query_key.part(0, wide), queries, Epilogue.STORE, threads)
        places = run.positions[last]
        rotate(queries, heads.heads, heads.dim, layer.query_norm, run.angles[layer.local], places, threads)
        attended = self._room.take("attended", (len(last), wide))
        attend(queries, keys, values, heads, one_each(run.spans), seen, attended, threads)
        x = run.x[last]
        self._finish(layer, x, attended, run)
        return x

    def _finish(self, layer: Layer, x: torch.Tensor, attended: torch.Tensor, run: _Run) -> None:
        """Add the attention's output and the feed-forward layer to `x`."""
        self._add(attended, layer.out, layer.attention_end, x, run)
        inner = self._room.take("inner", (len(x), self.size.intermediate))
        product(
            self._ready(x, layer.mlp_norm, layer.gate_up, run), layer.gate_up, inner, self._gate, run.threads
        )
        self._add(inner, layer.down, layer.mlp_end, x, run)

    def _add(self, given: torch.Tensor, matrix: Matrix, end: Norm | None, x: torch.Tensor, run: _Run) -> None:
        rows = self._ready(given, None, matrix, run)
        if end is None:
            product(rows, matrix, x, Epilogue.ADD, run.threads)
            return
        found = self._room.take("found", (len(x), matrix.columns))
        product(rows, matrix, found, Epilogue.STORE, run.threads)
        x += self._normed(found, end)

    def _ready(self, x: torch.Tensor, norm: Norm | None, matrix: Matrix, run: _Run) -> Ready:
        return ready(x, norm, matrix, self._room, run.threads)

    def _normed(self, x: torch.Tensor, norm: Norm) -> torch.Tensor:
        """Normed rows, in a buffer that the next step reuses."""
        found = ready(x, norm, None, self._room, 1).floats
        assert found is not None
        return found


def _deepen(x: torch.Tensor, visual: Visual | None, depth: int) -> None:
    """Add what the tower says after layer `depth` to the tokens of pictures, in place."""
    if visual is not None and depth < len(visual.deep):
        x[visual.places] += visual.deep[depth].float()


def _kept(part: torch.Tensor) -> torch.Tensor:
    """A copy that lies without gaps: the buffer it comes from is used again."""
    return part.clone(memory_format=torch.contiguous_format)


def _norm(size: Size, source: Source, name: str) -> Norm:
    gain = source.vector(f"{name}.weight")
    return Norm(gain + 1 if size.style.centred_norms else gain, None, size.norm_eps)


def _layer(size: Size, source: Source, depth: int) -> Layer:
    at, style = f"layers.{depth}", size.style
    local = bool(size.windowed) and size.windowed[depth]
    scale = size.query_scale if size.query_scale is not None else size.head_dim**-0.5
    window = (size.window or 0) if local else 0
    attention, mlp = f"{at}.self_attn", f"{at}.mlp"
    return Layer(
        heads=Heads(size.heads, size.kv_heads, size.head_dim, scale, size.causal, window),
        local=local,
        attention_norm=_norm(size, source, f"{at}.input_layernorm"),
        query_key=source.matrix(f"{at}.query_key", f"{attention}.q_proj", f"{attention}.k_proj"),
        # Values and the output would make two thirds of all rounding error in a fifth of the work: bf16.
        value=source.matrix(f"{at}.value", f"{attention}.v_proj", exact=True),
        query_norm=_norm(size, source, f"{attention}.q_norm") if style.qk_norm else None,
        key_norm=_norm(size, source, f"{attention}.k_norm") if style.qk_norm else None,
        out=source.matrix(f"{at}.out", f"{attention}.o_proj", exact=True),
        attention_end=_norm(size, source, f"{at}.post_attention_layernorm") if style.post_norms else None,
        mlp_norm=_norm(
            size, source, f"{at}.{'pre_feedforward' if style.post_norms else 'post_attention'}_layernorm"
        ),
        gate_up=source.gates(f"{at}.gate_up", f"{mlp}.gate_proj", f"{mlp}.up_proj"),
        down=source.matrix(f"{at}.down", f"{mlp}.down_proj"),
        mlp_end=_norm(size, source, f"{at}.post_feedforward_layernorm") if style.post_norms else None,
    )


def _angles(size: Size, count: int, local: bool) -> Angles:
    """Cosines and sines [count, head_dim / 2] of the rotary angles (`Decoder.rotation`)."""
    angles = torch.arange(count).float()[:, None] * frequencies(size, local)
    return angles.cos(), angles.sin()
