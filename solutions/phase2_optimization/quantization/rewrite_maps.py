"""Feature maps for integer kernels: doubling by copies; the same numbers.

ONNX Runtime's nearest Resize of 8-bit maps looks up every value. Channels-last, doubling is two concatenations, and
these copy whole pixels and whole rows.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto

from solutions.phase2_optimization.quantization.graph_edits import (
    Wiring,
    append_node,
    attribute,
    drop_unused,
    fresh_name,
    set_constant,
    sort_nodes,
    tensor_names,
)


def double_by_copies(model: onnx.ModelProto) -> int:
    """The number of nearest Resize nodes of factor 2, on maps of known size, replaced by concatenations."""
    shaped = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*shaped.input, *shaped.value_info)
    }
    graph = model.graph
    wiring, taken, doubled = Wiring(graph), tensor_names(graph), 0
    for node in [node for node in graph.node if node.op_type == "Resize"]:
        _, channels, height, width = shapes[node.input[0]] if len(shapes.get(node.input[0], ())) == 4 else [0] * 4
        if not (channels and height and width and _doubles(node, wiring)):
            continue
        wide, high = (fresh_name(taken, f"{node.name}_{part}") for part in ("wide", "high"))
        set_constant(graph, wide, np.array([0, height, 2 * width, channels], np.int64))
        set_constant(graph, high, np.array([0, 2 * height, 2 * width, channels], np.int64))
        data = append_node(graph, taken, "Transpose", [node.input[0]], f"{node.name}_last", perm=[0, 2, 3, 1])
        for axis, shape in ((3, wide), (2, high)):
            data = append_node(graph, taken, "Concat", [data, data], f"{node.name}_twice", axis=axis)
            data = append_node(graph, taken, "Reshape", [data, shape], f"{node.name}_doubled")
        output = node.output[0]
        graph.node.remove(node)
        graph.node.append(onnx.helper.make_node("Transpose", [data], [output], name=f"{data}_first", perm=[0, 3, 1, 2]))
        doubled += 1
    if doubled:
        sort_nodes(graph)
        drop_unused(graph)
    return doubled


def _doubles(node: NodeProto, wiring: Wiring) -> bool:
    """True when every value becomes a square of four."""
    if attribute(node, "mode", b"nearest") != b"nearest" or attribute(node, "axes") is not None:
        return False
    if len(node.input) < 3 or node.input[2] not in wiring.constants:
        return False
    rounding = attribute(node, "nearest_mode", b"round_prefer_floor")
    place = attribute(node, "coordinate_transformation_mode", b"half_pixel")
    floors = rounding == b"floor" and place == b"asymmetric"
    rounds = rounding == b"round_prefer_floor" and place in (b"half_pixel", b"asymmetric", b"pytorch_half_pixel")
    return (floors or rounds) and wiring.value(node.input[2]).tolist() == [1, 1, 2, 2]
