"""Conv + BatchNormalization -> Conv, and likewise any scale or shift per channel that follows a convolution.

A batch norm at inference is y * scale + shift with one pair per channel, and a convolution is linear, so the scale
goes into the weights and the shift into the bias. Folding is computed in float64 and rounded once. Followers that are
folded: BatchNormalization, and Add, Sub, Mul, Div with a constant of one value per channel (a frozen batch norm).
Before: Conv, ConvTranspose, Gemm. A norm *in front of* a convolution is left: zero padding would have to become
padding with a value per channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from solutions.phase2_optimization.compilation.passes.editor import GraphEditor
from solutions.phase2_optimization.compilation.passes.subgraphs import attribute

Array = NDArray[Any]
_LINEAR = ("Conv", "ConvTranspose", "Gemm")


def run(model: onnx.ModelProto) -> int:
    """Fold them in place; the number of nodes that are gone."""
    editor = GraphEditor(model)
    changes = 0
    for node in editor.find("BatchNormalization", "Add", "Sub", "Mul", "Div"):
        for side in (0, 1) if node.op_type in ("Add", "Sub", "Mul") else (0,):
            linear = editor.maker(node.input[side], *_LINEAR)
            if linear is not None and editor.private(node.input[side]) and _fold(editor, linear, node, side):
                changes += 1
                break
    editor.commit()
    return changes


def _fold(editor: GraphEditor, linear: onnx.NodeProto, node: onnx.NodeProto, side: int) -> bool:
    weights = editor.constant(linear.input[1])
    bias_name = linear.input[2] if len(linear.input) > 2 else ""
    bias = editor.constant(bias_name) if bias_name else np.zeros(1)
    if weights is None or bias is None or weights.dtype.kind != "f" or any(node.output[1:]):
        return False
    channels = _channels(linear, weights)
    if linear.op_type == "Gemm" and (attribute(linear, "beta", 1.0) != 1.0 or _per_channel(bias, channels, 2) is None):
        return False
    affine = _scale_and_shift(editor, node, side, channels, rank=weights.ndim)
    if affine is None:
        return False
    scale, shift = affine
    folded = _scaled(linear, weights.astype(np.float64), scale).astype(weights.dtype)
    moved = (bias.astype(np.float64).reshape(-1) * scale + shift).astype(weights.dtype)
    if not (np.isfinite(folded).all() and np.isfinite(moved).all()):  # a float16 range, a variance of zero
        return False
    new = onnx.NodeProto()
    new.CopyFrom(linear)
    del new.input[1:], new.output[:]
    new.input.append(editor.add_constant(folded, f"{linear.input[1]}_scaled"))
    new.input.append(editor.add_constant(moved, f"{bias_name or linear.input[1] + '_bias'}_shifted"))
    new.output.append(node.output[0])
    editor.replace(linear)
    editor.replace(node, new)
    return True


def _channels(linear: onnx.NodeProto, weights: Array) -> int:
    if linear.op_type == "ConvTranspose":
        return int(weights.shape[1] * attribute(linear, "group", 1))
    transposed = linear.op_type == "Conv" or attribute(linear, "transB", 0)
    return int(weights.shape[0 if transposed else 1])


def _scaled(linear: onnx.NodeProto, weights: Array, scale: Array) -> Array:
    """The weights with output channel i times scale[i]."""
    if linear.op_type == "ConvTranspose":  # [inputs, outputs / group, ...]
        group = attribute(linear, "group", 1)
        apart = weights.reshape(group, weights.shape[0] // group, weights.shape[1], -1)
        return (apart * scale.reshape(group, 1, -1, 1)).reshape(weights.shape)
    if linear.op_type == "Gemm" and not attribute(linear, "transB", 0):
        return weights * scale
    return weights * scale.reshape(-1, *[1] * (weights.ndim - 1))


def _scale_and_shift(
    editor: GraphEditor, node: onnx.NodeProto, side: int, channels: int, rank: int
) -> tuple[Array, Array] | None:
    """What the node does to each channel, in float64: y * scale + shift; None where it does something else."""
    one, zero = np.ones(channels), np.zeros(channels)
    if node.op_type == "BatchNormalization":
        values = [editor.constant(name) for name in node.input[1:]]
        if any(value is None for value in values) or attribute(node, "training_mode", 0) or editor.opset < 9:
            return None
        gain, offset, mean, variance = (np.asarray(value, dtype=np.float64) for value in values)
        scale = gain / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        return scale, offset - mean * scale
    other = editor.constant(node.input[1 - side])
    value = _per_channel(other, channels, rank) if other is not None else None
    if value is None:
        return None
    if node.op_type == "Add":
        return one, value
    if node.op_type == "Sub":
        return (one, -value) if side == 0 else (-one, value)
    if node.op_type == "Mul":
        return value, zero
    return (1 / value, zero) if value.all() else None


def _per_channel(value: Array, channels: int, rank: int) -> Array | None:
    """One float64 value per channel (axis 1 of a tensor of that rank), or None where it varies along other axes."""
    shape = (1,) * (rank - value.ndim) + value.shape
    if len(shape) != rank or any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        return None
    return np.broadcast_to(value.astype(np.float64).reshape(-1), channels) if shape[1] in (1, channels) else None
