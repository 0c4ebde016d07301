"""Bias correction: what rounding the weights adds to a layer's mean output is taken off its bias.

Rounding errors of one filter do not average out: filter w becomes w + e, and on inputs with mean m its output moves by
sum(e * m). That shift is the same for every picture, so the bias can undo it (Nagel et al. 2019). It matters most for
depthwise filters, whose nine errors hardly cancel.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, helper

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.phase1_basics.runtimes.feeds import one_line
from solutions.phase2_optimization.quantization.affine import dequantize, quantize, weight_params
from solutions.phase2_optimization.quantization.graph_edits import (
    Wiring,
    attribute,
    fresh_name,
    set_constant,
    tensor_names,
)


def correct_bias(
    model: onnx.ModelProto,
    nodes: Collection[str],
    feeds: Iterable[Mapping[str, np.ndarray]],
    *,
    per_channel: bool = True,
    reduce_range: bool = False,
    threads: int = 1,
) -> int:
    """The number of convolutions whose bias was corrected, in the prepared model, which is changed in place.

    Args:
        model: float, BatchNorm folded.
        nodes: names of the nodes whose weights will be coded; of these, Conv nodes are corrected.
        feeds: samples, input name -> array; read once.
        per_channel: as the weights will be coded.
        reduce_range: likewise.
        threads: of ONNX Runtime.

    Raises:
        ConfigError: no sample, or one that does not fit.
        ModelLoadError: ONNX Runtime cannot load the model.
    """
    graph = model.graph
    wiring = Wiring(graph)
    convs = [node for node in graph.node if node.name in nodes and node.op_type == "Conv"]
    convs = [node for node in convs if wiring.constants.issuperset(name for name in node.input[1:] if name)]
    if not convs:
        return 0
    means = channel_means(model, [node.input[0] for node in convs], feeds, threads)
    taken = tensor_names(graph)
    for node in convs:
        weight = wiring.value(node.input[1])
        code = weight_params(weight, axis=0 if per_channel else None, reduce_range=reduce_range)
        errors = dequantize(quantize(weight, code), code).astype(np.float64) - weight
        shift = _mean_output(errors, means[node.input[0]], node)
        bias = (
            wiring.value(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(len(weight), np.float32)
        )
        name = fresh_name(taken, f"{node.name}_bias_corrected")
        set_constant(graph, name, (bias - shift).astype(np.float32))
        inputs = [*node.input[:2], name]
        del node.input[:]
        node.input.extend(inputs)
    return len(convs)


def channel_means(
    model: onnx.ModelProto, tensors: Iterable[str], feeds: Iterable[Mapping[str, np.ndarray]], threads: int = 1
) -> dict[str, np.ndarray]:
    """The mean of every channel (axis 1) of each 4-D or 3-D tensor over all samples; raises as `correct_bias`.

    The graph itself takes the means, so no activation leaves ONNX Runtime.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    names = list(dict.fromkeys(tensors))
    taken = tensor_names(watched.graph)
    outputs = [fresh_name(taken, f"{name}_channel_mean") for name in names]
    for name, output in zip(names, outputs, strict=True):
        # GlobalAveragePool keeps the channel axis for any number of spatial axes; the batch is averaged outside.
        watched.graph.node.append(helper.make_node("GlobalAveragePool", [name], [output]))
        watched.graph.output.append(onnx.ValueInfoProto(name=output))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        raise ModelLoadError(f"ONNX Runtime cannot load the model for bias correction: {one_line(error)}") from error
    sums: list[np.ndarray] = []
    samples = 0
    for feed in feeds:
        try:
            arrays = session.run(outputs, dict(feed))
        except Exception as error:
            raise ConfigError(f"the model does not run on sample {samples + 1}: {one_line(error)}") from error
        found = [np.asarray(array, np.float64).reshape(*array.shape[:2], -1).mean(axis=(0, 2)) for array in arrays]
        sums = [old + new for old, new in zip(sums, found, strict=True)] if samples else found
        samples += 1
    if not samples:
        raise ConfigError("bias correction needs at least one sample, got none")
    return {name: total / samples for name, total in zip(names, sums, strict=True)}


def _mean_output(errors: np.ndarray, means: np.ndarray, node: NodeProto) -> np.ndarray:
    """What a filter of `errors` gives on an input that is constant per channel, border effects left out."""
    taps = errors.reshape(*errors.shape[:2], -1).sum(axis=2)
    groups = int(str(attribute(node, "group", 1)))
    per_group = np.repeat(means.reshape(groups, -1), len(errors) // groups, axis=0)
    return np.asarray((taps * per_group).sum(axis=1))
