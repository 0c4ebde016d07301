"""Dynamic INT8: weights become integers ahead of time, activations at run time, by the range of each very tensor.

No calibration, no data. Each call pays for finding that range, so it is worth it where weights dominate: MatMul and
Gemm (linear layers, attention's projections) and LSTM. The table of an embedding (Gather) is stored in int8 too, with a
scale per row, and only rows that are looked up become floats again: that saves memory, not time. A convolution does too
little work per activation: ONNX Runtime's ConvInteger is slower than float, so it is left to static quantization.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.quantization.affine import QuantParams, choose_params, quantize, weight_params
from solutions.phase2_optimization.quantization.graph_edits import (
    Wiring,
    attribute,
    drop_unused,
    fresh_name,
    set_constant,
    sort_nodes,
    tensor_names,
)
from solutions.phase2_optimization.quantization.preparation import prepare
from solutions.phase2_optimization.quantization.saving import save_model
from solutions.phase2_optimization.quantization.static import needs_reduced_range

OPS = ("MatMul", "Gemm", "LSTM", "Gather")
_CONTRIB = "com.microsoft"
_WEIGHTS = {"LSTM": slice(1, 3), "Gather": slice(0, 1)}  # which inputs; of all others the second


@dataclass(frozen=True, slots=True)
class DynamicConfig:
    """What to quantize.

    Attributes:
        ops: of MatMul, Gemm, LSTM and Gather.
        keep_float: names of nodes that stay in float.
        per_channel: one weight scale per output channel; as fast, and more accurate.
        reduce_range: 7-bit weights, for x86 processors without VNNI, whose 16-bit sums saturate; None looks.
        min_weights: nodes with fewer weights stay in float: coding their input costs more than it saves.
    """

    ops: tuple[str, ...] = OPS
    keep_float: tuple[str, ...] = ()
    per_channel: bool = True
    reduce_range: bool | None = None
    min_weights: int = 1024

    def __post_init__(self) -> None:
        unknown = set(self.ops) - set(OPS)
        if unknown or not self.ops:
            raise ConfigError(f"dynamic quantization is for {', '.join(OPS)}, got {sorted(unknown) or 'none'}")


@dataclass(frozen=True, slots=True)
class DynamicReport:
    """Names of the nodes whose weights are integers, and name -> reason of those of the chosen kinds that stay."""

    quantized: tuple[str, ...]
    kept: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The names and reasons, ready for JSON."""
        return {"quantized": list(self.quantized), "kept_float": dict(self.kept)}


def quantize_dynamic(
    source: str | Path | onnx.ModelProto, out: str | Path, config: DynamicConfig = DynamicConfig()
) -> DynamicReport:
    """Write the dynamically quantized model to `out`, and say which nodes compute in integers.

    Raises:
        ModelLoadError: the model cannot be read, or is too large for one file.
        ConfigError: a node to keep that the model does not have, or nothing in it to quantize.
    """
    model, report = to_dynamic(source, config)
    if not report.quantized:
        why = next((f"{name}: {reason}" for name, reason in report.kept.items()), f"it has no {', '.join(config.ops)}")
        raise ConfigError(f"nothing to quantize dynamically ({why}): use the static method for convolutions")
    save_model(model, out)
    return report


def to_dynamic(
    source: str | Path | onnx.ModelProto, config: DynamicConfig = DynamicConfig()
) -> tuple[onnx.ModelProto, DynamicReport]:
    """The quantized model, not written, and the report; errors as of `quantize_dynamic`."""
    model = prepare(source)
    unknown = set(config.keep_float) - {node.name for node in model.graph.node}
    if unknown:
        raise ConfigError(f"the model has no node {sorted(unknown)[0]!r} to keep in float: look its name up")
    writer = _Writer(model.graph, config)
    quantized: list[str] = []
    kept: dict[str, str] = {}
    for node in [node for node in model.graph.node if node.op_type in config.ops and not writer.is_indexing(node)]:
        reason = "asked for" if node.name in config.keep_float else writer.refusal(node)
        if reason:
            kept[node.name] = reason
            continue
        quantized.append(node.name)
        writer.replace(node)
    if any(node.domain == _CONTRIB for node in model.graph.node) and not any(
        entry.domain == _CONTRIB for entry in model.opset_import
    ):
        model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))
    sort_nodes(model.graph)
    drop_unused(model.graph)
    return model, DynamicReport(tuple(quantized), kept)


class _Writer:
    """Replaces nodes of one graph. An input read by several nodes is coded once, a shared weight stored once."""

    def __init__(self, graph: onnx.GraphProto, config: DynamicConfig) -> None:
        self._graph, self._config = graph, config
        self._wiring = Wiring(graph)
        self._taken = tensor_names(graph)
        self._codes: dict[str, tuple[str, str, str]] = {}
        self._stored: dict[tuple[Any, ...], tuple[str, str, str]] = {}
        self._reduce = needs_reduced_range() if config.reduce_range is None else config.reduce_range

    def is_indexing(self, node: NodeProto) -> bool:
        """True for a Gather that looks up no rows of a stored float table: shapes and activations are indexed so."""
        if node.op_type != "Gather":
            return False
        table = self._wiring.value(node.input[0]) if node.input[0] in self._wiring.constants else None
        return table is None or table.dtype.kind != "f" or table.ndim != 2 or attribute(node, "axis", 0) != 0

    def refusal(self, node: NodeProto) -> str:
        """Why this node cannot be quantized, "" when it can."""
        weights = node.input[_WEIGHTS.get(node.op_type, slice(1, 2))]
        if not self._wiring.constants.issuperset(weights):
            return "both operands are activations" if node.op_type != "LSTM" else "its weights are no constants"
        arrays = [self._wiring.value(name) for name in weights]
        if any(array.dtype != np.float32 for array in arrays):
            return f"its weights are {arrays[0].dtype}, not float32"
        if any(array.ndim != (3 if node.op_type == "LSTM" else 2) for array in arrays):
            return f"its weight has {arrays[0].ndim} axes"
        if sum(array.size for array in arrays) < self._config.min_weights:
            return f"it has only {sum(array.size for array in arrays)} weights"
        if not all(np.isfinite(array).all() for array in arrays):
            return "its weights hold NaN or infinity"
        if node.op_type == "LSTM" and attribute(node, "layout", 0):
            return "ONNX Runtime's integer LSTM knows no batch-first layout"
        if node.op_type == "Gemm" and attribute(node, "transA", 0):
            return "its input is transposed"
        return ""

    def replace(self, node: NodeProto) -> None:
        """Put integer nodes in place of this one; its outputs keep their names."""
        {"LSTM": self._lstm, "Gather": self._rows}.get(node.op_type, self._product)(node)
        self._graph.node.remove(node)

    def _product(self, node: NodeProto) -> None:
        """input -> DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul by both scales [-> Add bias].

        The form that ONNX Runtime fuses into one node.
        """
        is_gemm = node.op_type == "Gemm"
        transposed = bool(is_gemm and attribute(node, "transB", 0))
        alpha = float(str(attribute(node, "alpha", 1.0))) if is_gemm else 1.0
        weight, scale, zero = self._weight(node.input[1], transposed, alpha)
        codes, input_scale, input_zero = self._coded(node.input[0])
        has_bias = is_gemm and len(node.input) > 2 and bool(node.input[2])
        product = self._node("MatMulInteger", [codes, weight, input_zero, zero], node.name)
        wide = self._node("Cast", [product], node.name, to=TensorProto.FLOAT)
        both = self._node("Mul", [input_scale, scale], f"{node.name}_scales")
        if not has_bias:
            self._node("Mul", [wide, both], node.name, output=node.output[0])
            return
        real = self._node("Mul", [wide, both], node.name)
        self._node("Add", [real, self._bias(node)], f"{node.name}_bias", output=node.output[0])

    def _lstm(self, node: NodeProto) -> None:
        weight, recurrent = (self._lstm_weight(name) for name in node.input[1:3])
        others = [*node.input[3:8], *[""] * (8 - max(3, len(node.input)))][:5]
        inputs = [node.input[0], weight[0], recurrent[0], *others, *weight[1:], *recurrent[1:]]
        new = helper.make_node("DynamicQuantizeLSTM", inputs, node.output, f"{node.name}_int8", domain=_CONTRIB)
        new.attribute.extend(item for item in node.attribute if item.name != "layout")
        self._graph.node.append(new)

    def _rows(self, node: NodeProto) -> None:
        """Gather the codes and their scales, and multiply."""
        key = (node.input[0], "Gather")
        if key not in self._stored:
            table = self._wiring.value(node.input[0])
            params = weight_params(table, axis=0 if self._config.per_channel else None)
            scale = params.scale.reshape(-1, 1) if self._config.per_channel else params.scale
            self._stored[key] = self._keep(node.input[0], quantize(table, params), scale, params)
        codes, scales, _ = self._stored[key]
        if self._config.per_channel:
            scales = self._node("Gather", [scales, node.input[1]], f"{node.name}_scales", axis=0)
        picked = self._node("Gather", [codes, node.input[1]], node.name, axis=0)
        wide = self._node("Cast", [picked], node.name, to=TensorProto.FLOAT)
        self._node("Mul", [wide, scales], node.name, output=node.output[0])

    def _weight(self, name: str, transposed: bool, alpha: float) -> tuple[str, str, str]:
        """Names of codes, scale and zero point of a weight [inputs, outputs]."""
        key = (name, transposed, alpha)
        if key not in self._stored:
            array = self._wiring.value(name) * np.float32(alpha)
            array = array.T if transposed else array
            axis = 1 if self._config.per_channel else None
            params = weight_params(array, axis=axis, reduce_range=self._reduce)
            self._stored[key] = self._keep(name, quantize(array, params), params.scale, params)
        return self._stored[key]

    def _lstm_weight(self, name: str) -> tuple[str, str, str]:
        """The same of a weight [directions, 4 * hidden, inputs], which the integer LSTM wants transposed."""
        key = (name, "LSTM")
        if key not in self._stored:
            array = self._wiring.value(name)
            rows = (
                array.reshape(array.shape[0], -1) if not self._config.per_channel else array.reshape(-1, array.shape[2])
            )
            params = choose_params(
                rows.min(1), rows.max(1), dtype="int8", symmetric=True, axis=0, reduce_range=self._reduce
            )
            codes = quantize(rows, params).reshape(array.shape).transpose(0, 2, 1)
            scale = params.scale.reshape(array.shape[:2] if self._config.per_channel else array.shape[:1])
            self._stored[key] = self._keep(name, codes, scale, params)
        return self._stored[key]

    def _keep(self, name: str, codes: np.ndarray, scale: np.ndarray, params: QuantParams) -> tuple[str, str, str]:
        names = [fresh_name(self._taken, f"{name}_{part}") for part in ("int8", "scale", "zero_point")]
        for label, array in zip(
            names, (codes, scale, params.zero_point.reshape(scale.shape).astype(np.int8)), strict=True
        ):
            set_constant(self._graph, label, array)
        return names[0], names[1], names[2]

    def _bias(self, node: NodeProto) -> str:
        """The name of Gemm's third operand, multiplied by beta."""
        beta = float(str(attribute(node, "beta", 1.0)))
        if beta == 1.0:
            return str(node.input[2])
        if node.input[2] in self._wiring.constants:
            name = fresh_name(self._taken, f"{node.input[2]}_times_beta")
            set_constant(self._graph, name, self._wiring.value(node.input[2]) * np.float32(beta))
            return name
        factor = fresh_name(self._taken, f"{node.name}_beta")
        set_constant(self._graph, factor, np.float32(beta))
        return self._node("Mul", [node.input[2], factor], f"{node.name}_beta")

    def _coded(self, name: str) -> tuple[str, str, str]:
        """Names of the uint8 codes of an activation, their scale and their zero point."""
        if name not in self._codes:
            parts = [fresh_name(self._taken, f"{name}_{part}") for part in ("uint8", "scale", "zero_point")]
            label = fresh_name(self._taken, f"DynamicQuantizeLinear_{name}")
            self._graph.node.append(helper.make_node("DynamicQuantizeLinear", [name], parts, label))
            self._codes[name] = (parts[0], parts[1], parts[2])
        return self._codes[name]

    def _node(self, op: str, inputs: Iterable[str], owner: str, *, output: str = "", **attributes: Any) -> str:
        output = output or fresh_name(self._taken, f"{owner}_{op}")
        label = fresh_name(self._taken, f"{owner}/{op}")
        self._graph.node.append(helper.make_node(op, list(inputs), [output], label, **attributes))
        return output
