"""A Focus stem (YOLOv5, YOLOX: every second pixel as a channel, then Conv) -> one Conv with stride 2; exact.

Channel p * C + c of the gathered tensor is channel c of the image at phase (dy, dx):
f[i, j] = x[s * i + dy, s * j + dx] with s = 2. A k x k convolution of f with padding P and stride t therefore reads x
at s * (t * i + u - P) + dy: it is a convolution of x with kernel s * k, stride s * t and padding s * P, whose weight at
(s * u + dy, s * v + dx) is the old one at (u, v) of channel p * C + c. The same numbers are multiplied and added; eight
slices and a concat, which touch every pixel twice and which an int8 runtime keeps in float, are gone. SpaceToDepth
before a Conv is folded likewise.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx

from solutions.phase2_optimization.compilation.passes.editor import GraphEditor
from solutions.phase2_optimization.compilation.passes.subgraphs import attribute

Phase = tuple[int, int]
_TO_THE_END = 2**31 - 1


def run(model: onnx.ModelProto) -> int:
    """Fold them in place; the number of stems."""
    editor = GraphEditor(model)
    changes = 0
    for conv in editor.find("Conv"):
        gather = editor.maker(conv.input[0], "Concat", "SpaceToDepth")
        if gather is None or not editor.private(conv.input[0]):
            continue
        found = _phases(editor, gather)
        weights = editor.constant(conv.input[1])
        plain = (
            attribute(conv, "group", 1) == 1
            and attribute(conv, "auto_pad", b"NOTSET") == b"NOTSET"
            and set(attribute(conv, "dilations", [1])) == {1}
        )
        if found is None or weights is None or weights.ndim != 4 or not plain:
            continue
        source, step, phases = found
        new = onnx.NodeProto()
        new.CopyFrom(conv)
        del new.attribute[:]
        wide = widened(weights, step, phases)
        for name, default in (("strides", [1, 1]), ("pads", [0, 0, 0, 0])):
            scaled = [step * value for value in attribute(conv, name, default)]
            new.attribute.append(onnx.helper.make_attribute(name, scaled))
        new.attribute.append(onnx.helper.make_attribute("kernel_shape", list(wide.shape[2:])))
        new.input[0] = source
        new.input[1] = editor.add_constant(wide, f"{conv.input[1]}_wide")
        editor.replace(gather)
        editor.replace(conv, new)
        changes += 1
    editor.commit()
    return changes


def widened(weights: np.ndarray, step: int, phases: list[Phase]) -> np.ndarray:
    """The kernel [O, C, step * kh, step * kw] that does on the image what `weights` [O, P * C, kh, kw] did on phases.

    >>> widened(np.arange(4.0).reshape(1, 4, 1, 1), 2, [(0, 0), (1, 0), (0, 1), (1, 1)])
    array([[[[0., 2.], [1., 3.]]]])
    """
    outputs, inputs, rows, columns = weights.shape
    channels = inputs // len(phases)
    wide = np.zeros((outputs, channels, step * rows, step * columns), weights.dtype)
    for index, (dy, dx) in enumerate(phases):
        wide[:, :, dy::step, dx::step] = weights[:, index * channels : (index + 1) * channels]
    return wide


def _phases(editor: GraphEditor, gather: onnx.NodeProto) -> tuple[str, int, list[Phase]] | None:
    """The image, the step, and the phase of every part in the order of the channels."""
    if gather.op_type == "SpaceToDepth":
        block = attribute(gather, "blocksize")
        return gather.input[0], block, list(product(range(block), range(block)))
    if attribute(gather, "axis") != 1 or editor.opset < 10:
        return None
    found = [_sliced(editor, name) for name in gather.input]
    sources = {part[0] for part in found if part is not None}
    if None in found or len(sources) != 1:
        return None
    starts = [(part[1].get(2, (0, 1)), part[1].get(3, (0, 1))) for part in found if part is not None]
    steps = {step for pair in starts for _, step in pair}
    phases = [(rows[0], columns[0]) for rows, columns in starts]
    step = steps.pop()
    # with every phase there once, the sizes are multiples of the step, or the parts could not be concatenated
    if steps or sorted(phases) != list(product(range(step), range(step))):
        return None
    return sources.pop(), step, phases


def _sliced(editor: GraphEditor, name: str) -> tuple[str, dict[int, tuple[int, int]]] | None:
    """The tensor that a chain of strided slices starts from, and {axis: (start, step)}; None for other slices."""
    taken: dict[int, tuple[int, int]] = {}
    while (node := editor.maker(name, "Slice")) is not None:
        values = [editor.constant(value) if value else None for value in node.input[1:]]
        if any(value is None for value in values) or len(values) != 4:
            break
        starts, ends, axes, steps = (np.asarray(value).reshape(-1).tolist() for value in values)
        shape = editor.shape(node.input[0])
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            size = shape[axis] if shape is not None else None
            whole = end >= (size if isinstance(size, int) else _TO_THE_END)
            if axis not in (2, 3) or axis in taken or not 0 <= start < step or not whole:
                return None
            taken[axis] = (start, step)
        name = node.input[0]
    return (name, taken) if taken else None
