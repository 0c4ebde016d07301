"""Transposes cost a copy of the tensor; these are the ones that can be had for less.

* two in a row are one, or none;
* one that only moves axes of size 1 moves no element: it is a Reshape;
* between a Reshape that splits axes and another view, one that keeps the parts of each split axis together is a
  transpose of the unsplit tensor, and the splitting goes (every head of an SSD: [N, A * K, H, W] to [N, H * W * A, K]).

Layout: the graph stays in NCHW, ONNX's only layout of Conv. The blocked layouts that kernels want (ONNX Runtime's
NCHWc, oneDNN's) depend on the vector width of the machine that runs it, and the runtime inserts and cancels them
itself; what a file can do is to leave no transpose between two convolutions, which would break such a chain.
"""

from __future__ import annotations

import onnx
from onnx import helper

from solutions.phase2_optimization.compilation.passes.editor import GraphEditor
from solutions.phase2_optimization.compilation.passes.merge_reshapes import VIEWS, view_of
from solutions.phase2_optimization.compilation.passes.subgraphs import attribute
from solutions.phase2_optimization.compilation.passes.tensor_types import Shape


def run(model: onnx.ModelProto) -> int:
    """Simplify them in place; the number of simplifications."""
    editor = GraphEditor(model)
    changes = 0
    for node in editor.find("Transpose"):
        changes += _merge(editor, node) or _as_view(editor, node) or _unsplit(editor, node)
    editor.commit()
    return changes


def _order(editor: GraphEditor, node: onnx.NodeProto) -> list[int] | None:
    order = attribute(node, "perm")
    shape = editor.shape(node.input[0])
    if order is None:
        return None if shape is None else list(range(len(shape)))[::-1]
    return list(order)


def _merge(editor: GraphEditor, node: onnx.NodeProto) -> bool:
    inner = editor.maker(node.input[0], "Transpose")
    if inner is None or not editor.private(node.input[0]):
        return False
    first, second = _order(editor, inner), _order(editor, node)
    if first is None or second is None:
        return False
    both = [first[axis] for axis in second]
    editor.replace(inner)
    editor.replace(node, helper.make_node("Transpose", [inner.input[0]], list(node.output), name=node.name, perm=both))
    return True


def _as_view(editor: GraphEditor, node: onnx.NodeProto) -> bool:
    order, shape = _order(editor, node), editor.shape(node.input[0])
    if order is None or shape is None or editor.opset < 5 or order == sorted(order):
        return False
    moved = [axis for axis in order if shape[axis] != 1]
    if moved != sorted(moved):
        return False
    view = view_of(editor, node.input[0], node)
    if view is not None:
        editor.replace(node, view)
    return view is not None


def _unsplit(editor: GraphEditor, node: onnx.NodeProto) -> bool:
    split = editor.maker(node.input[0], "Reshape")
    if split is None or not editor.private(node.input[0]) or not editor.private(node.output[0]):
        return False
    (view,) = editor.users(node.output[0])
    order = _order(editor, node)
    whole, parts = editor.shape(split.input[0]), editor.shape(split.output[0])
    if view.op_type not in VIEWS or order is None or whole is None or parts is None:
        return False
    groups = split_axes(whole, parts)
    if groups is None:
        return False
    wanted = sorted(groups, key=lambda group: order.index(group[0]))
    if [axis for group in wanted for axis in group] != order:
        return False
    moved = editor.fresh(f"{node.output[0]}_whole")
    shaped = view_of(editor, moved, view)
    if shaped is None:
        return False
    perm = [groups.index(group) for group in wanted]
    editor.replace(split)
    editor.replace(node, helper.make_node("Transpose", [split.input[0]], [moved], name=node.name, perm=perm))
    editor.replace(view, shaped)
    return True


def split_axes(whole: Shape, parts: Shape) -> list[list[int]] | None:
    """For every axis of `whole` the axes of `parts` it is split into; None where `parts` does more than split.

    >>> split_axes(("batch", 24, 20, 20), (None, 6, 4, 20, 20))
    [[0], [1, 2], [3], [4]]
    >>> split_axes((6, 4), (4, 6)) is None
    True
    """
    if sum(not isinstance(size, int) for size in whole) > 1 or sum(not isinstance(size, int) for size in parts) > 1:
        return None
    groups: list[list[int]] = []
    axis = 0
    for size in whole:
        group: list[int] = []
        product = 1
        while axis < len(parts):
            part = parts[axis]
            if isinstance(part, int) != isinstance(size, int) or not (isinstance(part, int) or not group):
                break
            group.append(axis)
            axis += 1
            if not isinstance(part, int) or not isinstance(size, int):
                break
            product *= part
            if product >= size:
                break
        if not group or (isinstance(size, int) and product != size):
            return None
        groups.append(group)
    return groups if axis == len(parts) else None
