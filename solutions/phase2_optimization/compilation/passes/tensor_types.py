"""Element type and shape of every tensor of a graph, by ONNX's shape inference with data propagation.

Large weights are not handed to it: it needs their shapes only, and would copy their bytes twice.
"""

from __future__ import annotations

import contextlib
import math

import onnx
from onnx import helper, shape_inference

Dim = int | str | None
"""A size: known, free with a name (equal names are equal sizes), or unknown."""
Shape = tuple[Dim, ...]

_SMALL_ELEMENTS = 1024


def infer_types(model: onnx.ModelProto) -> dict[str, tuple[int, Shape | None]]:
    """Type and shape of every tensor of the main graph, as far as they can be known."""
    bare = onnx.ModelProto()
    bare.ir_version = max(model.ir_version, 4)
    bare.opset_import.extend(model.opset_import)
    bare.graph.name = model.graph.name or "graph"
    for field in ("node", "input", "output", "value_info"):
        getattr(bare.graph, field).extend(getattr(model.graph, field))
    present = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _SMALL_ELEMENTS:
            bare.graph.initializer.append(tensor)
        elif tensor.name not in present:
            bare.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    with contextlib.suppress(
        shape_inference.InferenceError, RuntimeError
    ):  # else what the file records is all there is
        bare = shape_inference.infer_shapes(bare, data_prop=True)
    return {
        value.name: (value.type.tensor_type.elem_type, _dims(value.type.tensor_type))
        for value in (*bare.graph.input, *bare.graph.value_info, *bare.graph.output)
        if value.type.HasField("tensor_type")
    }


def _dims(tensor: onnx.TypeProto.Tensor) -> Shape | None:
    if not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim)
