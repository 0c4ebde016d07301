"""Layers that drown in the code of their input: one scale for all channels can be too coarse for many of them.

A tensor has one scale, and its widest channel sets it. The code's noise, step^2 / 12, reaches output o of the layer
that reads it times the sum of its squared weights. Where that comes near the variance of output o, the channel is
noise; where it does so for many channels, the layer has to read floats. YOLOX-nano's stem has channels from +-0.3 to
+-120, and the depthwise layer behind it loses a third of its channels: in float the two cost 1% of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import NodeProto, helper

from solutions.phase2_optimization.quantization.bias_correction import channel_means
from solutions.phase2_optimization.quantization.graph_edits import Wiring, fresh_name, tensor_names
from solutions.phase2_optimization.quantization.qdq_plan import FLOAT_ACTIVATIONS, WEIGHTED, QdqPlan

_SHARE = 0.25  # of the channels; a single weak one is not worth a layer in float
_STEPS = 255
_CARRY = (*FLOAT_ACTIVATIONS, "Sigmoid", "Mul", "LeakyRelu")


def drowned_layers(
    model: onnx.ModelProto,
    plan: QdqPlan,
    ranges: Mapping[str, tuple[float, float]],
    feeds: Iterable[Mapping[str, np.ndarray]],
    *,
    least_db: float,
    threads: int = 1,
) -> dict[str, str]:
    """Name of each node to keep in float -> why: drowned layers, and the way back to the layers that they read.

    Args:
        model: prepared, as calibrated.
        plan: what is to be coded; of its layers the convolutions are looked at.
        ranges: of the activations.
        feeds: a few samples; read once.
        least_db: signal over noise that a channel needs.
        threads: of ONNX Runtime.

    Raises:
        ConfigError, ModelLoadError: as `bias_correction.channel_means`.
    """
    wiring = Wiring(model.graph)
    convs = [
        node
        for node in model.graph.node
        if node.name in plan.weighted and node.op_type == "Conv" and node.input[0] in ranges
    ]
    if not convs:
        return {}
    variances = _channel_variances(model, [node.output[0] for node in convs], feeds, threads)
    found: dict[str, str] = {}
    for node in convs:
        weight = wiring.value(node.input[1]).astype(np.float64)
        low, high = ranges[node.input[0]]
        step = (max(high, 0.0) - min(low, 0.0)) / _STEPS
        noise = step**2 / 12 * (weight**2).reshape(len(weight), -1).sum(axis=1)
        alive = variances[node.output[0]] > 0  # a channel that never changes has nothing to lose
        lost = alive & (variances[node.output[0]] < 10 ** (least_db / 10) * noise)
        if alive.any() and lost.sum() > _SHARE * alive.sum():
            found |= {name: f"feeds {node.name}" for name in _way_back(node, wiring) if name not in found}
            found[node.name] = f"the code of its input leaves {lost.sum()} of {alive.sum()} channels < {least_db:g} dB"
    return found


def _way_back(node: NodeProto, wiring: Wiring) -> list[str]:
    """The activations that the node reads and the layers with weights in front of these."""
    names: list[str] = []
    waiting = [node.input[0]]
    while waiting:
        maker = wiring.makers.get(waiting.pop())
        if maker is None or maker.name in names:
            continue
        if maker.op_type in WEIGHTED:
            names.append(maker.name)
        elif maker.op_type in _CARRY:
            names.append(maker.name)
            waiting.extend(name for name in maker.input if name not in wiring.constants)
    return names


def _channel_variances(
    model: onnx.ModelProto, tensors: list[str], feeds: Iterable[Mapping[str, np.ndarray]], threads: int
) -> dict[str, np.ndarray]:
    """The variance of every channel of each tensor, over all places and samples."""
    squared = onnx.ModelProto()
    squared.CopyFrom(model)
    taken = tensor_names(squared.graph)
    squares = {name: fresh_name(taken, f"{name}_squared") for name in tensors}
    squared.graph.node.extend(helper.make_node("Mul", [name, name], [square]) for name, square in squares.items())
    means = channel_means(squared, [*squares, *squares.values()], feeds, threads)
    return {name: means[square] - means[name] ** 2 for name, square in squares.items()}
