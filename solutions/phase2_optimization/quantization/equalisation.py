"""Cross-layer equalisation: weights rescaled between two layers so that no channel is much smaller than the others.

relu(x / s) * s = relu(x) for s > 0, so channel i of the first layer may be divided by s_i and the weights of the second
layer for that input multiplied by it: the model computes the same. s_i = sqrt(r1_i / r2_i), with r the largest weight
of the channel on either side, gives both the same range (Nagel et al. 2019, "Data-free quantization"). It helps where
one scale serves a whole tensor; with one scale per output channel it evens out the activations. SiLU and Clip do not
let a factor through, so layers around them stay as they are.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto

from solutions.phase2_optimization.quantization.graph_edits import (
    Wiring,
    attribute,
    fresh_name,
    set_constant,
    tensor_names,
)

_HOMOGENEOUS = ("Relu", "LeakyRelu")


def equalise(model: onnx.ModelProto, *, rounds: int = 20, tolerance: float = 1e-3) -> int:
    """The number of layer pairs equalised, in the prepared model, which is changed in place.

    Args:
        model: float, BatchNorm folded.
        rounds: at most so often over all pairs; chains of layers settle in a few.
        tolerance: settled when no factor differs from 1 by more.
    """
    graph = model.graph
    wiring = Wiring(graph)
    pairs = [pair for pair in (_pair(node, wiring) for node in graph.node) if pair is not None]
    if not pairs:
        return 0
    held: dict[str, np.ndarray] = {}
    taken = tensor_names(graph)
    for node in {part.name: part for pair in pairs for part in pair}.values():
        for place in (1, 2):
            if place < len(node.input) and node.input[place]:  # a copy each: layers may share a constant
                name = fresh_name(taken, f"{node.input[place]}_{node.name}_equalised")
                held[name] = wiring.value(node.input[place]).astype(np.float64)
                node.input[place] = name
    for _ in range(rounds):
        if max(_equalise_pair(first, second, held) for first, second in pairs) < tolerance:
            break
    for name, array in held.items():
        set_constant(graph, name, array.astype(np.float32))
    return len(pairs)


def _equalise_pair(first: NodeProto, second: NodeProto, held: dict[str, np.ndarray]) -> float:
    """Rescale one pair; by how much the furthest factor differed from 1."""
    weight, after = held[first.input[1]], held[second.input[1]]
    outs = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    groups = int(str(attribute(second, "group", 1)))
    if groups == 1:
        ins = np.abs(after).reshape(len(after), after.shape[1], -1).max(axis=(0, 2))
    else:  # depthwise
        ins = np.abs(after).reshape(groups, -1).max(axis=1)
    alive = (outs > 0) & (ins > 0)
    factors = np.where(alive, np.sqrt(np.where(alive, outs, 1.0) / np.where(alive, ins, 1.0)), 1.0)
    weight /= factors.reshape(-1, *[1] * (weight.ndim - 1))
    if len(first.input) > 2 and first.input[2]:
        held[first.input[2]] /= factors
    if groups == 1:
        after *= factors.reshape(1, -1, *[1] * (after.ndim - 2))
    else:
        after *= np.repeat(factors, len(after) // groups).reshape(-1, *[1] * (after.ndim - 1))
    return float(np.abs(factors - 1).max())


def _pair(first: NodeProto, wiring: Wiring) -> tuple[NodeProto, NodeProto] | None:
    """The convolution and the one that alone uses its output, directly or through a ReLU."""
    if not _eligible(first, wiring):
        return None
    after = wiring.only_user(first.output[0])
    if after is not None and after.op_type in _HOMOGENEOUS:
        after = wiring.only_user(after.output[0])
    if after is None or not _eligible(after, wiring):
        return None
    groups = int(str(attribute(after, "group", 1)))
    channels = wiring.value(first.input[1]).shape[0]
    return (first, after) if groups in (1, channels) else None


def _eligible(node: NodeProto, wiring: Wiring) -> bool:
    return node.op_type == "Conv" and wiring.constants.issuperset(name for name in node.input[1:] if name)
