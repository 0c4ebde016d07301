"""Stems for integer kernels: how a picture's few channels meet the first convolution, the same numbers either way.

A strided convolution of a picture has so few channels that integer kernels copy its patches pixel by pixel. Squares of
2 x 2 pixels taken as channels of one are a multiple of four and reach the direct kernel, in fewer pieces.
"""

from __future__ import annotations

import re

import numpy as np
import onnx

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


def gather_strides(model: onnx.ModelProto) -> int:
    """The number of convolutions of 1 to 3 channels with stride 2 that now read squares of pixels with stride 1.

    SpaceToDepth makes [n, 4 c, h / 2, w / 2] of [n, c, h, w]: pixel (2 y + d, 2 x + e) becomes channels
    (2 d + e) c ... of place (y, x), and weight [o, i, 2 y + d, 2 x + e] moves along. Only where h and w are even.
    """
    even = _even_images(model)
    graph = model.graph
    wiring, taken, gathered = Wiring(graph), tensor_names(graph), 0
    for conv in [node for node in graph.node if node.op_type == "Conv" and node.input[1] in wiring.constants]:
        weight = wiring.value(conv.input[1])
        if weight.ndim != 4 or weight.shape[1] > 3 or attribute(conv, "group", 1) != 1 or conv.input[0] not in even:
            continue
        plain = ints(conv, "strides", (1, 1)) == (2, 2) and ints(conv, "dilations", (1, 1)) == (1, 1)
        pads = ints(conv, "pads", (0, 0, 0, 0))
        # places of the result beyond h / 2 (rows) and w / 2 (columns)
        more = [(pads[axis] + pads[axis + 2] - weight.shape[axis + 2]) // 2 + 1 for axis in (0, 1)]
        starts = [(pad + 1) // 2 for pad in pads[:2]]
        sizes = [(weight.shape[axis + 2] + pads[axis] % 2 + 1) // 2 for axis in (0, 1)]
        ends = [more[axis] - 1 - starts[axis] + sizes[axis] for axis in (0, 1)]
        if not plain or attribute(conv, "auto_pad", b"NOTSET") != b"NOTSET" or min(ends) < 0:
            continue
        wide = np.zeros((*weight.shape[:2], 2 * sizes[0], 2 * sizes[1]), weight.dtype)
        top, left = pads[0] % 2, pads[1] % 2
        wide[:, :, top : top + weight.shape[2], left : left + weight.shape[3]] = weight
        outs, channels = weight.shape[:2]
        wide = wide.reshape(outs, channels, sizes[0], 2, sizes[1], 2).transpose(0, 3, 5, 1, 2, 4)
        name = fresh_name(taken, f"{conv.name}_gathered")
        set_constant(graph, name, wide.reshape(outs, 4 * channels, *sizes))
        conv.input[0] = append_node(graph, taken, "SpaceToDepth", [conv.input[0]], f"{conv.name}_squares", blocksize=2)
        conv.input[1] = name
        set_attributes(conv, kernel_shape=sizes, strides=[1, 1], pads=[*starts, *ends])
        gathered += 1
    if gathered:
        sort_nodes(graph)
        drop_unused(graph)
    return gathered


def _even_images(model: onnx.ModelProto) -> set[str]:
    """Images [n, c, h, w] whose height and width are known to be even, be it by a name like "32*columns"."""
    shaped = onnx.shape_inference.infer_shapes(model).graph
    found = set()
    for value in (*shaped.input, *shaped.value_info):
        sizes = value.type.tensor_type.shape.dim
        if len(sizes) == 4 and all(_is_even(size) for size in sizes[2:]):
            found.add(value.name)
    return found


def _is_even(size: onnx.TensorShapeProto.Dimension) -> bool:
    factor = re.match(r"\(*(\d+)\*\w+\)*$", size.dim_param.replace(" ", ""))
    number = int(factor[1]) if factor else size.dim_value
    return number > 0 and number % 2 == 0
