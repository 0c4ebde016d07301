"""Which nodes of a graph may compute in 16 bits and which stay in float32, each with the reason in words.

Three things forbid it: the operator itself (ONNX does not define it for that type, or it adds up so many terms that 8
or 11 bits of precision are not enough), the numbers (weights or activations that the type cannot hold), and size
arithmetic: a width of 2049 has no float16, so a crop computed from Shape would be off by a pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, defs, shape_inference

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.quantization.graph_edits import Wiring
from solutions.phase2_optimization.quantization.half_types import HalfType

KEEP_OPS = (
    "CumSum", "NonMaxSuppression", "Range", "ReduceL2", "ReduceLogSumExp", "ReduceProd", "ReduceSumSquare", "TopK",
)  # fmt: skip
_TYPED_BY_ATTRIBUTE = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "EyeLike", "Constant")
_WORST_DB = 40.0  # rounding alone leaves float16 about 73 dB and bfloat16 about 55: less means that values are lost
_HEADROOM = 2.0  # samples do not show the largest activation that will ever come


@dataclass(frozen=True, slots=True)
class HalfPlan:
    """What to convert.

    Attributes:
        floats: names of all float32 tensors of the main graph.
        converted: names of the nodes that compute in 16 bits.
        kept: name of each float node that stays in float32 -> why.
        lost_weights: weight -> share of its non-zero values that become 0 or infinite, for all where any does.
    """

    floats: frozenset[str]
    converted: tuple[str, ...]
    kept: Mapping[str, str]
    lost_weights: Mapping[str, float]


def plan_half(
    model: onnx.ModelProto,
    half: HalfType,
    *,
    keep_ops: Iterable[str] = KEEP_OPS,
    keep_nodes: Iterable[str] = (),
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> HalfPlan:
    """The plan for a prepared model (see `preparation.prepare`).

    Args:
        model: float32, nodes named.
        half: the 16-bit type.
        keep_ops: operators that stay in float32.
        keep_nodes: names of nodes that do.
        ranges: measured (low, high) of activations; nodes around one that the type cannot hold stay in float32.

    Raises:
        ConfigError: `keep_nodes` names a node that the model does not have.
    """
    graph = model.graph
    unknown = set(keep_nodes) - {node.name for node in graph.node}
    if unknown:
        raise ConfigError(f"the model has no node {sorted(unknown)[0]!r} to keep in float32: look its name up")
    floats, opaque = _float_tensors(model)
    sizes = _size_arithmetic(graph)
    wiring = Wiring(graph)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    bad = {name: why for name, span in (ranges or {}).items() if (why := _out_of_range(span, half))}
    lost: dict[str, float] = {}
    for name in wiring.constants & floats:
        share, why = _damage(wiring.value(name), half)
        if share:
            lost[name] = share
        if why:
            bad[name] = f"weight {name} {why}"
    sizes &= floats
    keep_ops, keep_nodes = set(keep_ops), set(keep_nodes)
    kept: dict[str, str] = {}
    converted: list[str] = []
    for node in graph.node:
        tensors = [*node.input, *node.output]
        if not any(name in floats for name in tensors) and not any(name in opaque for name in tensors):
            continue  # integers only
        reason = (
            "asked for" if node.name in keep_nodes
            else f"{node.op_type} needs float32 precision" if node.op_type in keep_ops
            else "computes sizes, which 16 bits would round" if sizes.intersection(node.output)
            else _forbidden(node, opset, half, opaque)
            or next((bad[name] for name in tensors if name in bad), "")
        )  # fmt: skip
        if reason:
            kept[node.name] = reason
        else:
            converted.append(node.name)
    return HalfPlan(frozenset(floats), tuple(converted), kept, lost)


def half_slots(node: NodeProto, opset: int, half: HalfType) -> tuple[list[bool], list[bool]]:
    """For each input and each output whether ONNX defines the operator with that type there."""
    schema = defs.get_schema(node.op_type, opset, node.domain)
    allowed = {item.type_param_str: item.allowed_type_strs for item in schema.type_constraints}

    def fits(formals: object, count: int) -> list[bool]:
        listed = list(formals)  # type: ignore[call-overload]
        found = []
        for place in range(count):
            formal = listed[min(place, len(listed) - 1)]  # the last one may be repeated
            found.append(half.tensor_type in allowed.get(formal.type_str, [formal.type_str]))
        return found

    return fits(schema.inputs, len(node.input)), fits(schema.outputs, len(node.output))


def _forbidden(node: NodeProto, opset: int, half: HalfType, opaque: frozenset[str]) -> str:
    if node.domain not in ("", "ai.onnx"):
        return f"{node.domain}.{node.op_type} is no standard operator"
    if any(item.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for item in node.attribute):
        return f"{node.op_type} holds a graph of its own"
    if node.op_type in _TYPED_BY_ATTRIBUTE:
        return f"{node.op_type} makes float32"
    if opaque.intersection([*node.input, *node.output]):
        return "it reads or makes something that is no tensor, or whose type is unknown"
    try:
        inputs, outputs = half_slots(node, opset, half)
    except defs.SchemaError:
        return f"{node.op_type} is unknown in opset {opset}"
    if not (outputs[:1] or [True])[0] or not (inputs[:1] or [True])[0]:
        return f"ONNX defines no {node.op_type} in {half.name}"
    return ""


def _float_tensors(model: onnx.ModelProto) -> tuple[set[str], frozenset[str]]:
    """Names of the float32 tensors, and of everything that is no tensor or of unknown type."""
    inferred = shape_inference.infer_shapes(model, check_type=False, strict_mode=False).graph
    floats = {tensor.name for tensor in inferred.initializer if tensor.data_type == TensorProto.FLOAT}
    known = {tensor.name for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        if value.type.WhichOneof("value") == "tensor_type" and value.type.tensor_type.elem_type:
            known.add(value.name)
            if value.type.tensor_type.elem_type == TensorProto.FLOAT:
                floats.add(value.name)
    opaque = {name for node in inferred.node for name in (*node.input, *node.output) if name} - known
    return floats, frozenset(opaque)


def _size_arithmetic(graph: onnx.GraphProto) -> frozenset[str]:
    """Tensors that are computed from shapes and constants alone."""
    constants = {tensor.name for tensor in graph.initializer} | {
        name for node in graph.node if node.op_type == "Constant" for name in node.output
    }
    sizes: set[str] = set()
    for node in graph.node:  # in topological order
        inputs = {name for name in node.input if name} - constants
        if node.op_type in ("Shape", "Size") or (inputs and inputs <= sizes):
            sizes.update(node.output)
    return frozenset(sizes)


def _out_of_range(span: tuple[float, float], half: HalfType) -> str:
    peak = max(abs(span[0]), abs(span[1]))
    if peak * _HEADROOM > half.largest:
        return f"activations reach {peak:.3g}, {half.name} ends at {half.largest:.3g}"
    if 0 < peak < half.smallest_normal:
        return f"activations stay below {peak:.3g}, where {half.name} loses precision"
    return ""


def _damage(weight: np.ndarray, half: HalfType) -> tuple[float, str]:
    """The share of non-zero values that become 0 or infinite, and what is wrong in words, "" for nothing."""
    finite = np.isfinite(weight)
    exact = weight[finite].astype(np.float64)
    nonzero = np.count_nonzero(exact)
    if not nonzero:
        return 0.0, ""
    rounded = half.round(weight)[finite].astype(np.float64)
    infinite = ~np.isfinite(rounded)
    lost = np.count_nonzero(infinite | ((rounded == 0) & (exact != 0))) / nonzero
    if infinite.any():
        return lost, f"reaches {np.abs(exact).max():.3g}, {half.name} ends at {half.largest:.3g}"
    noise = float(((rounded - exact) ** 2).sum())
    signal = float((exact**2).sum())
    if noise and 10 * np.log10(signal / noise) < _WORST_DB:
        return lost, f"keeps only {10 * np.log10(signal / noise):.0f} dB in {half.name}: its values are too small"
    return lost, ""
