"""One model quantized in part: give the layers to keep in float, get the model. Calibration happens once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import onnx

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.quantization.bias_correction import correct_bias
from solutions.phase2_optimization.quantization.dynamic import DynamicConfig, to_dynamic
from solutions.phase2_optimization.quantization.equalisation import equalise
from solutions.phase2_optimization.quantization.half import HalfConfig, to_half
from solutions.phase2_optimization.quantization.preparation import prepare
from solutions.phase2_optimization.quantization.qdq_graph import insert_qdq
from solutions.phase2_optimization.quantization.qdq_scheme import SCHEMES
from solutions.phase2_optimization.quantization.rewrites import rewrite_for_integers
from solutions.phase2_optimization.quantization.running import Feeds
from solutions.phase2_optimization.quantization.static import (
    calibrated_ranges,
    needs_reduced_range,
    plan_model,
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
        reduce = needs_reduced_range() if config.reduce_range is None else config.reduce_range
        self._config = replace(config, reduce_range=reduce)
        self._scheme = replace(SCHEMES[config.target], per_channel=config.per_channel, reduce_range=bool(reduce))
        self._model = prepare(source)
        if config.rewrite:
            rewrite_for_integers(self._model, channels_last=config.target == "onnxruntime")
        if config.equalise:
            equalise(self._model)
        plan = plan_model(self._model, self._config)
        if not plan.weighted:
            raise ConfigError(f"{source} has no Conv, MatMul or Gemm to quantize: keep it in float")
        if config.correct_bias:
            scheme = self._scheme
            correct_bias(
                self._model, plan.weighted, self._feeds[:16],
                per_channel=scheme.per_channel, reduce_range=scheme.reduce_range, threads=config.threads,
            )  # fmt: skip
        self.layers = plan.weighted
        self._ranges = self._measured(plan.tensors)

    def build(self, keep: Collection[str] = ()) -> onnx.ModelProto:
        """As `Variants.build`."""
        config = replace(self._config, keep_float=(*self._config.keep_float, *keep))
        plan = plan_model(self._model, config)
        # A layer in float may lay bare a tensor that was fused away before.
        missing = [name for name in plan.tensors if name not in self._ranges]
        if missing:
            self._ranges |= self._measured(missing)
        return insert_qdq(self._model, plan, self._ranges, self._scheme)

    def _measured(self, tensors: Collection[str]) -> dict[str, tuple[float, float]]:
        return calibrated_ranges(self._model, tensors, self._feeds, self._config)


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
