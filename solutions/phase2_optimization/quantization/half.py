"""FP16 and BF16: a float32 ONNX graph with weights and arithmetic in 16 bits, and casts where it must stay in 32.

The file is half as large. Speed comes only where the hardware computes in that type: GPUs and NPUs do; on x86 CPUs ONNX
Runtime has few float16 kernels and wraps the rest in casts, and it has no bfloat16 kernels for networks at all: such a
file is for TensorRT, CUDA or OpenVINO. OpenVINO computes in bfloat16 without any conversion when the CPU can
(INFERENCE_PRECISION_HINT), so on a CPU give it the float32 file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from solutions.phase2_optimization.quantization.calibration import collect_ranges
from solutions.phase2_optimization.quantization.graph_edits import (
    drop_unused,
    fresh_name,
    reads,
    redirect,
    sort_nodes,
    tensor_names,
)
from solutions.phase2_optimization.quantization.half_plan import KEEP_OPS, HalfPlan, half_slots, plan_half
from solutions.phase2_optimization.quantization.half_types import HalfType, half_type
from solutions.phase2_optimization.quantization.preparation import prepare, raise_opset
from solutions.phase2_optimization.quantization.saving import save_model


@dataclass(frozen=True, slots=True)
class HalfConfig:
    """How to convert.

    Attributes:
        dtype: "float16" or "bfloat16".
        keep_ops: operators that stay in float32.
        keep_nodes: names of nodes that do.
        half_io: inputs and outputs in 16 bits, too. It saves the casts and half of the transfer to a GPU, but every
            caller has to feed and read that type.
    """

    dtype: str = "float16"
    keep_ops: tuple[str, ...] = KEEP_OPS
    keep_nodes: tuple[str, ...] = ()
    half_io: bool = False


@dataclass(frozen=True, slots=True)
class HalfReport:
    """What became of the graph.

    Attributes:
        dtype: the 16-bit type.
        converted: names of nodes that compute in it.
        kept: name of each node left in float32 -> why.
        casts: Cast nodes added at the borders.
        lost_weights: weight -> share of its non-zero values that the type cannot hold (0 or infinite in it).
        activations_checked: whether ranges were measured, or only weights looked at.
    """

    dtype: str
    converted: tuple[str, ...]
    kept: Mapping[str, str]
    casts: int
    lost_weights: Mapping[str, float]
    activations_checked: bool

    def as_dict(self) -> dict[str, Any]:
        """The figures and reasons, ready for JSON."""
        return {
            "dtype": self.dtype,
            "converted_nodes": len(self.converted),
            "kept_float": dict(self.kept),
            "casts": self.casts,
            "lost_weights": dict(self.lost_weights),
            "activations_checked": self.activations_checked,
        }


def convert_half(
    source: str | Path | onnx.ModelProto,
    out: str | Path,
    config: HalfConfig = HalfConfig(),
    feeds: Iterable[Mapping[str, np.ndarray]] | None = None,
) -> HalfReport:
    """Write the 16-bit model to `out`, and say what was converted and what was kept.

    Args:
        source: a float32 model.
        out: the file to write.
        config: type and exceptions.
        feeds: calibration samples. With them, nodes whose activations would overflow or vanish stay in float32.

    Raises:
        ModelLoadError: the model cannot be read or converted.
        ConfigError: an unknown type or node, or samples that do not fit.
    """
    model, report = to_half(source, config, feeds)
    save_model(model, out)
    return report


def to_half(
    source: str | Path | onnx.ModelProto,
    config: HalfConfig = HalfConfig(),
    feeds: Iterable[Mapping[str, np.ndarray]] | None = None,
) -> tuple[onnx.ModelProto, HalfReport]:
    """The 16-bit model, not written, and the report; as `convert_half`."""
    half = half_type(config.dtype)
    model = raise_opset(prepare(source), half.opset)  # the first that defines its operators for this type
    ranges = None
    if feeds is not None:
        floats = plan_half(model, half).floats
        made = [name for node in model.graph.node for name in node.output if name in floats]
        ranges = collect_ranges(model, made, feeds)
    plan = plan_half(model, half, keep_ops=config.keep_ops, keep_nodes=config.keep_nodes, ranges=ranges)
    casts = _Converter(model, half, plan, config.half_io).run()
    return model, HalfReport(half.name, plan.converted, plan.kept, casts, plan.lost_weights, ranges is not None)


class _Converter:
    """Rewrites one model in place. A tensor has up to two forms, "full" and "half", and a Cast where both are read."""

    def __init__(self, model: onnx.ModelProto, half: HalfType, plan: HalfPlan, half_io: bool) -> None:
        self._graph, self._half, self._plan, self._half_io = model.graph, half, plan, half_io
        self._opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        self._taken = tensor_names(model.graph)
        self._ports = {value.name for value in (*model.graph.input, *model.graph.output)}
        self._names: dict[tuple[str, bool], str] = {}
        self._made: dict[str, bool] = {}  # tensor -> whether its maker gives the 16-bit form
        self._wanted: dict[tuple[str, bool], None] = {}

    def run(self) -> int:
        """The number of casts added."""
        graph, floats = self._graph, self._plan.floats
        converted = set(self._plan.converted)
        for value in graph.input:
            if value.name in floats:
                self._made[value.name] = self._half_io
        for node in graph.node:
            self._convert_node(node, node.name in converted)
        for value in (*graph.input, *graph.output):
            if value.name in floats and self._half_io:
                value.type.tensor_type.elem_type = self._half.elem_type
        for value in graph.output:
            if value.name in floats:
                self._wanted[(value.name, self._half_io)] = None
        del graph.value_info[:]  # it tells the old types
        casts = self._supply()
        sort_nodes(graph)
        drop_unused(graph)
        return casts

    def _form(self, name: str, is_half: bool) -> str:
        """The name of one form of a tensor; inputs and outputs keep theirs in the type that the caller sees."""
        key = (name, is_half)
        if key not in self._names:
            own = is_half == (self._half_io and name in self._ports)
            suffix = self._half.name if is_half else "float32"
            self._names[key] = name if own else fresh_name(self._taken, f"{name}_{suffix}")
        return self._names[key]

    def _convert_node(self, node: NodeProto, is_half: bool) -> None:
        floats = self._plan.floats
        inputs, outputs = half_slots(node, self._opset, self._half) if is_half else ([], [])
        if is_half:
            self._retype(node)
        else:
            outside = {name for name in reads(node) if name in floats} - set(node.input)
            for name in outside:
                self._wanted[(name, False)] = None
            _redirect_bodies(node, {name: self._form(name, False) for name in outside})
        for place, name in enumerate(node.input):
            if name in floats:
                want = is_half and inputs[place]
                if node.op_type == "Cast" and name in self._made:
                    want = self._made[name]  # a cast reads whatever is there
                self._wanted[(name, want)] = None
                node.input[place] = self._form(name, want)
        for place, name in enumerate(node.output):
            if name in floats:
                self._made[name] = is_half and outputs[place]
                node.output[place] = self._form(name, self._made[name])

    def _retype(self, node: NodeProto) -> None:
        """Attributes that say float32 say the 16-bit type from now on."""
        for item in node.attribute:
            if node.op_type == "Cast" and item.name == "to" and item.i == TensorProto.FLOAT:
                item.i = self._half.elem_type
            if node.op_type == "ConstantOfShape" and item.name == "value" and item.t.data_type == TensorProto.FLOAT:
                item.t.CopyFrom(self._stored(item.t, item.t.name))

    def _supply(self) -> int:
        """Provide every form that is read and not made: stored again for constants, by a Cast for the others."""
        held = {tensor.name: tensor for tensor in self._graph.initializer}
        casts = 0
        for name, is_half in self._wanted:
            form = self._form(name, is_half)
            if name in held:
                if is_half:
                    self._graph.initializer.append(self._stored(held[name], form))
                elif form != name:  # the output's own name belongs to the other form
                    self._graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(held[name]), form))
            elif self._made.get(name, False) != is_half:
                kind = self._half.elem_type if is_half else TensorProto.FLOAT
                source = self._form(name, not is_half)
                label = f"Cast_{form}"
                self._graph.node.append(helper.make_node("Cast", [source], [form], name=label, to=kind))
                casts += 1
        return casts

    def _stored(self, tensor: TensorProto, name: str) -> TensorProto:
        return numpy_helper.from_array(self._half.round(numpy_helper.to_array(tensor)), name)


def _redirect_bodies(node: NodeProto, names: Mapping[str, str]) -> None:
    for item in node.attribute:
        for body in [item.g] if item.type == onnx.AttributeProto.GRAPH else list(item.graphs):
            redirect(body.node, names)
            for inner in body.node:
                _redirect_bodies(inner, names)
