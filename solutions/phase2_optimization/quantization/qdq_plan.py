"""Which nodes of a graph compute in integers, which tensors are coded, and which of them must share a scale.

Three kinds of nodes:

- Workers (Conv, MatMul, Gemm, Add, ...) have integer kernels: their inputs and outputs are coded.
- Carriers (MaxPool, Reshape, Slice, ...) only pass values on. They work on the codes themselves when input and output
  share one scale, so they are planned where either is coded already.
- All others stay in float, between a DequantizeLinear and a QuantizeLinear where their neighbours are coded.

A Relu or Clip behind a worker disappears into the saturation of the worker's output, so only its own output is coded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from solutions.phase2_optimization.quantization.graph_edits import Wiring

WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
ELEMENTWISE = ("Add", "Mul", "Sigmoid", "LeakyRelu", "AveragePool", "GlobalAveragePool")
CARRIERS = (
    "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "Resize",
    "DepthToSpace", "SpaceToDepth", "Identity",
)  # fmt: skip
SATURATING = ("Relu", "Clip")
FLOAT_ACTIVATIONS = (
    "Relu",
    "Clip",
    "HardSwish",
    "HardSigmoid",
    "Tanh",
    "Elu",
    "Gelu",
    "PRelu",
    "Softplus",
    "Mish",
    "Swish",
)
DEFAULT_OPS = frozenset((*WEIGHTED, *ELEMENTWISE, "Concat", *CARRIERS))
_INPUTS = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 2, "Add": 2, "Mul": 2}


@dataclass(frozen=True, slots=True)
class QdqPlan:
    """What to insert.

    Attributes:
        workers: names of nodes with coded inputs and outputs, carriers included.
        weighted: names of those that hold weights.
        fused: names of Relu and Clip nodes that saturation replaces where the codes allow it.
        tensors: activations to be coded, in graph order.
        shares: activation -> the tensor that stands for all which share its scale.
        bounds: activation -> (low, high) that its values are known to keep within, either may be infinite.
    """

    workers: tuple[str, ...]
    weighted: tuple[str, ...]
    fused: tuple[str, ...]
    tensors: tuple[str, ...]
    shares: Mapping[str, str]
    bounds: Mapping[str, tuple[float, float]]


def data_inputs(node: NodeProto) -> list[str]:
    """The tensors of a node that hold values, not shapes or parameters."""
    if node.op_type == "Concat":
        return list(node.input)
    return [name for name in node.input[: _INPUTS.get(node.op_type, 1)] if name]


def plan_qdq(
    model: onnx.ModelProto,
    *,
    ops: Collection[str] = DEFAULT_OPS,
    keep_float: Collection[str] = (),
    fused_activations: bool = False,
    share_concat: bool = True,
) -> QdqPlan:
    """The plan for a prepared model (see `preparation.prepare`).

    Args:
        model: float, opset >= 13, nodes named.
        ops: operators that may become integer.
        keep_float: names of nodes that stay in float.
        fused_activations: the runtime computes the activation behind a layer with weights, x * sigmoid(x) included, in
            float before it codes the result: only what the activation gives is coded.
        share_concat: one scale for all inputs of a Concat and its output, which makes it a plain copy.
    """
    graph = model.graph
    wiring = Wiring(graph)
    floats = _float_tensors(model)
    silu = silu_nodes(wiring, graph) if fused_activations else set()
    silent = set(keep_float) | silu
    shares = _Shares()
    coded: dict[str, None] = {}
    bounds: dict[str, tuple[float, float]] = {}
    workers: list[str] = []
    weighted: list[str] = []
    fused: list[str] = []
    for node in graph.node:
        if node.name in fused or node.name in keep_float:
            continue
        if node.op_type in FLOAT_ACTIVATIONS or (node.name in silu and node.op_type == "Mul"):
            # Codes travel at a quarter of the bytes, so what an activation of coded values gives is coded again.
            if any(name in coded for name in node.input) and any(
                user.op_type in ops for user in wiring.users[node.output[0]]
            ):
                coded.update(dict.fromkeys(node.output))
            continue
        if node.op_type not in ops or node.name in silent:
            continue
        inputs = data_inputs(node)
        moving = [name for name in inputs if name not in wiring.constants]
        if not moving or not floats.issuperset([*inputs, node.output[0]]):
            continue
        if node.op_type in WEIGHTED:
            if not wiring.constants.issuperset(name for name in node.input[2:] if name):
                continue
            if node.op_type != "MatMul" and node.input[1] not in wiring.constants:
                continue
            weighted.append(node.name)
        elif not all(name in coded for name in moving):
            continue
        workers.append(node.name)
        output = node.output[0]
        if node.op_type in CARRIERS or (node.op_type == "Concat" and share_concat):
            outputs = [name for name in node.output if name]
            for name in (*moving, *outputs):
                shares.join(moving[0], name)
        else:
            after = wiring.only_user(output)
            if after is not None and after.op_type in SATURATING and after.name not in silent:
                fused.append(after.name)
                output = after.output[0]
                bounds[output] = saturation_bounds(after, wiring)
            elif node.op_type == "Sigmoid":
                bounds[output] = (0.0, 1.0)
            elif fused_activations and node.op_type in WEIGHTED:
                output = _activated(output, silu, wiring)
            outputs = [output]
        coded.update(dict.fromkeys((*(name for name in inputs if name not in wiring.constants), *outputs)))
    for node in reversed(graph.node):  # what only carries values to workers carries codes to them
        if node.op_type not in CARRIERS or node.op_type not in ops or node.name in silent or node.name in workers:
            continue
        names = [*data_inputs(node), *node.output]
        if all(name in coded for name in node.output) and floats.issuperset(names):
            workers.append(node.name)
            coded[node.input[0]] = None
            for name in node.output:
                shares.join(node.input[0], name)
    return QdqPlan(
        tuple(workers), tuple(weighted), tuple(fused), tuple(coded), {name: shares.root(name) for name in coded}, bounds
    )


def silu_nodes(wiring: Wiring, graph: onnx.GraphProto) -> set[str]:
    """Names of the Sigmoid and Mul nodes that together compute x * sigmoid(x)."""
    found: set[str] = set()
    for node in graph.node:
        if node.op_type != "Sigmoid":
            continue
        after = wiring.only_user(node.output[0])
        if after is not None and after.op_type == "Mul" and node.input[0] in after.input:
            found.update((node.name, after.name))
    return found


def _activated(output: str, silu: Collection[str], wiring: Wiring) -> str:
    """What the activation behind a layer gives; the layer's own output where there is none."""
    after = wiring.only_user(output)
    if after is not None and after.op_type in FLOAT_ACTIVATIONS:
        return str(after.output[0])
    users = wiring.users.get(output, [])
    if output not in wiring.outputs and len(users) == 2 and all(user.name in silu for user in users):
        return next(str(user.output[0]) for user in users if user.op_type == "Mul")
    return output


def silu_inputs(model: onnx.ModelProto) -> set[str]:
    """Tensors that only x * sigmoid(x) reads, so that very negative values of them all mean nearly 0."""
    wiring = Wiring(model.graph)
    names = silu_nodes(wiring, model.graph)
    return {
        node.input[0]
        for node in model.graph.node
        if node.op_type == "Sigmoid"
        and node.name in names
        and node.input[0] not in wiring.outputs
        and all(user.name in names for user in wiring.users[node.input[0]])
    }


def saturation_bounds(node: NodeProto, wiring: Wiring) -> tuple[float, float]:
    """The least and the greatest value that a Relu or Clip lets pass; infinite where the graph does not tell."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    ends = [-np.inf, np.inf]
    for place, name in enumerate(node.input[1:3]):
        if name in wiring.constants:
            ends[place] = float(wiring.value(name))
    return ends[0], ends[1]


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    found = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            found.add(value.name)
    return found


class _Shares:
    """Disjoint sets of tensors."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        parent = self._parent.get(name, name)
        if parent == name:
            return name
        self._parent[name] = self.root(parent)
        return self._parent[name]

    def join(self, first: str, second: str) -> None:
        self._parent[self.root(second)] = self.root(first)
