"""Operations and bytes of every node of an ONNX graph, for given input shapes; nothing is run.

Bytes are those that a runtime moves which keeps every tensor between two nodes in memory: weights and activations in,
activations out, at the element types of the file. QuantizeLinear and DequantizeLinear are taken as runtimes take them
in a QDQ graph: part of their neighbours, whose tensors travel as 8-bit integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import helper, inliner, shape_inference

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.hardware import op_costs

_QDQ = ("QuantizeLinear", "DequantizeLinear")
_PICKS = ("Gather", "GatherElements", "GatherND", "Slice")
_PACKED_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}


@dataclass(frozen=True, slots=True)
class NodeCost:
    """One node: MACs, operations (2 per MAC, plus the rest), and bytes of weights and activations in, and out."""

    name: str
    op: str
    macs: int
    flops: int
    weight_bytes: int
    read_bytes: int
    written_bytes: int

    @property
    def bytes(self) -> int:
        """All bytes the node moves."""
        return self.weight_bytes + self.read_bytes + self.written_bytes

    @property
    def intensity(self) -> float:
        """Operations per byte, the horizontal axis of the roofline; 0 for a node that moves nothing."""
        return self.flops / self.bytes if self.bytes else 0.0


@dataclass(frozen=True, slots=True)
class ModelCost:
    """A model at one set of input shapes.

    `unknown` names the nodes ("name (op)") whose operations or shapes are not known; their bytes are counted as far as
    shapes are. `float_bytes` is the size of a floating-point element in the file (4 or 2). `quantized` is True when
    the file itself holds quantised nodes, and then its bytes already are those of int8.
    """

    nodes: tuple[NodeCost, ...]
    unknown: tuple[str, ...]
    input_bytes: int
    output_bytes: int
    weight_bytes: int
    float_bytes: int
    quantized: bool

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(node.macs for node in self.nodes)

    @property
    def flops(self) -> int:
        """Operations of one inference, a multiply-accumulate being two."""
        return sum(node.flops for node in self.nodes)

    @property
    def bytes(self) -> int:
        """Bytes moved by one inference if every tensor goes through memory."""
        return sum(node.bytes for node in self.nodes)

    def as_dict(self) -> dict[str, Any]:
        """The totals, ready for JSON."""
        return {
            "gmacs": self.macs / 1e9,
            "gflops": self.flops / 1e9,
            "weight_mb": self.weight_bytes / 1e6,
            "moved_mb": self.bytes / 1e6,
            "nodes": len(self.nodes),
            "unknown": list(self.unknown),
        }


def model_cost(model: str | Path | onnx.ModelProto, feeds_shapes: Mapping[str, tuple[int, ...]]) -> ModelCost:
    """The cost of one inference.

    Args:
        model: an ONNX file, or the model itself (it is not changed).
        feeds_shapes: shape of each input; inputs whose shape the file fixes may be left out.

    Raises:
        ModelLoadError: the file is missing or is no ONNX model.
        ConfigError: an unknown input, a shape that contradicts the file, or a free size that nobody fixed.
    """
    graph = shaped_graph(model, feeds_shapes)
    weights = {tensor.name: (tuple(tensor.dims), tensor.data_type) for tensor in graph.initializer}
    tensors = dict(weights)
    for value in (*graph.input, *graph.value_info, *graph.output):
        if (shape := static_shape(value)) is not None:
            tensors[value.name] = (shape, value.type.tensor_type.elem_type)
    constant = set(weights) | {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    for node in graph.node:  # in topological order: a weight may be quantised and dequantised in the graph
        if node.op_type in _QDQ and node.input[0] in constant:
            constant.add(node.output[0])
    stored = _stored_as(graph)

    def size(name: str) -> int:
        shape, kind = tensors.get(stored.get(name, name)) or tensors.get(name, ((0,), onnx.TensorProto.FLOAT))
        return dense_bytes(shape, kind)

    costs: list[NodeCost] = []
    unknown: list[str] = []
    for index, node in enumerate(graph.node):
        name = node.name or f"{node.op_type}_{index}"
        present = [*(i for i in node.input if i), *(o for o in node.output if o)]
        shaped = all(tensor in tensors for tensor in present)
        if node.op_type == "Constant" or (node.op_type in _QDQ and node.output[0] in constant):
            continue
        if not op_costs.known(node.op_type) or not shaped:
            unknown.append(f"{name} ({node.op_type})")
        macs = flops = 0
        fused = node.op_type in _QDQ and (node.output[0] in stored or node.input[0] in stored)
        if shaped and not fused:
            attributes: dict[str, Any] = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            shapes = [tensors[tensor][0] if tensor else () for tensor in node.input]
            macs, flops = op_costs.count(node.op_type, shapes, [tensors[o][0] for o in node.output if o], attributes)
        free = fused or node.op_type in op_costs.VIEWS
        written = 0 if free else sum(size(output) for output in node.output if output)
        read = 0 if free else sum(size(i) for i in dict.fromkeys(node.input) if i and i not in constant)
        weight = 0 if free else sum(size(i) for i in dict.fromkeys(node.input) if i in constant)
        if node.op_type in _PICKS:  # they touch what they take, not the whole table
            read, weight = min(read, written), min(weight, written)
        costs.append(NodeCost(name, node.op_type, macs, flops, weight, read, written))

    floats = [kind for _, kind in tensors.values() if kind in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)]
    halves = floats.count(onnx.TensorProto.FLOAT16) * 2 > len(floats)
    return ModelCost(
        nodes=tuple(costs),
        unknown=tuple(unknown),
        input_bytes=sum(size(value.name) for value in graph.input if value.name not in weights),
        output_bytes=sum(size(value.name) for value in graph.output),
        weight_bytes=sum(dense_bytes(shape, kind) for shape, kind in weights.values()),
        float_bytes=2 if halves else 4,
        quantized=any(node.op_type in _QDQ or node.op_type.startswith("QLinear") for node in graph.node),
    )


def shaped_graph(model: str | Path | onnx.ModelProto, feeds_shapes: Mapping[str, tuple[int, ...]]) -> onnx.GraphProto:
    """The graph with functions inlined and every shape inferred from those of the inputs; raises as `model_cost`."""
    return _shaped(_load(model), feeds_shapes).graph


def _stored_as(graph: onnx.GraphProto) -> dict[str, str]:
    """Float tensor of a QDQ graph -> the integer tensor that a fusing runtime keeps in its place."""
    users: dict[str, list[str]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node.op_type)
    outputs = {value.name for value in graph.output}
    stored: dict[str, str] = {}
    inputs = {value.name for value in graph.input}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] not in outputs:
            stored[node.output[0]] = node.input[0]
        elif (
            node.op_type == "QuantizeLinear"
            and node.input[0] not in outputs | inputs
            and all(user == "QuantizeLinear" for user in users[node.input[0]])
        ):
            stored[node.input[0]] = node.output[0]
    return stored


def _load(model: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    if isinstance(model, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    try:
        return onnx.load(str(model), load_external_data=False)  # shapes are all that is needed of large weights
    except OSError as error:
        raise ModelLoadError(f"{model} cannot be read: {error.strerror or error}. Check the path.") from error
    except Exception as error:  # protobuf's DecodeError is another class in each of its implementations
        raise ModelLoadError(f"{model} is no ONNX model: {error}. Export it anew.") from error


def _shaped(model: onnx.ModelProto, feeds_shapes: Mapping[str, tuple[int, ...]]) -> onnx.ModelProto:
    """The model with its functions inlined, its inputs fixed, and shapes inferred from them alone."""
    if model.functions:
        model = inliner.inline_local_functions(model)
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in weights}
    for name in feeds_shapes:
        if name not in inputs:
            raise ConfigError(f"the model has no input {name!r}: its inputs are {', '.join(inputs)}")
    for name, value in inputs.items():
        dims = value.type.tensor_type.shape.dim
        wanted = feeds_shapes.get(name)
        if wanted is not None:
            clash = any(
                dim.HasField("dim_value") and dim.dim_value != size for dim, size in zip(dims, wanted, strict=False)
            )
            if value.type.tensor_type.HasField("shape") and (len(dims) != len(wanted) or clash):
                raise ConfigError(f"input {name} is {_describe(value)} in the file, got {tuple(wanted)}")
            fixed = helper.make_tensor_type_proto(value.type.tensor_type.elem_type, wanted)
            value.type.CopyFrom(fixed)
        if static_shape(value) is None:
            raise ConfigError(f"input {name} is {_describe(value)} in the file: give its shape in feeds_shapes")
    del graph.value_info[:]  # symbols of the export would stand in the way of the sizes
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        return shape_inference.infer_shapes(model, data_prop=True)
    except shape_inference.InferenceError as error:
        raise ModelLoadError(f"the shapes of the model contradict each other: {error}") from error


def static_shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """The sizes of a tensor, or None where one of them is free or unknown."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tuple(dim.dim_value for dim in tensor.shape.dim)


def _describe(value: onnx.ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    return f"[{', '.join(str(dim.dim_value) if dim.HasField('dim_value') else dim.dim_param or '?' for dim in dims)}]"


def dense_bytes(shape: tuple[int, ...], kind: int) -> int:
    """Bytes of a tensor of that ONNX element type."""
    bits = _PACKED_BITS.get(onnx.TensorProto.DataType.Name(kind)) or helper.tensor_dtype_to_np_dtype(kind).itemsize * 8
    return -(-math.prod(shape) * bits // 8)
