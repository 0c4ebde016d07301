"""Of two casts in a row the last alone, where the first loses nothing: float16 -> float32 -> float16 is no cast."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from solutions.phase2_optimization.compilation.passes.editor import GraphEditor
from solutions.phase2_optimization.compilation.passes.subgraphs import attribute

_PLAIN = frozenset("biuf")  # of NumPy's kinds: bool, integers, floats of IEEE


def run(model: onnx.ModelProto) -> int:
    """Merge them in place; the number of casts that read past another one now."""
    editor = GraphEditor(model)
    changes = 0
    for node in editor.find("Cast"):
        inner = editor.maker(node.input[0], "Cast")
        if inner is not None and keeps_values(editor.dtype(inner.input[0]), attribute(inner, "to")):
            editor.rewire(node, 0, inner.input[0])
            changes += 1
    editor.commit()
    return changes


def keeps_values(before: int, after: int) -> bool:
    """Whether every value of one ONNX element type exists in the other.

    >>> keeps_values(onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT)
    True
    >>> keeps_values(onnx.TensorProto.INT64, onnx.TensorProto.DOUBLE)  # 2 ** 53 + 1 has no double
    False
    """
    if onnx.TensorProto.UNDEFINED in (before, after) or onnx.TensorProto.STRING in (before, after):
        return False
    source, target = helper.tensor_dtype_to_np_dtype(before), helper.tensor_dtype_to_np_dtype(after)
    if source.kind not in _PLAIN or target.kind not in _PLAIN:
        return False
    if source.kind in "iu" and target.kind == "f":
        return bool(source.itemsize * 8 <= np.finfo(target).nmant)
    return bool(np.can_cast(source, target, "safe"))
