"""Stems for integer kernels: how a picture's few channels meet the first convolution, the same numbers either way.

- A Focus stem (four strided slices of the picture, concatenated, then a k x k convolution) is a 2k x 2k convolution of
  stride 2: the slices move every byte twice and compute nothing.
- A strided convolution of a picture has so few channels that integer kernels copy its patches pixel by pixel. Two
  neighbouring columns taken as channels of one, and filled up to a multiple of four, reach the direct kernel.
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

_FAR = 2**30


def merge_focus(model: onnx.ModelProto) -> int:
    """The number of Focus stems replaced by one strided convolution.

    Output row y of the old form reads rows y + i - p of each slice, which are rows 2 (y + i - p) + d of the picture,
    d = 0 or 1: so weight [i] of the slice that starts at d is weight [2 i + d] of a convolution with stride 2 and
    padding 2 p.
    """
    graph = model.graph
    wiring, taken, merged = Wiring(graph), tensor_names(graph), 0
    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        joined = wiring.makers.get(conv.input[0])
        if joined is None or joined.op_type != "Concat" or attribute(joined, "axis") != 1:
            continue
        traced = [_trace_slices(name, wiring) for name in joined.input]
        if len(traced) != 4 or any(slot is None for slot in traced) or len({slot[0] for slot in traced if slot}) != 1:
            continue
        source = next(slot[0] for slot in traced if slot)
        starts = [slot[1] for slot in traced if slot]
        plain = ints(conv, "strides", (1, 1)) == (1, 1) and ints(conv, "dilations", (1, 1)) == (1, 1)
        auto = attribute(conv, "auto_pad", b"NOTSET") != b"NOTSET"
        if sorted(starts) != [(0, 0), (0, 1), (1, 0), (1, 1)] or not plain or auto or attribute(conv, "group", 1) != 1:
            continue
        if conv.input[1] not in wiring.constants:
            continue
        weight = wiring.value(conv.input[1])
        outs, channels, rows, columns = weight.shape
        wide = np.zeros((outs, channels // 4, 2 * rows, 2 * columns), weight.dtype)
        for part, (down, right) in zip(np.split(weight, 4, axis=1), starts, strict=True):
            wide[:, :, down::2, right::2] = part
        pads = [2 * pad for pad in ints(conv, "pads", (0, 0, 0, 0))]
        name = fresh_name(taken, f"{conv.input[1]}_strided")
        set_constant(graph, name, wide)
        conv.input[0], conv.input[1] = source, name
        set_attributes(conv, kernel_shape=[2 * rows, 2 * columns], strides=[2, 2], pads=pads)
        merged += 1
    if merged:
        drop_unused(graph)
    return merged


def pair_columns(model: onnx.ModelProto) -> int:
    """The number of strided convolutions of inputs with 1 to 3 channels rewritten to work on pairs of columns.

    [n, c, h, w] becomes [n, 2 c', h, w / 2], where c' fills c up so that 2 c' divides by four (by repeating channels
    that get weight 0); the stride along the width becomes 1, and weight [o, i, y, 2 x + d] moves to channel d c' + i.
    Done channels-last the reshape moves no byte.
    """
    even = _even_widths(model)
    graph = model.graph
    wiring, taken, paired = Wiring(graph), tensor_names(graph), 0
    for conv in [node for node in graph.node if node.op_type == "Conv" and node.input[1] in wiring.constants]:
        weight = wiring.value(conv.input[1])
        if weight.ndim != 4 or weight.shape[1] > 3 or attribute(conv, "group", 1) != 1:
            continue
        top, left, bottom, right = ints(conv, "pads", (0, 0, 0, 0))
        down, along = ints(conv, "strides", (1, 1))
        if conv.input[0] not in even or along != 2 or ints(conv, "dilations", (1, 1)) != (1, 1):
            continue
        if attribute(conv, "auto_pad", b"NOTSET") != b"NOTSET":
            continue
        more = (left + right - weight.shape[3]) // 2 + 1  # columns of the result beyond width / 2
        wide = np.pad(weight, ((0, 0), (0, -weight.shape[1] % 2), (0, 0), (left % 2, 0)))
        wide = np.pad(wide, ((0, 0), (0, 0), (0, 0), (0, wide.shape[3] % 2)))
        left = (left + left % 2) // 2
        outs, filled, rows, pairs = *wide.shape[:3], wide.shape[3] // 2
        right = more - 1 - left + pairs
        if right < 0:
            continue
        wide = (
            wide.reshape(outs, filled, rows, pairs, 2).transpose(0, 4, 1, 2, 3).reshape(outs, 2 * filled, rows, pairs)
        )
        order, target, name = (fresh_name(taken, f"{conv.name}_{part}") for part in ("channels", "shape", "paired"))
        set_constant(graph, order, np.arange(filled) % weight.shape[1])
        set_constant(graph, target, np.array([0, 0, -1, 2 * filled], np.int64))
        set_constant(graph, name, wide)
        data = append_node(graph, taken, "Gather", [conv.input[0], order], f"{conv.name}_filled", axis=1)
        data = append_node(graph, taken, "Transpose", [data], f"{conv.name}_last", perm=[0, 2, 3, 1])
        data = append_node(graph, taken, "Reshape", [data, target], f"{conv.name}_pairs")
        conv.input[0] = append_node(graph, taken, "Transpose", [data], f"{conv.name}_first", perm=[0, 3, 1, 2])
        conv.input[1] = name
        set_attributes(conv, kernel_shape=[rows, pairs], strides=[down, 1], pads=[top, left, bottom, right])
        paired += 1
    if paired:
        sort_nodes(graph)
        drop_unused(graph)
    return paired


def _trace_slices(name: str, wiring: Wiring) -> tuple[str, tuple[int, int]] | None:
    """(tensor, (first row, first column)) when `name` is every second row and column of a tensor; else None."""
    starts: dict[int, int] = {}
    while len(starts) < 2:
        node = wiring.makers.get(name)
        if node is None or node.op_type != "Slice" or len(node.input) != 5:
            return None
        if not wiring.constants.issuperset(node.input[1:]):
            return None
        begins, ends, axes, steps = (wiring.value(part).reshape(-1).tolist() for part in node.input[1:])
        for begin, end, axis, step in zip(begins, ends, axes, steps, strict=True):
            if axis not in (2, 3) or axis in starts or step != 2 or begin not in (0, 1) or end < _FAR:
                return None
            starts[axis] = begin
        name = node.input[0]
    return name, (starts[2], starts[3])


def _even_widths(model: onnx.ModelProto) -> set[str]:
    """Images [n, c, h, w] whose width is known to be even, be it by a name like "32*columns"."""
    shaped = onnx.shape_inference.infer_shapes(model).graph
    found = set()
    for value in (*shaped.input, *shaped.value_info):
        sizes = value.type.tensor_type.shape.dim
        if len(sizes) == 4:
            factor = re.match(r"\(*(\d+)\*\w+\)*$", sizes[3].dim_param.replace(" ", ""))
            number = int(factor[1]) if factor else sizes[3].dim_value
            if number and number % 2 == 0:
                found.add(value.name)
    return found
