"""A float model made ready to be quantized: opset, names, and BatchNormalization folded into the convolutions.

A normalisation left between a convolution and its activation would need a range, a scale and a rounding of its own, and
runtimes have no integer kernel for it. Folded, it costs nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import inliner, version_converter

from solutions.core.errors import ModelLoadError
from solutions.phase2_optimization.quantization.graph_edits import (
    Wiring,
    attribute,
    drop_unused,
    fresh_name,
    name_nodes,
    set_constant,
    tensor_names,
)

OPSET = 17  # scales per channel need 13; 17 is what ONNX Runtime, OpenVINO and TensorRT all read
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")


def prepare(source: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with opset >= 17, constants as initializers, unique node names and no foldable BatchNorm.

    Raises:
        ModelLoadError: the file cannot be read, is quantized already, or cannot be brought to opset 17.
    """
    model = _load(source)
    if any(node.op_type in _QUANTIZED for node in model.graph.node):
        raise ModelLoadError(f"{_called(source)} is quantized already: start from the float32 model.")
    if model.functions:
        model = inliner.inline_local_functions(model)
    model = _upgrade(model, _called(source))
    _constants_to_initializers(model.graph)
    name_nodes(model.graph)
    fold_batch_norm(model.graph)
    drop_unused(model.graph)
    return model


def fold_batch_norm(graph: onnx.GraphProto) -> int:
    """How many BatchNormalization nodes were folded into the Conv or ConvTranspose in front of them.

    With s = gamma / sqrt(variance + epsilon) per channel: weight * s and (bias - mean) * s + beta. One is folded only
    where nobody else reads the convolution's output and all numbers are constants.
    """
    folded = 0
    wiring = Wiring(graph)
    taken = tensor_names(graph)
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        if norm.input[0] not in wiring.makers:
            continue
        conv, alone = wiring.makers[norm.input[0]], wiring.only_user(norm.input[0]) is not None
        if conv.op_type not in ("Conv", "ConvTranspose") or not alone:
            continue
        if not wiring.constants.issuperset([*conv.input[1:], *norm.input[1:]]) or attribute(norm, "training_mode", 0):
            continue
        gamma, beta, mean, variance = (wiring.value(name).astype(np.float64) for name in norm.input[1:5])
        scale = gamma / np.sqrt(variance + float(str(attribute(norm, "epsilon", 1e-5))))
        weight = wiring.value(conv.input[1])
        bias = wiring.value(conv.input[2]) if len(conv.input) > 2 and conv.input[2] else np.zeros(len(scale))
        axis = np.ones(weight.ndim, int)
        if conv.op_type == "Conv":
            axis[0] = -1
            spread = scale.reshape(axis)
        else:  # ConvTranspose keeps [inputs, outputs / group, ...]: each group of rows has output channels of its own
            groups = int(str(attribute(conv, "group", 1)))
            axis[1] = -1
            rows = weight.shape[0] // groups
            spread = np.concatenate([np.repeat(part.reshape(axis), rows, 0) for part in np.split(scale, groups)])
        names = [fresh_name(taken, f"{conv.name}_{part}_folded") for part in ("weight", "bias")]
        set_constant(graph, names[0], (weight * spread).astype(weight.dtype))
        set_constant(graph, names[1], ((bias - mean) * scale + beta).astype(weight.dtype))
        data, output = conv.input[0], norm.output[0]
        del conv.input[:]
        conv.input.extend([data, *names])
        conv.output[0] = output
        graph.node.remove(norm)
        wiring = Wiring(graph)
        folded += 1
    return folded


def _load(source: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    if isinstance(source, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(source)
        return copy
    try:
        return onnx.load(str(source))
    except OSError as error:
        raise ModelLoadError(f"{source} cannot be read: {error.strerror or error}. Check the path.") from error
    except Exception as error:  # protobuf's DecodeError is another class in each of its implementations
        raise ModelLoadError(f"{source} is no ONNX model: {error}. Export it anew.") from error


def _called(source: str | Path | onnx.ModelProto) -> str:
    return "the model" if isinstance(source, onnx.ModelProto) else str(source)


def _upgrade(model: onnx.ModelProto, called: str) -> onnx.ModelProto:
    have = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), OPSET)
    if have < OPSET:
        facts = {entry.key: entry.value for entry in model.metadata_props}
        try:
            model = version_converter.convert_version(model, OPSET)
        except Exception as error:  # the converter raises RuntimeError and what its C++ code throws
            raise ModelLoadError(f"{called} cannot be brought from opset {have} to {OPSET}: {error}") from error
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, facts)  # the converter drops them
    model.ir_version = max(model.ir_version, 8)
    return model


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        item = node.attribute[0]
        if item.name == "value":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(item.t)
            tensor.name = node.output[0]
        elif item.name in ("value_float", "value_floats", "value_int", "value_ints"):
            kind = np.float32 if "float" in item.name else np.int64
            tensor = onnx.numpy_helper.from_array(np.array(attribute(node, item.name), kind), node.output[0])
        else:
            continue
        if tensor.name in {value.name for value in graph.output}:
            continue
        graph.initializer.append(tensor)
        graph.node.remove(node)
