"""How a matrix and a table of token vectors stand in an ONNX file, and how they are multiplied or looked up.

float16 is a way to store: weights are widened when the file is loaded. int8 rounds the rows of most
matrices and every token's activations by a scale of its own, so that a vector does not depend on its batch
(runtimes' own `DynamicQuantizeLinear` takes one scale for all tokens of all texts). int4 keeps groups of
columns with a scale each, as `int4.py` made them; activations stay float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from lingxi.compress.onnx_graph import MICROSOFT, Array, Graph, Precision
from lingxi.errors import ModelError
from lingxi.model.int4 import Packed4

# Attention's values and output bear the least rounding, here as in the package's own kernels: in int8
# they made nine tenths of lingxi-pico's error. They stay in half precision.
_KEPT = ("v_proj.weight", "o_proj.weight")


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's tensors by the decoder's names: fp32 as asked for, or the int4 codes that are stored."""

    tensors: Mapping[str, torch.Tensor]
    codes: Callable[[str], Packed4 | None]

    def floats(self, name: str) -> Array:
        """One tensor in float32."""
        return np.asarray(self.tensors[name].float().numpy(), np.float32)

    def packed(self, name: str) -> Packed4:
        """The int4 codes of a matrix; raises ModelError where the directory holds none."""
        found = self.codes(name)
        if found is None:
            raise ModelError(f"{name} is not stored as int4", "write the model with `lingxi compress int4`")
        return found


def linear(graph: Graph, x: str, name: str, weights: Weights, precision: Precision) -> str:
    """x [batch, tokens, in] times a matrix [out, in]: [batch, tokens, out]."""
    if precision == "int8" and not name.endswith(_KEPT):
        return _linear_int8(graph, x, name, weights.floats(name))
    if precision == "int4" and weights.codes(name) is not None:
        return _linear_int4(graph, x, name, weights.packed(name))
    turned = weights.floats(name).T
    if precision == "float32":
        return graph.op("MatMul", x, graph.constant(name, turned))
    return graph.op("MatMul", x, graph.cast(graph.constant(name, turned.astype(np.float16)), "FLOAT"))


def lookup(graph: Graph, ids: str, name: str, weights: Weights, precision: Precision) -> str:
    """Rows of a table [vocab, width]: [batch, tokens, width]."""
    if precision == "int4" and weights.codes(name) is not None:
        return _lookup_int4(graph, ids, name, weights.packed(name))
    table = weights.floats(name)
    if precision == "float32":
        return graph.op("Gather", graph.constant(name, table), ids)
    if precision in ("float16", "int4"):
        # Widened when the file is loaded, not after the lookup: many GPUs of browsers have no halves.
        return graph.op("Gather", graph.cast(graph.constant(name, table.astype(np.float16)), "FLOAT"), ids)
    codes, scale = rounded(table)
    rows = graph.cast(graph.op("Gather", graph.constant(f"{name}.codes", codes), ids), "FLOAT")
    steps = graph.op("Gather", graph.constant(f"{name}.scale", scale[:, None].astype(np.float32)), ids)
    return graph.op("Mul", rows, steps)


def rounded(matrix: Array) -> tuple[Array, Array]:
    """int8 codes and a scale a row: the largest of a row is 127."""
    scale = np.maximum(np.abs(matrix).max(axis=1) / 127, 1e-30)
    return np.rint(matrix / scale[:, None]).astype(np.int8), scale


def _linear_int8(graph: Graph, x: str, name: str, matrix: Array) -> str:
    codes, scale = rounded(matrix)
    largest = graph.op("ReduceMax", graph.op("Abs", x), graph.ints(-1), keepdims=1)
    step = graph.op("Div", graph.op("Max", largest, graph.floats(1e-30)), graph.floats(127.0))
    steps = graph.op("Round", graph.op("Div", x, step))
    inputs = graph.cast(graph.op("Add", steps, graph.floats(128.0)), "UINT8")
    middle = graph.constant("u8_128", np.asarray(128, np.uint8))
    # Both sides unsigned: kernels for processors without VNNI add two signed products in 16 bits, and
    # overflow.
    turned = graph.constant(f"{name}.codes", (codes.T.astype(np.int16) + 128).astype(np.uint8))
    sums = graph.cast(graph.op("MatMulInteger", inputs, turned, middle, middle), "FLOAT")
    scaled = graph.op("Mul", sums, graph.constant(f"{name}.scale", scale.astype(np.float32)))
    return graph.op("Mul", scaled, step)


def _linear_int4(graph: Graph, x: str, name: str, packed: Packed4) -> str:
    rows, groups = packed.scales.shape
    codes = packed.codes.numpy().reshape(rows, groups, packed.group // 2)
    return graph.op(
        "MatMulNBits",
        x,
        graph.constant(f"{name}.codes", codes),
        graph.constant(f"{name}.scale", packed.scales.float().numpy()),
        domain=MICROSOFT,
        K=groups * packed.group,
        N=rows,
        bits=4,
        block_size=packed.group,
    )


def _lookup_int4(graph: Graph, ids: str, name: str, packed: Packed4) -> str:
    """Packed rows are gathered, then unpacked: two codes a byte, the even column in the low half."""
    groups = packed.scales.shape[1]
    width = groups * packed.group
    # In int32, which every runtime divides; bytes they do not all shift.
    bytes_ = graph.cast(
        graph.op("Gather", graph.constant(f"{name}.codes", packed.codes.numpy()), ids), "INT32"
    )
    sixteen = graph.constant("i32_16", np.asarray(16, np.int32))
    high = graph.op("Div", bytes_, sixteen)
    low = graph.op("Sub", bytes_, graph.op("Mul", high, sixteen))
    last = graph.ints(-1)
    both = graph.op("Concat", graph.op("Unsqueeze", low, last), graph.op("Unsqueeze", high, last), axis=-1)
    grouped = graph.op("Reshape", graph.cast(both, "FLOAT"), graph.ints(0, 0, groups, packed.group))
    scales = graph.cast(graph.constant(f"{name}.scale", packed.scales.numpy()), "FLOAT")
    steps = graph.op("Unsqueeze", graph.op("Gather", scales, ids), last)
    values = graph.op("Mul", graph.op("Sub", grouped, graph.floats(8.0)), steps)
    return graph.op("Reshape", values, graph.ints(0, 0, width))
