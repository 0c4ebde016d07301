"""A trained module as a QDQ ONNX model that gives what the module gives.

The float module is exported with its trained weights, and `insert_qdq`, which static quantization uses too, puts in the
codes: with the trained ranges in place of calibrated ones. So the file has the form in which runtimes find their
integer kernels.
"""

from __future__ import annotations

from dataclasses import replace

import onnx

from solutions.phase2_optimization.qat.fake_quantize import ActivationCoder
from solutions.phase2_optimization.qat.layers import QatLayer
from solutions.phase2_optimization.qat.placement import place
from solutions.phase2_optimization.qat.prepare import QatModel
from solutions.phase2_optimization.qat.trace import export_traced, without_coders
from solutions.phase2_optimization.quantization.affine import QuantParams
from solutions.phase2_optimization.quantization.graph_edits import attribute
from solutions.phase2_optimization.quantization.qdq_graph import insert_qdq


def export_qat(qat: QatModel) -> onnx.ModelProto:
    """The QDQ model. In eval mode the module gives the same but where float32 sums end on a tie between two codes.

    Raises:
        ModelLoadError: torch cannot export the module.
    """
    plain = without_coders(qat.module)
    float_model, tensors = export_traced(
        plain, qat.example, inputs=qat.inputs, outputs=qat.outputs, sizes=qat.sizes, facts=qat.facts
    )
    placement = place(float_model, tensors, plain, qat.config.static, qat.config.keep_float)
    spans = {}
    for node in qat.module.graph.nodes:
        if node.op == "call_module" and isinstance(coder := qat.module.get_submodule(node.target), ActivationCoder):
            spans[node.args[0].name] = coder.span()
    roots = {root: spans[members[0][0]] for root, members in placement.members.items()}
    plan = replace(placement.plan, bounds={})  # trained spans say what they mean
    ranges = {name: roots.get(plan.shares[name], (0.0, 0.0)) for name in plan.tensors}
    targets = {node.name: node.target for node in plain.graph.nodes}
    kinds = {node.name: node for node in placement.model.graph.node}
    weights = {}
    for name, owner in placement.layers.items():
        layer = plain.get_submodule(targets[name])
        params = layer.export()[1] if isinstance(layer, QatLayer) else None
        if params is not None:
            weights[owner] = _along_outputs(params, kinds[owner])
    return insert_qdq(placement.model, plan, ranges, placement.scheme, weights)


def _along_outputs(params: QuantParams, node: onnx.NodeProto) -> QuantParams:
    """The code with its axis as the ONNX operator lies: Gemm and MatMul may hold the weight transposed."""
    if params.axis is None or node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "transB", 0)):
        return params
    return QuantParams(params.scale, params.zero_point, params.dtype, 1)
