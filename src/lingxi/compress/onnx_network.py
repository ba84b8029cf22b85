"""A Qwen3 decoder as an ONNX graph: ids and mask in, finished vectors or scores out.

Padding may stand on either side: positions count the real tokens, a padded token is seen by nobody, and the
state that is pooled is the last real token's. The last block asks for that token alone, as the engine does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lingxi.compress.onnx_graph import Graph, Precision, rms, silu_times, unit
from lingxi.compress.onnx_matrices import Weights, linear, lookup
from lingxi.errors import ModelError
from lingxi.model.decoder import frequencies
from lingxi.model.sizes import Size
from lingxi.model.styles import QWEN3

IDS, MASK = "input_ids", "attention_mask"
VECTOR, LOGITS, SCORES = "sentence_embedding", "logits", "scores"
_HIDDEN = -1e30  # added to the score of a token that is not seen


@dataclass(frozen=True, slots=True)
class _Sight:
    """What all layers share: rotary cosines and sines, who is seen, and where the last real token stands."""

    cos: str
    sin: str
    seen: str
    last: str
    last_cos: str
    last_sin: str
    last_seen: str


def embedder_graph(
    size: Size, weights: Weights, precision: Precision, widths: Sequence[int], about: dict[str, str]
) -> Any:
    """`sentence_embedding` [batch, hidden] of unit length, and `sentence_embedding_N` of each width below."""
    graph = Graph()
    state = _pooled(graph, size, weights, precision)
    outputs: dict[str, list[Any]] = {VECTOR: ["batch", size.hidden]}
    unit(graph, state, VECTOR)
    for width in widths:
        name = f"{VECTOR}_{width}"
        cut = graph.op("Slice", state, graph.ints(0), graph.ints(width), graph.ints(1))
        unit(graph, cut, name)
        outputs[name] = ["batch", width]
    return graph.model([IDS, MASK], outputs, about)


def reranker_graph(
    size: Size, weights: Weights, precision: Precision, answer: np.ndarray[Any, Any], about: dict[str, str]
) -> Any:
    """`logits` [batch, 1] (logit(yes) − logit(no)) and `scores` [batch, 1] (its sigmoid)."""
    graph = Graph()
    state = _pooled(graph, size, weights, precision)
    row = graph.constant("answer", answer.astype(np.float32)[:, None])
    graph.op("Sigmoid", graph.op("MatMul", state, row, out=LOGITS), out=SCORES)
    return graph.model([IDS, MASK], {LOGITS: ["batch", 1], SCORES: ["batch", 1]}, about)


def check_style(size: Size, where: str) -> None:
    """Raise ModelError for a decoder that is not Qwen3's."""
    if size.style != QWEN3 or size.window or size.scaling or not size.causal or size.query_scale:
        raise ModelError(f"{where}: not a Qwen3 network", "export models of the family qwen3")


def _pooled(graph: Graph, size: Size, weights: Weights, precision: Precision) -> str:
    """Normed states [batch, hidden] of the last real tokens."""
    sight = _sight(graph, size)
    x = lookup(graph, IDS, "embed_tokens.weight", weights, precision)
    for layer in range(size.layers):
        x = _block(graph, x, layer, size, weights, precision, sight)
    normed = rms(graph, x, graph.constant("norm.weight", weights.floats("norm.weight")), size.norm_eps)
    return graph.op("Squeeze", normed, graph.ints(1))


def _sight(graph: Graph, size: Size) -> _Sight:
    count = graph.op("CumSum", MASK, graph.constant("axis", np.asarray(1, np.int64)))
    one = graph.constant("one", np.asarray(1, np.int64))
    zero = graph.constant("zero", np.asarray(0, np.int64))
    positions = graph.op("Max", graph.op("Sub", count, one), zero)
    # The count rises to its highest at the last real token, and argmax takes the first of equals.
    last = graph.op("ArgMax", graph.cast(count, "FLOAT"), axis=1, keepdims=1)
    last = graph.op("Unsqueeze", last, graph.ints(2))
    length = graph.op("Squeeze", graph.op("Shape", IDS, start=1, end=2), graph.ints(0))
    places = graph.op("Range", zero, length, one)
    rows, columns = (graph.op("Unsqueeze", places, graph.ints(axis)) for axis in (1, 0))
    real = graph.cast(graph.op("Unsqueeze", MASK, graph.ints(1)), "BOOL")
    seen = graph.op("And", graph.op("LessOrEqual", columns, rows), real)
    # A padded place sees itself alone: a row of the softmax must not be empty.
    seen = graph.op("Or", seen, graph.op("Equal", columns, rows))
    halves = graph.constant("frequencies", frequencies(size, False).numpy()[None, None])
    turns = graph.op("Mul", graph.cast(graph.op("Unsqueeze", positions, graph.ints(2)), "FLOAT"), halves)
    ends = _at(graph, turns, last, size.head_dim // 2)
    heads = graph.ints(1)
    angles = [graph.op("Unsqueeze", graph.op(f, t), heads) for t in (turns, ends) for f in ("Cos", "Sin")]
    return _Sight(angles[0], angles[1], _bias(graph, seen), last, angles[2], angles[3], _bias(graph, real))


def _bias(graph: Graph, seen: str) -> str:
    """[batch, 1, queries, keys]: nothing where a key is seen, and very little where it is not."""
    return graph.op(
        "Unsqueeze", graph.op("Where", seen, graph.floats(0.0), graph.floats(_HIDDEN)), graph.ints(1)
    )


def _at(graph: Graph, x: str, last: str, width: int) -> str:
    """x [batch, tokens, width] at the last real tokens: [batch, 1, width]."""
    one = graph.ints(1)
    batch = graph.op("Shape", IDS, start=0, end=1)
    wanted = graph.op("Concat", batch, one, graph.ints(width), axis=0)
    return graph.op("GatherElements", x, graph.op("Expand", last, wanted), axis=1)


def _block(
    graph: Graph, x: str, layer: int, size: Size, weights: Weights, precision: Precision, sight: _Sight
) -> str:
    def times(value: str, part: str) -> str:
        return linear(graph, value, f"layers.{layer}.{part}.weight", weights, precision)

    def normed(value: str, part: str) -> str:
        name = f"layers.{layer}.{part}.weight"
        return rms(graph, value, graph.constant(name, weights.floats(name)), size.norm_eps)

    final = layer == size.layers - 1
    inputs = normed(x, "input_layernorm")
    asking = _at(graph, inputs, sight.last, size.hidden) if final else inputs
    cos, sin, seen = (
        (sight.last_cos, sight.last_sin, sight.last_seen) if final else (sight.cos, sight.sin, sight.seen)
    )
    queries = normed(_heads(graph, times(asking, "self_attn.q_proj"), size.heads, size), "self_attn.q_norm")
    keys = normed(_heads(graph, times(inputs, "self_attn.k_proj"), size.kv_heads, size), "self_attn.k_norm")
    values = _heads(graph, times(inputs, "self_attn.v_proj"), size.kv_heads, size)
    queries = _turned(graph, queries, cos, sin, size.head_dim)
    keys = _turned(graph, keys, sight.cos, sight.sin, size.head_dim)
    attended = _attend(graph, queries, keys, values, seen, size)
    x = _at(graph, x, sight.last, size.hidden) if final else x
    x = graph.op("Add", x, times(attended, "self_attn.o_proj"))
    inner = normed(x, "post_attention_layernorm")
    wide = silu_times(graph, times(inner, "mlp.gate_proj"), times(inner, "mlp.up_proj"))
    return graph.op("Add", x, times(wide, "mlp.down_proj"))


def _heads(graph: Graph, x: str, heads: int, size: Size) -> str:
    """[batch, tokens, heads · head_dim] → [batch, heads, tokens, head_dim]."""
    parted = graph.op("Reshape", x, graph.ints(0, 0, heads, size.head_dim))
    return graph.op("Transpose", parted, perm=[0, 2, 1, 3])


def _turned(graph: Graph, x: str, cos: str, sin: str, width: int) -> str:
    """Rotary positions, half-split form."""
    middle, last = graph.ints(width // 2), graph.ints(-1)
    first = graph.op("Slice", x, graph.ints(0), middle, last)
    second = graph.op("Slice", x, middle, graph.ints(width), last)
    left = graph.op("Sub", graph.op("Mul", first, cos), graph.op("Mul", second, sin))
    right = graph.op("Add", graph.op("Mul", second, cos), graph.op("Mul", first, sin))
    return graph.op("Concat", left, right, axis=-1)


def _attend(graph: Graph, queries: str, keys: str, values: str, seen: str, size: Size) -> str:
    """Softmax attention; query heads that share keys multiply them without a copy."""
    shared = size.heads // size.kv_heads
    if shared > 1:
        queries = graph.op("Reshape", queries, graph.ints(0, size.kv_heads, shared, -1, size.head_dim))
        keys, values, seen = (graph.op("Unsqueeze", v, graph.ints(2)) for v in (keys, values, seen))
    turned = graph.op("Transpose", keys, perm=[0, 1, 3, 2] if shared == 1 else [0, 1, 2, 4, 3])
    scores = graph.op("Mul", graph.op("MatMul", queries, turned), graph.floats(size.head_dim**-0.5))
    shares = graph.op("Softmax", graph.op("Add", scores, seen), axis=-1)
    out = graph.op("MatMul", shares, values)
    if shared > 1:
        out = graph.op("Reshape", out, graph.ints(0, size.heads, -1, size.head_dim))
    back = graph.op("Transpose", out, perm=[0, 2, 1, 3])
    return graph.op("Reshape", back, graph.ints(0, 0, size.heads * size.head_dim))
