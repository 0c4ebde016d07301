"""A float model made ready to be quantized: opset, names, and BatchNormalization folded into the convolutions.

A normalisation left between a convolution and its activation would need a range, a scale and a rounding of its own, and
runtimes have no integer kernel for it. Folded, it costs nothing.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import version_converter

from solutions.core.errors import ModelLoadError
from solutions.phase2_optimization.compilation.passes import fold_batchnorm
from solutions.phase2_optimization.compilation.passes.fold_constants import constant_tensor
from solutions.phase2_optimization.compilation.passes.prepare import prepared
from solutions.phase2_optimization.quantization.graph_edits import drop_unused, name_nodes

OPSET = 17  # scales per channel need 13; 17 is what ONNX Runtime, OpenVINO and TensorRT all read
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")


def prepare(source: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with opset >= 17, constants as initializers, unique node names and no foldable BatchNorm.

    Raises:
        ModelLoadError: the file cannot be read, is quantized already, or cannot be brought to opset 17.
    """
    called = "the model" if isinstance(source, onnx.ModelProto) else str(source)
    model = prepared(source, {})
    if any(node.op_type in _QUANTIZED for node in model.graph.node):
        raise ModelLoadError(f"{called} is quantized already: start from the float32 model.")
    model = raise_opset(model, OPSET, called)
    _constants_to_initializers(model.graph)
    name_nodes(model.graph)
    drop_unused(model.graph)  # before folding too: weights that are listed as inputs would not count as constants
    fold_batchnorm.run(model)
    drop_unused(model.graph)
    return model


def raise_opset(model: onnx.ModelProto, opset: int, called: str = "the model") -> onnx.ModelProto:
    """The model in that opset, or as it is where its own is as new; metadata stays.

    Raises:
        ModelLoadError: some of its operators have no way there.
    """
    have = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), opset)
    if have < opset:
        facts = {entry.key: entry.value for entry in model.metadata_props}
        try:
            model = version_converter.convert_version(model, opset)
        except Exception as error:  # the converter raises RuntimeError and what its C++ code throws
            raise ModelLoadError(f"{called} cannot be brought from opset {have} to {opset}: {error}") from error
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, facts)  # the converter drops them
    oldest = onnx.helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    model.ir_version = max(model.ir_version, oldest)
    return model


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    outputs = {value.name for value in graph.output}
    for node in [node for node in graph.node if node.op_type == "Constant" and node.output[0] not in outputs]:
        tensor = constant_tensor(node)
        if tensor is None:
            continue
        stored = graph.initializer.add()
        stored.CopyFrom(tensor)
        stored.name = node.output[0]
        graph.node.remove(node)
