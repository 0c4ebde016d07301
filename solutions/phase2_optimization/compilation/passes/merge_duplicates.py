"""Common subexpressions: of nodes that compute the same from the same inputs one stays; of equal weights likewise.

In the order of the graph the inputs of a node are merged before the node is looked at, so whole equal branches fall
together in one sweep. Kept apart: random nodes, control flow, and QuantizeLinear/DequantizeLinear, of which runtimes
want one pair per user to fuse.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import onnx

from solutions.phase2_optimization.compilation.passes.editor import GraphEditor
from solutions.phase2_optimization.compilation.passes.fold_constants import NEVER
from solutions.phase2_optimization.compilation.passes.subgraphs import has_subgraph


def run(model: onnx.ModelProto) -> int:
    """Merge duplicates in place; the number of nodes and weights that are gone."""
    editor = GraphEditor(model)
    changes = _merge_weights(editor)
    first: dict[Hashable, onnx.NodeProto] = {}
    for node in editor.nodes:
        if node.op_type in NEVER or has_subgraph(node) or any(name in editor.outputs for name in node.output):
            continue
        kept = first.setdefault(_meaning(node), node)
        if kept is node:
            continue
        editor.replace(node)
        for old, new in zip(node.output, kept.output, strict=True):
            if old:
                editor.redirect(old, new)
        changes += 1
    editor.commit()
    return changes


def _meaning(node: onnx.NodeProto) -> Hashable:
    """Equal for nodes that compute the same; which of the optional outputs exist is part of it."""
    attributes = sorted((item.name, item.SerializeToString(deterministic=True)) for item in node.attribute)
    present = tuple(bool(name) for name in node.output)
    return node.domain.replace("ai.onnx", ""), node.op_type, tuple(node.input), tuple(attributes), present


def _merge_weights(editor: GraphEditor) -> int:
    first: dict[Hashable, str] = {}
    changes = 0
    for name in list(editor.initializers):
        tensor = editor.constant_tensor(name)
        if tensor is None or name in editor.outputs or tensor.data_location == onnx.TensorProto.EXTERNAL:
            continue
        bare = onnx.TensorProto()
        bare.CopyFrom(tensor)
        bare.name = ""
        bare.doc_string = ""
        kept = first.setdefault(hashlib.sha256(bare.SerializeToString(deterministic=True)).digest(), name)
        if kept != name:
            editor.redirect(name, kept)
            editor.forget(name)
            changes += 1
    return changes
