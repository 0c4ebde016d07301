"""Constant folding: what can be computed before the first inference is computed now, and stored as a weight.

A node is folded when all its inputs are constants, or when it asks for sizes that shape inference knows (Shape, Size,
and a Gather that picks known sizes out of a Shape whose others are free). The value is ONNX Runtime's own, so the
optimised model computes what the runtime would have computed.

Not folded: random nodes; QuantizeLinear and DequantizeLinear (a folded pair is a float weight, and the runtime's int8
kernel is lost); control flow; what makes a graph output; and what would make the file grow by more than `limit_bytes`
(an Expand or Tile of a small constant is cheaper to run than to store).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from solutions.core.hardware.model_cost import dense_bytes
from solutions.phase2_optimization.compilation.passes.editor import GraphEditor
from solutions.phase2_optimization.compilation.passes.subgraphs import attribute, has_subgraph

LIMIT_BYTES = 1 << 20
_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
NEVER = frozenset({"DequantizeLinear", "QuantizeLinear", *_RANDOM})
_MAY_GROW = {"ConstantOfShape", "Expand", "EyeLike", "GatherND", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample"}


def run(model: onnx.ModelProto, *, limit_bytes: int = LIMIT_BYTES) -> int:
    """Fold constants in place; the number of nodes that are gone.

    Args:
        model: changed in place.
        limit_bytes: by how much one folded node may make the file grow.
    """
    editor = GraphEditor(model)
    changes = 0
    for node in editor.find():
        if len(node.output) != 1 or node.output[0] in editor.outputs:
            continue
        if node.op_type == "Constant":
            tensor = constant_tensor(node)
        elif (sizes := _known_sizes(editor, node)) is not None:
            tensor = numpy_helper.from_array(sizes)
        else:
            tensor = _computed(editor, node, limit_bytes)
        if tensor is not None:
            editor.define(node, tensor)
            changes += 1
    editor.commit()
    return changes


def constant_tensor(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The value of a Constant node; None for a sparse or string one."""
    item = node.attribute[0]
    if item.name == "value":
        tensor: onnx.TensorProto = item.t
        return tensor
    kind = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    if item.name not in kind:
        return None
    return numpy_helper.from_array(np.array(helper.get_attribute_value(item), dtype=kind[item.name]))


def _known_sizes(editor: GraphEditor, node: onnx.NodeProto) -> NDArray[np.int64] | None:
    if node.op_type == "Size" and (static := editor.static_shape(node.input[0])) is not None:
        return np.array(math.prod(static), dtype=np.int64)
    if node.op_type == "Shape":
        shape = _asked(editor, node)
        return np.array(shape, dtype=np.int64) if shape is not None and _numbers(shape) else None
    if node.op_type == "Gather":
        maker, index = editor.maker(node.input[0], "Shape"), editor.constant(node.input[1])
        shape = _asked(editor, maker) if maker is not None else None
        if shape is None or index is None or not np.all((-len(shape) <= index) & (index < len(shape))):
            return None
        picked = [shape[int(i)] for i in index.reshape(-1)]
        return np.array(picked, dtype=np.int64).reshape(index.shape) if _numbers(picked) else None
    return None


def _asked(editor: GraphEditor, node: onnx.NodeProto) -> tuple[Any, ...] | None:
    shape = editor.shape(node.input[0])
    return None if shape is None else shape[attribute(node, "start", 0) : attribute(node, "end", len(shape))]


def _numbers(sizes: Any) -> bool:
    return all(isinstance(size, int) for size in sizes)


def _computed(editor: GraphEditor, node: onnx.NodeProto, limit_bytes: int) -> onnx.TensorProto | None:
    if node.op_type in NEVER or has_subgraph(node) or not any(node.input):
        return None
    inputs = {name: editor.constant_tensor(name) for name in node.input if name}
    tensors = {name: tensor for name, tensor in inputs.items() if tensor is not None}
    if len(tensors) < len(inputs):
        return None
    output = node.output[0]
    shape, kind = editor.static_shape(output), editor.dtype(output)
    if kind == 0 or (shape is None and node.op_type in _MAY_GROW):
        return None
    freed = sum(dense_bytes(tuple(t.dims), t.data_type) for name, t in tensors.items() if editor.private(name))
    if shape is not None and dense_bytes(shape, kind) - freed > limit_bytes:
        return None
    value = _evaluate(editor, node, tensors, kind)
    if value is None or value.nbytes - freed > limit_bytes:
        return None
    return numpy_helper.from_array(value)


def _evaluate(
    editor: GraphEditor, node: onnx.NodeProto, tensors: dict[str, onnx.TensorProto], kind: int
) -> NDArray[Any] | None:
    """What ONNX Runtime computes for the node alone, or None where it cannot or answers in another type."""
    made = helper.make_empty_tensor_value_info(node.output[0])
    made.type.tensor_type.elem_type = kind
    graph = helper.make_graph([node], "fold", [], [made], list(tensors.values()))
    alone = helper.make_model(
        graph, opset_imports=editor.model.opset_import, ir_version=max(4, editor.model.ir_version)
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # a node without a kernel is left as it is; nobody needs to read about it
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(alone.SerializeToString(), options, providers=["CPUExecutionProvider"])
        (value,) = session.run(None, {})
        same = isinstance(value, np.ndarray) and helper.np_dtype_to_tensor_dtype(value.dtype) == kind
    except Exception:  # ONNX Runtime's exceptions share no base class
        return None
    return value if same and value.dtype != object else None
