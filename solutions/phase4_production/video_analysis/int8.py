"""Smaller numbers for a detector's ONNX file: static int8 by ONNX Runtime, and float16.

Static quantization stores weights in 8 bits and fixes the range of every activation in advance from a few dozen real
pictures. For detectors two things decide what is left of the accuracy, both measured on YOLOX-nano:

- Clipping. One rare outlier would stretch a range until everything else falls into a handful of codes. Clipping at the
  99.9th percentile keeps the ranking of boxes (AP50 falls by 0.7 points) but presses scores down, and a tracker with
  fixed thresholds loses people: MOTA falls from 78 to 58. Ranges by entropy (KL divergence) keep the scores: MOTA 77.
- The last layers. Box distances and class scores meet in one output; a common scale for both ruins the scores. The
  prediction convolutions and all that follows them stay in float; they are a small part of the work.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
from onnx import version_converter

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.hardware.profile import detect
from solutions.core.zoo.registry import cache_folder
from solutions.phase1_basics.runtimes.onnx import OnnxModel, read_checked
from solutions.phase4_production.video_analysis.derived import derived_model

_OPSET = 17  # per-channel QDQ needs 13; 17 is what ONNX Runtime's quantizer is exercised with most
_RECIPE = 2  # part of the cache key: raise it when the way of quantizing changes
_METHODS = ("percentile", "entropy", "minmax")
_STDOUT_TURN = threading.Lock()  # redirecting stdout is process-wide and must not interleave


@dataclass(frozen=True, slots=True)
class Int8Settings:
    """How activations get their ranges, and what stays in float.

    Attributes:
        method: "percentile", "entropy" or "minmax" of the calibration pictures.
        percentile: share of values, in percent, that the range covers; for "percentile".
        float_tail: keep the last convolutions and all after them in float.
        keep_float: names of further nodes to keep in float.
        max_images: pictures used at most; 20 to 50 are enough, and time grows with them (YOLOX-nano: 1 s each).
        reduce_range: 7-bit weights, which CPUs without VNNI need because their 16-bit sums saturate; None looks.
    """

    method: str = "entropy"
    percentile: float = 99.9
    float_tail: bool = True
    keep_float: tuple[str, ...] = ()
    max_images: int = 40
    reduce_range: bool | None = None

    def __post_init__(self) -> None:
        if self.method not in _METHODS:
            raise ConfigError(f"method must be one of {', '.join(_METHODS)}, got {self.method}")
        if not 50 < self.percentile <= 100:
            raise ConfigError(f"percentile must lie in (50, 100], got {self.percentile}")
        if self.max_images < 1:
            raise ConfigError(f"max_images must be at least 1, got {self.max_images}")


def quantize_int8(
    model_path: str | Path,
    calibration: Iterable[np.ndarray],
    cache_dir: str | Path | None = None,
    settings: Int8Settings = Int8Settings(),
    *,
    preprocess: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Path:
    """The int8 file of a model with one input: QDQ, U8 activations, S8 weights per channel, metadata kept.

    The file is cached under model, pictures, settings and ONNX Runtime's version; the same call again only looks it up.
    It is written whole or not at all, and two processes may make it at once. Whether it is faster and accurate enough
    is for `choose_precision` to measure.

    Args:
        model_path: a float32 ONNX file.
        calibration: arrays as the model takes them, or anything that `preprocess` turns into such; pictures of the
            kind the detector will see. Only the first `max_images` are taken.
        cache_dir: default `int8` in the course's cache folder.
        settings: ranges and exceptions.
        preprocess: e.g. `lambda frame: detector.preprocess(frame).blob`.

    Raises:
        ConfigError: no calibration picture, or one that does not fit; the folder cannot be written.
        ModelLoadError: the model cannot be read or quantized.
    """
    source = Path(model_path)
    read_checked(source)
    model = onnx.load(source)
    _input_name(model)
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise ModelLoadError(f"{source} is quantized already: start from the float32 file.")
    blobs = [preprocess(item) if preprocess else item for item in islice(calibration, settings.max_images)]
    if not blobs:
        raise ConfigError("int8 calibration needs at least one picture, got none")
    if settings.reduce_range is None:
        profile = detect()
        saturates = profile.machine in ("x86_64", "AMD64") and not profile.has("VNNI")
        settings = replace(settings, reduce_range=saturates)
    return derived_model(
        source,
        model,
        "int8",
        Path(cache_dir) if cache_dir is not None else cache_folder() / "int8",
        parts=(f"{_RECIPE}{settings}".encode(), *(np.ascontiguousarray(blob).tobytes() for blob in blobs)),
        make=lambda target: _quantize(model, blobs, settings, target),
    )


def convert_fp16(model_path: str | Path, cache_dir: str | Path | None = None) -> Path:
    """The model with float16 weights and arithmetic, inputs and outputs still float32; half the size.

    Made for GPUs and accelerators. On a CPU ONNX Runtime casts everything back to float32: no gain in speed.

    Raises:
        ModelLoadError: the model cannot be read or converted.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    source = Path(model_path)
    read_checked(source)
    model = onnx.load(source)  # the converter changes it

    def make(target: Path) -> None:
        try:
            converted = convert_float_to_float16(model, keep_io_types=True)
            # A constant that two nodes share gets its cast to float32 twice, under the same name.
            unlike = {node.SerializeToString(): node for node in converted.graph.node}
            del converted.graph.node[:]
            converted.graph.node.extend(unlike.values())
            onnx.save(converted, target)
            OnnxModel(target, device="cpu", threads=1).close()
        except Exception as error:  # the converter raises whatever it meets
            raise ModelLoadError(f"{source} cannot be converted to float16: {_reason(error)}") from error

    folder = Path(cache_dir) if cache_dir is not None else cache_folder() / "fp16"
    return derived_model(source, model, "fp16", folder, parts=(f"{_RECIPE}".encode(),), make=make)


def tail_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the last convolutions (or Gemm, MatMul) on every way to an output, and of all nodes after them."""
    makers = {output: node for node in model.graph.node for output in node.output}
    found: list[str] = []
    waiting = [output.name for output in model.graph.output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.name in found:
            continue
        found.append(node.name)
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            waiting.extend(node.input)
    return found


def _quantize(model: onnx.ModelProto, blobs: list[np.ndarray], settings: Int8Settings, target: Path) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quant_pre_process, quantize_static

    facts = {entry.key: entry.value for entry in model.metadata_props}
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    method = {"percentile": "Percentile", "entropy": "Entropy", "minmax": "MinMax"}[settings.method]
    # A stride of 1 keeps the activations of one picture in memory at a time, in spite of its name with every method.
    options: dict[str, float] = {"CalibStridedMinMax": 1}
    if settings.method == "percentile":
        options["CalibPercentile"] = settings.percentile
    # The quantizer takes models in memory too, but then spills their weights into files that its own loader refuses.
    source, prepared = target.with_name("source.onnx"), target.with_name("prepared.onnx")
    try:
        with _quiet():
            if opset < _OPSET:
                model = version_converter.convert_version(model, _OPSET)
            onnx.save(model, source)
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            model = onnx.load(prepared)
            for number, node in enumerate(model.graph.node):
                node.name = node.name or f"{node.op_type}_{number}"
            onnx.save(model, prepared)
            quantize_static(
                prepared,
                target,
                _Reader(_input_name(model), blobs),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=bool(settings.reduce_range),
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[*settings.keep_float, *(tail_nodes(model) if settings.float_tail else ())],
                calibrate_method=CalibrationMethod[method],
                extra_options=options,
            )
        quantized = onnx.load(target)
        del quantized.metadata_props[:]
        onnx.helper.set_model_props(quantized, facts)
        onnx.save(quantized, target)
    except Exception as error:
        raise ModelLoadError(f"the model cannot be quantized to int8: {_reason(error)}") from error


def _input_name(model: onnx.ModelProto) -> str:
    stored = {initializer.name for initializer in model.graph.initializer}  # old exporters list these as inputs too
    names: list[str] = [value.name for value in model.graph.input if value.name not in stored]
    if len(names) != 1:
        raise ModelLoadError(f"the model has {len(names)} inputs; only models with one can be calibrated here.")
    return names[0]


class _Reader:
    """Calibration data as ONNX Runtime asks for it: a window of the blobs, one after another, then None."""

    def __init__(self, name: str, blobs: list[np.ndarray]) -> None:
        self._name, self._blobs = name, blobs
        self._rest: Iterator[np.ndarray] = iter(blobs)

    def __len__(self) -> int:
        return len(self._blobs)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Begin a window."""
        self._rest = iter(self._blobs[start_index:end_index])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next feeds, or None at the end of the window."""
        blob = next(self._rest, None)
        return None if blob is None else {self._name: blob}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime's quantizer from printing a line per picture; one thread at a time."""
    with _STDOUT_TURN, contextlib.redirect_stdout(io.StringIO()):
        level = logging.root.level
        logging.root.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logging.root.setLevel(level)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
