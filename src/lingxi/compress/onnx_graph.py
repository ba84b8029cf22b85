"""The small part of ONNX that the export writes: nodes in order, constants by name, matrices in four forms.

Standard operators of opset 21 alone, but for `MatMulNBits` (domain com.microsoft), which ONNX Runtime,
its build for browsers and OpenVINO all compute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lingxi.errors import MissingExtraError

OPSET = 21
MICROSOFT = "com.microsoft"
Precision = Literal["float32", "float16", "int8", "int4"]
Array = NDArray[Any]


def library() -> Any:
    """The package onnx; raises MissingExtraError where it is not installed."""
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("onnx", "onnx", "writing an ONNX file") from None
    return onnx


class Graph:
    """A graph that grows: each call adds a node and returns the name of its output."""

    def __init__(self) -> None:
        self._onnx = library()
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self._count = 0
        self.domains: set[str] = set()

    def op(self, kind: str, *inputs: str, out: str | None = None, domain: str = "", **attributes: Any) -> str:
        """One node with one output, named `out` where that matters."""
        self._count += 1
        name = out or f"{kind}_{self._count}"
        made = self._onnx.helper.make_node(kind, inputs, [name], name=f"/{name}", domain=domain, **attributes)
        self.nodes.append(made)
        if domain:
            self.domains.add(domain)
        return name

    def constant(self, name: str, value: Array) -> str:
        """A tensor of the file; one name, one tensor."""
        if name not in self.constants:
            self.constants[name] = self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def floats(self, *values: float) -> str:
        """A float32 constant: a scalar for one value, else a row."""
        return self.constant(f"f{values}", np.asarray(values[0] if len(values) == 1 else values, np.float32))

    def ints(self, *values: int) -> str:
        """An int64 row."""
        return self.constant(f"i{values}", np.asarray(values, np.int64))

    def cast(self, value: str, to: str) -> str:
        """`value` as FLOAT, INT8, …"""
        return self.op("Cast", value, to=getattr(self._onnx.TensorProto, to))

    def model(
        self, inputs: Sequence[str], outputs: Mapping[str, Sequence[Any]], about: dict[str, str]
    ) -> Any:
        """The finished model: int64 inputs [batch, sequence], float32 outputs of these shapes."""
        helper, proto = self._onnx.helper, self._onnx.TensorProto
        given = [helper.make_tensor_value_info(n, proto.INT64, ["batch", "sequence"]) for n in inputs]
        found = [helper.make_tensor_value_info(n, proto.FLOAT, shape) for n, shape in outputs.items()]
        graph = helper.make_graph(self.nodes, "lingxi", given, found, list(self.constants.values()))
        opsets = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(d, 1) for d in sorted(self.domains))]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="lingxi", ir_version=10)
        helper.set_model_props(model, about)
        return model


def rms(graph: Graph, x: str, weight: str, epsilon: float) -> str:
    """Root mean square normalisation over the last axis."""
    # Squared by a product: onnxruntime-web's shader for powers does not compile everywhere.
    mean = graph.op("ReduceMean", graph.op("Mul", x, x), graph.ints(-1), keepdims=1)
    root = graph.op("Sqrt", graph.op("Add", mean, graph.floats(epsilon)))
    return graph.op("Mul", graph.op("Div", x, root), weight)


def unit(graph: Graph, x: str, out: str) -> str:
    """Rows of unit length; a zero row stays zero."""
    norm = graph.op("Sqrt", graph.op("ReduceSum", graph.op("Mul", x, x), graph.ints(-1), keepdims=1))
    return graph.op("Div", x, graph.op("Max", norm, graph.floats(1e-12)), out=out)


def silu_times(graph: Graph, gate: str, up: str) -> str:
    """silu(gate) · up."""
    return graph.op("Mul", graph.op("Mul", gate, graph.op("Sigmoid", gate)), up)
