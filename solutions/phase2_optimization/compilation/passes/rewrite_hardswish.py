"""Hard-swish and hard-sigmoid that an exporter spelled out, as the one node that ONNX has for each.

clip(x + 3, 0, 6) / 6 -> HardSigmoid(alpha=1/6, beta=1/2); x * HardSigmoid(x) -> HardSwish (opset 14 and above). A
runtime fuses the named node into the convolution before it, five loose nodes it does not. Inside ONNX Runtime HardSwish
is taken apart or fused as it sees fit: the name costs nothing there.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from solutions.phase2_optimization.compilation.passes.editor import GraphEditor
from solutions.phase2_optimization.compilation.passes.subgraphs import attribute

_HARD_SWISH_OPSET = 14


def run(model: onnx.ModelProto) -> int:
    """Rewrite them in place; the number of rewritten patterns."""
    editor = GraphEditor(model)
    changes = 0
    for node in editor.find("Mul", "Div"):
        changes += _hard_swish(editor, node) or _divided(editor, node)
    editor.commit()
    return changes


def _hard_swish(editor: GraphEditor, node: onnx.NodeProto) -> bool:
    """x * HardSigmoid(x)."""
    if node.op_type != "Mul" or editor.opset < _HARD_SWISH_OPSET:
        return False
    for source, gated in (tuple(node.input), tuple(node.input)[::-1]):
        gate = editor.maker(gated, "HardSigmoid")
        if gate is None or gate.input[0] != source or not editor.private(gated):
            continue
        slope, offset = attribute(gate, "alpha", 0.2), attribute(gate, "beta", 0.5)
        if np.float32(slope) == np.float32(1 / 6) and offset == 0.5:
            editor.replace(gate)
            editor.replace(node, helper.make_node("HardSwish", [source], list(node.output), name=node.name))
            return True
    return False


def _divided(editor: GraphEditor, node: onnx.NodeProto) -> bool:
    """clip(x + 3, 0, 6) / 6, and x * clip(x + 3, 0, 6) / 6."""
    side = _sixth(editor, node)
    if side is None:
        return False
    name = node.input[side]
    if (source := _clipped(editor, name)) is not None:
        new = helper.make_node("HardSigmoid", [source], list(node.output), name=node.name, alpha=1 / 6, beta=0.5)
        editor.replace(node, new)
        return True
    product = editor.maker(name, "Mul")
    if product is None or not editor.private(name) or editor.opset < _HARD_SWISH_OPSET:
        return False
    for source, gated in (tuple(product.input), tuple(product.input)[::-1]):
        if _clipped(editor, gated) == source:
            editor.replace(product)
            editor.replace(node, helper.make_node("HardSwish", [source], list(node.output), name=node.name))
            return True
    return False


def _sixth(editor: GraphEditor, node: onnx.NodeProto) -> int | None:
    """The side that the node divides by 6, or None."""
    for side in (0, 1) if node.op_type == "Mul" else (0,):
        factor = 6.0 if node.op_type == "Div" else 1 / 6
        if _is(editor, node.input[1 - side], factor):
            return side
    return None


def _clipped(editor: GraphEditor, name: str) -> str | None:
    """x, where the tensor is clip(x + 3, 0, 6) and nothing else reads it."""
    clip = editor.maker(name, "Clip")
    if clip is None or not editor.private(name):
        return None
    if editor.opset >= 11:
        bounded = len(clip.input) == 3 and _is(editor, clip.input[1], 0.0) and _is(editor, clip.input[2], 6.0)
    else:
        bounded = attribute(clip, "min") == 0.0 and attribute(clip, "max") == 6.0
    add = editor.maker(clip.input[0], "Add")
    if not bounded or add is None or not editor.private(clip.input[0]):
        return None
    for source, three in (tuple(add.input), tuple(add.input)[::-1]):
        if _is(editor, three, 3.0):
            return str(source)
    return None


def _is(editor: GraphEditor, name: str, wanted: float) -> bool:
    """Whether the tensor is one constant that equals `wanted` as stored and cannot broadcast anything."""
    value = editor.constant(name) if name else None
    if value is None or value.dtype.kind != "f" or value.shape not in ((), (1,)):
        return False
    return bool(np.all(value == value.dtype.type(wanted)))
