"""Detection heads for channels-last kernels: maps joined along the last axis, so that nothing is turned around.

A head that joins its maps as channels and turns the joined tensor at the end makes every runtime with channels-last
integer convolutions turn each map twice.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from solutions.phase2_optimization.quantization.graph_edits import (
    Wiring,
    append_node,
    attribute,
    drop_unused,
    fresh_name,
    ints,
    set_constant,
    sort_nodes,
    tensor_names,
)


def turn_heads(model: onnx.ModelProto) -> int:
    """The number of detection heads whose final Transpose was replaced by joining along the last axis.

    The form: Transpose(0, 2, 1) of Concat(axis 2) of Reshape([n, c, -1]) of Concat(axis 1) of maps.
    """
    graph = model.graph
    wiring, taken, turned = Wiring(graph), tensor_names(graph), 0
    for last in [node for node in graph.node if node.op_type == "Transpose" and ints(node, "perm", ()) == (0, 2, 1)]:
        joined = wiring.makers.get(last.input[0])
        if joined is None or joined.op_type != "Concat" or attribute(joined, "axis") not in (2, -1):
            continue
        flat = [wiring.makers.get(name) for name in joined.input]
        levels = [
            wiring.makers.get(node.input[0]) if node is not None and node.op_type == "Reshape" else None
            for node in flat
        ]
        joins = [node for node in levels if node is not None and node.op_type == "Concat"]
        if len(joins) != len(levels) or any(attribute(node, "axis") != 1 for node in joins):
            continue
        shapes = [
            wiring.value(node.input[1]) for node in flat if node is not None and node.input[1] in wiring.constants
        ]
        if len(shapes) != len(flat) or any(len(shape) != 3 or shape[2] != -1 for shape in shapes):
            continue
        rows = []
        for level, shape in zip(joins, shapes, strict=True):
            maps = [_channels_last(graph, name, wiring, taken) for name in level.input]
            rows.append(append_node(graph, taken, "Concat", maps, f"{level.output[0]}_last", axis=3))
            order = fresh_name(taken, f"{level.output[0]}_rows_shape")
            set_constant(graph, order, np.array([shape[0], -1, shape[1]], np.int64))
            rows[-1] = append_node(graph, taken, "Reshape", [rows[-1], order], f"{level.output[0]}_rows")
        output = last.output[0]
        graph.node.remove(last)
        graph.node.append(helper.make_node("Concat", rows, [output], name=f"{last.name}_rows", axis=1))
        turned += 1
    if turned:
        sort_nodes(graph)
        drop_unused(graph)
    return turned


def _channels_last(graph: onnx.GraphProto, name: str, wiring: Wiring, taken: set[str]) -> str:
    """The map turned to channels last; in front of its Sigmoid, where the turn meets a convolution."""
    maker = wiring.makers.get(name)
    if maker is not None and maker.op_type == "Sigmoid":
        turned = _channels_last(graph, maker.input[0], wiring, taken)
        return append_node(graph, taken, "Sigmoid", [turned], f"{name}_last")
    return append_node(graph, taken, "Transpose", [name], f"{name}_last", perm=[0, 2, 3, 1])
