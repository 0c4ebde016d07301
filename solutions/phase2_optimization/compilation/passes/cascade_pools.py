"""Max pools of one tensor with growing windows (SPP) -> each from the one before; exact, for fewer comparisons.

With stride 1 and "same" padding the maximum over k x k is the maximum over (k - j + 1) x (k - j + 1) of the maxima over
j x j. Windows of 5, 9 and 13 take 25 + 81 + 169 comparisons per pixel apart and 3 * 25 as a chain.
The number of nodes stays.
"""

from __future__ import annotations

from itertools import pairwise

import onnx
from onnx import helper

from solutions.phase2_optimization.compilation.passes.editor import GraphEditor
from solutions.phase2_optimization.compilation.passes.subgraphs import attribute


def run(model: onnx.ModelProto) -> int:
    """Chain them in place; the number of pools with a smaller window now."""
    editor = GraphEditor(model)
    groups: dict[str, list[tuple[int, onnx.NodeProto]]] = {}
    for node in editor.find("MaxPool"):
        if (side := same_window(node)) is not None:
            groups.setdefault(node.input[0], []).append((side, node))
    place = {id(node): index for index, node in enumerate(editor.nodes)}
    changes = 0
    for pools in groups.values():
        pools.sort(key=lambda pool: pool[0])
        for (before, inner), (side, outer) in pairwise(pools):
            if side == before or place[id(inner)] > place[id(outer)]:  # a chain must not run against the graph's order
                continue
            left = side - before + 1
            new = helper.make_node(
                "MaxPool",
                [inner.output[0]],
                list(outer.output),
                name=outer.name,
                kernel_shape=[left, left],
                pads=[left // 2] * 4,
                strides=[1, 1],
            )
            editor.replace(outer, new)
            changes += 1
    editor.commit()
    return changes


def same_window(node: onnx.NodeProto) -> int | None:
    """The odd side of a square window with stride 1 whose output is as large as its input, else None."""
    kernel = attribute(node, "kernel_shape")
    side = int(kernel[0])
    plain = (
        list(kernel) == [side, side]
        and side % 2 == 1
        and list(attribute(node, "pads", [])) == [side // 2] * 4
        and set(attribute(node, "strides", [1])) == {1}
        and set(attribute(node, "dilations", [1])) == {1}
        and attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
        and len(node.output) == 1
    )
    return side if plain and side > 1 else None
