"""Feature maps for integer kernels: large poolings from small ones, and doubling by copies; the same numbers.

- Pooling over 9 x 9 is pooling over 5 x 5 twice, and 13 x 13 three times: 25 comparisons each instead of 169.
- ONNX Runtime's nearest Resize of 8-bit maps looks up every value. Channels-last, doubling is two concatenations, and
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
    ints,
    set_attributes,
    set_constant,
    sort_nodes,
    tensor_names,
)


def cascade_pools(model: onnx.ModelProto) -> int:
    """The number of poolings that now start from the result of a smaller one over the same tensor.

    Windows of stride 1, odd and padded to the size of their input: of sizes k1 < k2 the second becomes one of
    k2 - k1 + 1 behind the first.
    """
    graph = model.graph
    sources: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        if node.op_type == "MaxPool" and len(node.output) == 1 and _same_size(node):
            sources.setdefault(node.input[0], []).append(node)
    moved = 0
    for pools in sources.values():
        pools.sort(key=lambda node: ints(node, "kernel_shape", ()))
        sizes = [ints(node, "kernel_shape", ())[0] for node in pools]
        for place in range(len(pools) - 1, 0, -1):
            size = sizes[place] - sizes[place - 1] + 1
            if size == 1:
                continue
            pools[place].input[0] = pools[place - 1].output[0]
            set_attributes(pools[place], kernel_shape=[size] * 2, pads=[size // 2] * 4)
            moved += 1
    if moved:
        sort_nodes(graph)
    return moved


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


def _same_size(node: NodeProto) -> bool:
    kernel = ints(node, "kernel_shape", ())
    plain = ints(node, "strides", (1, 1)) == (1, 1) and ints(node, "dilations", (1, 1)) == (1, 1)
    if len(kernel) != 2 or kernel[0] != kernel[1] or kernel[0] % 2 == 0 or not plain:
        return False
    auto = attribute(node, "auto_pad", b"NOTSET") != b"NOTSET" or attribute(node, "ceil_mode", 0)
    return not auto and ints(node, "pads", ()) == (kernel[0] // 2,) * 4


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
