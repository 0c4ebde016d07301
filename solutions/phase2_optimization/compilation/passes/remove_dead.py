"""Dead code: nodes that no graph output depends on, and weights that nothing reads.

A tensor that a subgraph captures is read. Initializers that are graph inputs as well stay: callers may feed them.
"""

from __future__ import annotations

import onnx

from solutions.phase2_optimization.compilation.passes.editor import GraphEditor


def run(model: onnx.ModelProto) -> int:
    """Remove dead nodes and weights in place; the number of both that are gone."""
    editor = GraphEditor(model)
    changes = 0
    for node in reversed(editor.nodes):  # users come after makers, so one sweep is enough
        if node.output and not any(name in editor.outputs or editor.users(name) for name in node.output if name):
            editor.replace(node)
            changes += 1
    for name in list(editor.initializers):
        if not editor.users(name) and name not in editor.outputs | editor.inputs:
            editor.forget(name)
            changes += 1
    editor.commit()
    return changes
