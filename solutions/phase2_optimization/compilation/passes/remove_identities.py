"""Nodes that return their input as it is: Identity, inference Dropout, a Cast to the same type, x + 0, x * 1, ...

What "the same" needs (type, shape) must be known; a node that also broadcasts or converts stays.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from solutions.phase2_optimization.compilation.passes.editor import GraphEditor
from solutions.phase2_optimization.compilation.passes.subgraphs import attribute


def run(model: onnx.ModelProto) -> int:
    """Remove them in place; the number of nodes that are gone."""
    editor = GraphEditor(model)
    changes = 0
    for node in editor.find(*_RULES):
        if any(name in editor.outputs or editor.users(name) for name in node.output[1:] if name):
            continue
        if not (node.input and node.input[0]):
            continue
        source = _RULES[node.op_type](editor, node)
        if source is None:
            continue
        if source != 0:
            _swap_inputs(editor, node)
        changes += editor.bypass(node)
    editor.commit()
    return changes


def _swap_inputs(editor: GraphEditor, node: onnx.NodeProto) -> None:
    first, second = node.input[0], node.input[1]
    editor.rewire(node, 0, second)
    editor.rewire(node, 1, first)


def _always(editor: GraphEditor, node: onnx.NodeProto) -> int | None:
    return 0


def _dropout(editor: GraphEditor, node: onnx.NodeProto) -> int | None:
    if len(node.input) < 3 or not node.input[2]:
        return 0
    training = editor.constant(node.input[2])
    return 0 if training is not None and not training.any() else None


def _cast(editor: GraphEditor, node: onnx.NodeProto) -> int | None:
    return 0 if editor.dtype(node.input[0]) == attribute(node, "to") else None


def _transpose(editor: GraphEditor, node: onnx.NodeProto) -> int | None:
    order = attribute(node, "perm")
    return 0 if order is not None and list(order) == sorted(order) else None


def _same_shape(editor: GraphEditor, node: onnx.NodeProto) -> int | None:
    before, after = editor.shape(node.input[0]), editor.shape(node.output[0])
    # equal names of free sizes are equal sizes; nameless ones (None) may differ
    return 0 if before is not None and before == after and None not in before else None


def _zero_pad(editor: GraphEditor, node: onnx.NodeProto) -> int | None:
    pads = editor.constant(node.input[1]) if len(node.input) > 1 else attribute(node, "pads")
    return 0 if pads is not None and not np.any(pads) else None


def _slice(editor: GraphEditor, node: onnx.NodeProto) -> int | None:
    steps = editor.constant(node.input[4]) if len(node.input) > 4 and node.input[4] else np.ones(1)
    return _same_shape(editor, node) if steps is not None and np.all(steps == 1) else None


def _single(editor: GraphEditor, node: onnx.NodeProto) -> int | None:
    return 0 if len(node.input) == 1 else None


def _no_bounds(editor: GraphEditor, node: onnx.NodeProto) -> int | None:
    bounds = [attribute(node, "min"), attribute(node, "max"), *(name for name in node.input[1:] if name)]
    return 0 if editor.opset >= 11 and not any(bound is not None for bound in bounds) else None


def _relu_twice(editor: GraphEditor, node: onnx.NodeProto) -> int | None:
    return 0 if editor.maker(node.input[0], "Relu") is not None else None


def _neutral(value: float, *, either_side: bool) -> Callable[[GraphEditor, onnx.NodeProto], int | None]:
    """A rule for arithmetic with a constant that changes nothing, neither values nor shape."""

    def rule(editor: GraphEditor, node: onnx.NodeProto) -> int | None:
        for side in (0, 1) if either_side else (0,):
            constant = editor.constant(node.input[1 - side])
            shape = editor.shape(node.input[side])
            if constant is None or shape is None or not np.all(constant == value):
                continue
            fits = len(constant.shape) <= len(shape) and all(
                theirs in (1, ours) for theirs, ours in zip(constant.shape[::-1], shape[::-1], strict=False)
            )
            if fits:
                return side
        return None

    return rule


_RULES: dict[str, Callable[[GraphEditor, onnx.NodeProto], int | None]] = {
    "Identity": _always,
    "Dropout": _dropout,
    "Cast": _cast,
    "Transpose": _transpose,
    **dict.fromkeys(("Expand", "Flatten", "Reshape", "Squeeze", "Tile", "Unsqueeze"), _same_shape),
    "Pad": _zero_pad,
    "Slice": _slice,
    **dict.fromkeys(("Concat", "Max", "Mean", "Min", "Sum"), _single),
    "Clip": _no_bounds,
    "Relu": _relu_twice,
    "Add": _neutral(0, either_side=True),
    "Sub": _neutral(0, either_side=False),
    "Mul": _neutral(1, either_side=True),
    "Div": _neutral(1, either_side=False),
    "Pow": _neutral(1, either_side=False),
}
