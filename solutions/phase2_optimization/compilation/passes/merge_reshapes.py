"""Of views in a row (Reshape, Flatten, Squeeze, Unsqueeze) the last alone: the elements never move."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from solutions.phase2_optimization.compilation.passes.editor import GraphEditor
from solutions.phase2_optimization.compilation.passes.subgraphs import attribute
from solutions.phase2_optimization.compilation.passes.tensor_types import Shape

VIEWS = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


def run(model: onnx.ModelProto) -> int:
    """Merge them in place; the number of nodes that are gone."""
    editor = GraphEditor(model)
    changes = 0
    if editor.opset >= 5:  # before, the target of a Reshape is an attribute
        for node in editor.find(*VIEWS):
            inner = editor.maker(node.input[0], *VIEWS)
            if inner is None or not editor.private(node.input[0]):
                continue
            view = view_of(editor, inner.input[0], node)
            if view is not None:
                editor.replace(inner)
                editor.replace(node, view)
                changes += 1
    editor.commit()
    return changes


def view_of(editor: GraphEditor, source: str, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """A Reshape of `source`, which has the elements of the view's input in their order, to the view's output."""
    sizes = _target(editor.shape(node.output[0]))
    if sizes is None and node.op_type == "Reshape" and not attribute(node, "allowzero", 0):
        wanted = editor.constant(node.input[1])  # sizes that copy none of the input's mean the same on any input
        sizes = wanted.tolist() if wanted is not None and wanted.all() else None
    if sizes is None:
        return None
    target = editor.add_constant(np.array(sizes, dtype=np.int64), f"{node.output[0]}_sizes")
    return helper.make_node("Reshape", [source, target], list(node.output), name=node.name)


def _target(shape: Shape | None) -> list[int] | None:
    """The sizes as a Reshape takes them: one may be free (-1), none may be zero, which would mean "copy"."""
    if shape is None or 0 in shape:
        return None
    sizes = [size if isinstance(size, int) else -1 for size in shape]
    return sizes if sizes.count(-1) <= 1 else None
