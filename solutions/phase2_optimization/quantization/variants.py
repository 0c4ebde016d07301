"""One model quantized in part: give the layers to keep in float, get the model. Calibration happens once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import onnx

from solutions.phase2_optimization.quantization.dynamic import DynamicConfig, to_dynamic
from solutions.phase2_optimization.quantization.half import HalfConfig, to_half
from solutions.phase2_optimization.quantization.preparation import prepare
from solutions.phase2_optimization.quantization.qdq_graph import insert_qdq
from solutions.phase2_optimization.quantization.running import Feeds
from solutions.phase2_optimization.quantization.static import (
    FIRST_SAMPLES,
    calibrated_ranges,
    draft_static,
    plan_model,
    spare_drowned,
)
from solutions.phase2_optimization.quantization.static_config import StaticConfig


class Variants(Protocol):
    """What sensitivity analysis and the gate need of a quantization method."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that may be kept in float; empty where the method has no choice."""

    def build(self, keep: Collection[str] = ()) -> onnx.ModelProto:
        """The model with all layers quantized but those in `keep`."""


class StaticVariants:
    """Static INT8, by the steps of `static.quantize_static`.

    Args:
        source: a float32 model.
        feeds: calibration samples; read again when a variant needs the range of one more tensor.
        config: the choices; its keep_float stays in float in every variant.

    Raises:
        ModelLoadError, ConfigError: as `quantize_static`.
    """

    def __init__(self, source: str | Path, feeds: Sequence[Feeds], config: StaticConfig) -> None:
        self._feeds = list(feeds[: config.max_samples])
        first = self._feeds[:FIRST_SAMPLES]
        self._draft = draft_static(source, config, first)
        self._ranges = self._measured(self._draft.plan.tensors)
        self._draft = spare_drowned(self._draft, self._ranges, first)
        self.layers = self._draft.plan.weighted

    def build(self, keep: Collection[str] = ()) -> onnx.ModelProto:
        """As `Variants.build`."""
        draft = self._draft
        plan = plan_model(draft.model, replace(draft.config, keep_float=(*draft.config.keep_float, *keep)))
        # A layer in float may lay bare a tensor that was fused away before.
        missing = [name for name in plan.tensors if name not in self._ranges]
        if missing:
            self._ranges |= self._measured(missing)
        return insert_qdq(draft.model, plan, self._ranges, draft.scheme)

    def _measured(self, tensors: Collection[str]) -> dict[str, tuple[float, float]]:
        return calibrated_ranges(self._draft.model, tensors, self._feeds, self._draft.config)


class DynamicVariants:
    """Dynamic INT8; the arguments and errors are those of `dynamic.to_dynamic`."""

    def __init__(self, source: str | Path | onnx.ModelProto, config: DynamicConfig) -> None:
        self._source, self._config = source, config
        self.layers = to_dynamic(source, config)[1].quantized

    def build(self, keep: Collection[str] = ()) -> onnx.ModelProto:
        """As `Variants.build`."""
        config = replace(self._config, keep_float=(*self._config.keep_float, *keep))
        return to_dynamic(self._source, config)[0]


class HalfVariants:
    """FP16 or BF16: its layers are those with weights; arguments and errors are those of `half.to_half`."""

    def __init__(self, source: str | Path | onnx.ModelProto, feeds: Sequence[Feeds], config: HalfConfig) -> None:
        self._source, self._feeds, self._config = source, feeds, config
        weighted = ("Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU")
        kinds = {node.name: node.op_type for node in prepare(source).graph.node}
        converted = to_half(source, config, feeds or None)[1].converted
        self.layers = tuple(name for name in converted if kinds.get(name) in weighted)

    def build(self, keep: Collection[str] = ()) -> onnx.ModelProto:
        """As `Variants.build`."""
        config = replace(self._config, keep_nodes=(*self._config.keep_nodes, *keep))
        return to_half(self._source, config, self._feeds or None)[0]
