"""x * sigmoid(x) -> one node, where the reader of the file has one: Swish (ONNX opset 24), QuickGelu (ONNX Runtime).

Portable files below opset 24 keep both nodes: ONNX Runtime (QuickGelu), OpenVINO (Swish) and TensorRT fuse the pair
themselves, so the rewrite shortens the file and gains no time; QuickGelu binds it to ONNX Runtime.
"""

from __future__ import annotations

import onnx
from onnx import helper

from solutions.phase2_optimization.compilation.passes.editor import GraphEditor

_SWISH_OPSET = 24
_MICROSOFT = "com.microsoft"


def run(model: onnx.ModelProto, *, contrib: bool = False) -> int:
    """Rewrite them in place; the number of rewritten pairs.

    Args:
        model: changed in place.
        contrib: allow ONNX Runtime's own operator.
    """
    editor = GraphEditor(model)
    changes = 0
    if editor.opset < _SWISH_OPSET and not contrib:
        return 0
    for node in editor.find("Mul"):
        for source, gated in (tuple(node.input), tuple(node.input)[::-1]):
            gate = editor.maker(gated, "Sigmoid")
            if gate is None or gate.input[0] != source or not editor.private(gated):
                continue
            float32 = editor.dtype(source) == onnx.TensorProto.FLOAT
            if contrib and float32:  # its kernel has no other type on a CPU
                new = helper.make_node(
                    "QuickGelu", [source], list(node.output), name=node.name, domain=_MICROSOFT, alpha=1.0
                )
            elif editor.opset >= _SWISH_OPSET:
                new = helper.make_node("Swish", [source], list(node.output), name=node.name, alpha=1.0)
            else:
                continue
            editor.replace(gate)
            editor.replace(node, new)
            changes += 1
            break
    editor.commit()
    if contrib and changes and all(item.domain != _MICROSOFT for item in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
    return changes
