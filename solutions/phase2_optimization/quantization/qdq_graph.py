"""QuantizeLinear and DequantizeLinear nodes put where a plan wants them: the format every runtime reads.

The arithmetic of the result is defined by float operators, so it runs anywhere; a runtime that has integer kernels
recognises DequantizeLinear -> Conv -> QuantizeLinear and puts one integer convolution in its place. That succeeds only
when nothing stands between: every user of a coded tensor therefore reads the decoded one, and never the float original.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import NodeProto, helper

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.quantization.affine import (
    QuantParams,
    bias_params,
    choose_params,
    code_range,
    quantize,
    weight_params,
)
from solutions.phase2_optimization.quantization.graph_edits import (
    Wiring,
    add_constant,
    attribute,
    drop_unused,
    fresh_name,
    redirect,
    sort_nodes,
    tensor_names,
)
from solutions.phase2_optimization.quantization.qdq_plan import WEIGHTED, QdqPlan, data_inputs, saturation_bounds
from solutions.phase2_optimization.quantization.qdq_scheme import SCHEMES, QdqScheme

__all__ = ["SCHEMES", "QdqScheme", "activation_params", "insert_qdq", "room_for_bias"]

_MOST_BIAS = 2.0**31 - 1024  # float32 below 2**31 - 1, with room for its rounding


def activation_params(
    plan: QdqPlan, ranges: Mapping[str, tuple[float, float]], scheme: QdqScheme
) -> dict[str, QuantParams]:
    """The code of every planned tensor: known bounds cut its range, and tensors that share a scale span all of theirs.

    Raises:
        ConfigError: a tensor without a range.
    """
    spans: dict[str, tuple[float, float]] = {}
    for name in plan.tensors:
        if name not in ranges:
            raise ConfigError(f"tensor {name} has no calibrated range: calibrate all tensors of the plan")
        least, most = plan.bounds.get(name, (-np.inf, np.inf))
        low, high = np.clip(ranges[name], least, most)
        if np.isfinite(least) and np.isfinite(most) and plan.bounds[name] == (0.0, 1.0):
            low, high = 0.0, 1.0  # a sigmoid uses its whole range sooner or later
        root = plan.shares[name]
        other = spans.get(root, (low, high))
        spans[root] = (float(min(low, other[0])), float(max(high, other[1])))
    codes = {
        root: choose_params(*span, dtype=scheme.activation, symmetric=scheme.symmetric) for root, span in spans.items()
    }
    return {name: codes[plan.shares[name]] for name in plan.tensors}


def insert_qdq(
    model: onnx.ModelProto,
    plan: QdqPlan,
    ranges: Mapping[str, tuple[float, float]],
    scheme: QdqScheme,
    weights: Mapping[str, QuantParams] | None = None,
) -> onnx.ModelProto:
    """A QDQ model: the prepared `model` (left unchanged) with the tensors of the plan coded.

    Args:
        model: from `preparation.prepare`.
        plan: from `qdq_plan.plan_qdq` of this very model.
        ranges: (low, high) of every tensor in `plan.tensors`.
        scheme: of the runtime that will run it.
        weights: node name -> code of its weight, where it was trained; the others get the code that holds all values.

    Raises:
        ConfigError: a tensor without a range.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    params = activation_params(plan, ranges, scheme)
    nodes = {node.name: node for node in graph.node}
    writer = _Writer(graph)
    for name in plan.weighted:
        writer.code_weights(nodes[name], params, scheme, (weights or {}).get(name))
    if scheme.code_outputs:
        for name in plan.workers:
            for source in data_inputs(nodes[name]):
                if source in writer.wiring.constants and source not in params and name not in plan.weighted:
                    writer.code_constant(nodes[name], source, scheme)
        for name in plan.fused:
            writer.fuse(nodes[name], params, scheme)
        for name in plan.tensors:
            writer.code_activation(name, params[name], None)
        writer.move_codes()
        if scheme.guard_float:
            writer.guard([node for node in graph.node if node.op_type in WEIGHTED and node.name not in plan.weighted])
    else:
        readers = [nodes[name] for name in plan.weighted]
        for name in dict.fromkeys(source for node in readers for source in data_inputs(node)):
            if name in params:
                writer.code_activation(name, params[name], readers)
    writer.finish()
    return result


class _Writer:
    """Adds the nodes of one model; the graph is put in order by `finish`."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.wiring = Wiring(graph)
        self._taken = tensor_names(graph)
        self._coded_constants: dict[tuple[str, str], str] = {}

    def code_activation(self, name: str, params: QuantParams, readers: list[NodeProto] | None) -> None:
        """Q and DQ behind a tensor; `readers`, or everybody, read the decoded one from now on."""
        users = [user for user in self.graph.node if name in user.input]
        if readers is not None:
            users = [user for user in users if any(user is reader for reader in readers)]
        source = name
        if readers is None and name in self.wiring.outputs:  # the caller gets the decoded tensor, under its own name
            source = fresh_name(self._taken, f"{name}_float")
            self._rename_output(name, source)
        decoded = name if source != name else fresh_name(self._taken, f"{name}_decoded")
        codes = fresh_name(self._taken, f"{name}_codes")
        if source == name:
            redirect(users, {name: decoded})
        scale, zero = self._params(name, params)
        self._node("QuantizeLinear", [source, scale, zero], codes, params.axis)
        self._node("DequantizeLinear", [codes, scale, zero], decoded, params.axis)

    def code_weights(
        self, node: NodeProto, params: Mapping[str, QuantParams], scheme: QdqScheme, trained: QuantParams | None
    ) -> None:
        """The constant operand of a node as int8 with a DQ, and its bias as int32 with another."""
        place = next((i for i, name in enumerate(node.input[:2]) if name in self.wiring.constants), None)
        if place is None:
            return  # MatMul of two activations
        weight = self.wiring.value(node.input[place])
        axis = _channel_axis(node, place, weight) if scheme.per_channel else None
        code = trained or weight_params(weight, axis=axis, reduce_range=scheme.reduce_range)
        source = node.input[1 - place]
        bias = node.input[2] if len(node.input) > 2 else ""
        coded_bias = bool(bias) and scheme.code_bias and source in params
        if coded_bias:
            code = room_for_bias(code, self.wiring.value(bias), params[source])
        node.input[place] = self._stored(node.input[place], quantize(weight, code), code, node.name)
        if coded_bias:
            biases = self.wiring.value(bias).reshape(-1)
            code = bias_params(params[source], code)
            node.input[2] = self._stored(bias, quantize(biases, code).astype(np.int32), code, node.name)

    def code_constant(self, node: NodeProto, name: str, scheme: QdqScheme) -> None:
        """A constant operand of an elementwise node, coded like an activation."""
        value = self.wiring.value(name)
        code = choose_params(value.min(), value.max(), dtype=scheme.activation, symmetric=scheme.symmetric)
        decoded = self._stored(name, quantize(value, code), code, node.name)
        redirect([node], {name: decoded})

    def fuse(self, node: NodeProto, params: Mapping[str, QuantParams], scheme: QdqScheme) -> None:
        """Remove a Relu or Clip that the codes of its output do anyway; else let its input have the same codes."""
        if not scheme.fuse_saturation:
            return
        source, output = node.input[0], node.output[0]
        code = params[output]
        least, most = code_range(code.dtype)
        low, high = (float(code.scale) * (end - int(code.zero_point)) for end in (least, most))
        floor, ceiling = saturation_bounds(node, self.wiring)
        slack = float(code.scale) / 2
        if low >= floor - slack and high <= ceiling + slack:
            self._rename_output(source, output)
            self.graph.node.remove(node)
        else:
            self.code_activation(source, code, None)

    def move_codes(self) -> None:
        """Let SpaceToDepth and DepthToSpace move codes: ONNX Runtime decodes and codes around them otherwise."""
        makers = {name: node for node in self.graph.node for name in node.output}
        for node in [node for node in self.graph.node if node.op_type in ("SpaceToDepth", "DepthToSpace")]:
            decode = makers.get(node.input[0])
            users = [user for user in self.graph.node if node.output[0] in user.input]
            if decode is None or decode.op_type != "DequantizeLinear" or len(users) != 1:
                continue
            if users[0].op_type == "QuantizeLinear":  # with the same scale: carriers share theirs
                node.input[0], node.output[0] = decode.input[0], users[0].output[0]
                self.graph.node.remove(users[0])

    def guard(self, layers: list[NodeProto]) -> None:
        """Keep ONNX Runtime from coding float layers behind our back.

        From 1.21 on it codes the float weights of a Conv, ConvTranspose or Gemm between DequantizeLinear and
        QuantizeLinear itself, with one scale per tensor: worse than what the layer was kept from. A Concat of one
        tensor is a copy that it does not look through.
        """
        decoded = {node.output[0] for node in self.graph.node if node.op_type == "DequantizeLinear"}
        for node in layers:
            if node.input[0] in decoded:
                apart = fresh_name(self._taken, f"{node.input[0]}_apart")
                self.graph.node.append(
                    helper.make_node("Concat", [node.input[0]], [apart], name=f"Concat_{apart}", axis=1)
                )
                node.input[0] = apart

    def finish(self) -> None:
        """Order the nodes and drop what nobody reads any more."""
        sort_nodes(self.graph)
        drop_unused(self.graph)

    def _rename_output(self, old: str, new: str) -> None:
        for node in self.graph.node:
            for place, name in enumerate(node.output):
                if name == old:
                    node.output[place] = new

    def _params(self, name: str, params: QuantParams) -> tuple[str, str]:
        scale, zero = (fresh_name(self._taken, f"{name}_{part}") for part in ("scale", "zero_point"))
        add_constant(self.graph, scale, params.scale)
        add_constant(self.graph, zero, params.zero_point.astype(params.dtype))
        return scale, zero

    def _stored(self, name: str, codes: np.ndarray, params: QuantParams, owner: str) -> str:
        stored = fresh_name(self._taken, f"{name}_{owner}_codes")
        decoded = fresh_name(self._taken, f"{name}_{owner}_decoded")
        add_constant(self.graph, stored, codes)
        scale, zero = self._params(f"{name}_{owner}", params)
        self._node("DequantizeLinear", [stored, scale, zero], decoded, params.axis)
        return decoded

    def _node(self, op: str, inputs: list[str], output: str, axis: int | None) -> None:
        node = helper.make_node(op, inputs, [output], name=f"{op}_{output}")
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self.graph.node.append(node)


def _channel_axis(node: NodeProto, place: int, weight: np.ndarray) -> int | None:
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if attribute(node, "group", 1) == 1 else None
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return weight.ndim - 1 if place == 1 and weight.ndim == 2 else None


def room_for_bias(code: QuantParams, bias: np.ndarray, source: QuantParams) -> QuantParams:
    """The weight's code with scales large enough that every bias fits into int32 (weights near 0, large bias)."""
    needed = np.abs(bias.astype(np.float64)).reshape(-1) / (float(source.scale) * _MOST_BIAS)
    scale = np.maximum(code.scale, needed if code.axis is not None else needed.max(initial=0.0)).astype(np.float32)
    return QuantParams(scale, code.zero_point, code.dtype, code.axis)
