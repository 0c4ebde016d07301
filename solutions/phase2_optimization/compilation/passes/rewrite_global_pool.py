"""ReduceMean over all spatial axes -> GlobalAveragePool, which kernels with blocked channels (NCHWc) know.

torch.export writes AdaptiveAvgPool2d(1) as a ReduceMean, and so every squeeze-and-excitation block; a general
reduction makes the runtime leave its blocked layout first.
"""

from __future__ import annotations

import onnx
from onnx import helper

from solutions.phase2_optimization.compilation.passes.editor import GraphEditor
from solutions.phase2_optimization.compilation.passes.subgraphs import attribute

_AXES_ARE_AN_INPUT = 18


def run(model: onnx.ModelProto) -> int:
    """Rewrite them in place; the number of rewritten nodes."""
    editor = GraphEditor(model)
    changes = 0
    for node in editor.find("ReduceMean"):
        shape = editor.shape(node.input[0])
        floating = editor.dtype(node.input[0]) in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
        if shape is None or len(shape) < 3 or not floating or attribute(node, "keepdims", 1) != 1:
            continue
        axes = attribute(node, "axes")
        if editor.opset >= _AXES_ARE_AN_INPUT and len(node.input) > 1 and node.input[1]:
            constant = editor.constant(node.input[1])
            axes = None if constant is None else constant.tolist()
        if axes is None or sorted(axis % len(shape) for axis in axes) != list(range(2, len(shape))):
            continue
        pool = helper.make_node("GlobalAveragePool", [node.input[0]], list(node.output), name=node.name)
        editor.replace(node, pool)
        changes += 1
    editor.commit()
    return changes
