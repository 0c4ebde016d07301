"""The ways to make a network smaller: 16 bits, 8 bits with each observer, dynamic, trained for it; per runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx

from benchmarks.comparison.rows import Way
from benchmarks.comparison.tasks import Task
from solutions.core.errors import BackendUnavailable, ConfigError
from solutions.core.measure.metrics import PairedRatio
from solutions.core.tensors import Model
from solutions.core.zoo.registry import embedded_names
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase1_basics.runtimes.openvino import OpenVinoModel, Precision
from solutions.phase2_optimization.qat.embedded import trained_int8
from solutions.phase2_optimization.quantization.dynamic import DynamicConfig, quantize_dynamic
from solutions.phase2_optimization.quantization.half import HalfConfig, convert_half
from solutions.phase2_optimization.quantization.observers import OBSERVERS
from solutions.phase2_optimization.quantization.saving import save_model
from solutions.phase2_optimization.quantization.static import StaticConfig, quantize_static

ORT, OPENVINO = "ONNX Runtime", "OpenVINO"

Made = tuple[Path, Model]
Opinion = Callable[[np.ndarray, np.ndarray, PairedRatio], str]


def all_ways(
    source: Path,
    name: str,
    task: Task,
    *,
    threads: int,
    train: bool = False,
    qat_steps: int | None = None,
    own: tuple[str, Callable[[], onnx.ModelProto], Opinion] | None = None,
) -> Iterator[Way]:
    """Every way, the float baseline of each runtime first.

    Args:
        source: the float ONNX file.
        name: of the model; those that come with the course can be trained for integers.
        task: for its calibration inputs.
        threads: per operator.
        train: do that training, where its result is not in the cache yet.
        qat_steps: of that training; None takes its own number.
        own: the name of a further way, what makes its ONNX graph, and what says more of it (the learner's).
    """

    def on_ort(path: Path) -> Made:
        return path, OnnxModel(path, device="cpu", threads=threads, spinning=False)

    def on_openvino(path: Path, precision: Precision = "f32") -> Made:
        return path, OpenVinoModel(path, device="cpu", threads=threads, precision=precision)

    def half(folder: Path) -> Made:
        out = folder / "fp16.onnx"
        convert_half(source, out, HalfConfig("float16"), task.calibration or None)
        return on_ort(out)

    def static(target: str, observer: str) -> Callable[[Path], Made]:
        def make(folder: Path) -> Made:
            _needs_samples(task.calibration)
            out = folder / f"int8-{target}-{observer}.onnx"
            config = StaticConfig(target, observer, max_samples=len(task.calibration))
            quantize_static(source, out, task.calibration, config)
            return on_ort(out) if target == "onnxruntime" else on_openvino(out)

        return make

    def dynamic(folder: Path) -> Made:
        out = folder / "int8-dynamic.onnx"
        # what the method leaves in float by itself is shown here, with what it costs
        quantize_dynamic(source, out, DynamicConfig(min_weights=1))
        return on_ort(out)

    def trained(_: Path) -> Made:
        return on_ort(_trained_file(name, train, qat_steps))

    def written(folder: Path) -> Made:
        if own is None:
            raise ConfigError("there is no way of one's own")
        return on_ort(save_model(own[1](), folder / "own.onnx"))

    yield Way("fp32", ORT, lambda _: on_ort(source))
    yield Way("fp16", ORT, half)
    yield Way("bf16", ORT, _no_bf16)
    for observer in OBSERVERS:
        yield Way(f"int8 static, {observer}", ORT, static("onnxruntime", observer))
    yield Way("int8 dynamic", ORT, dynamic)
    yield Way("int8 QAT", ORT, trained)
    if own is not None:
        yield Way(own[0], ORT, written, own[2])
    yield Way("fp32", OPENVINO, lambda _: on_openvino(source))
    yield Way("bf16", OPENVINO, lambda _: on_openvino(source, "bf16"))
    yield Way("int8 static, entropy", OPENVINO, static("openvino", "entropy"))


def _needs_samples(samples: Sequence[object]) -> None:
    if not samples:
        raise ConfigError("static int8 needs samples to calibrate with: --data FOLDER")


def _no_bf16(_: Path) -> Made:
    raise BackendUnavailable("ONNX Runtime's CPU does not compute bfloat16; see OpenVINO's row")


def _trained_file(name: str, train: bool, steps: int | None) -> Path:
    if name not in embedded_names():
        raise ConfigError(f"training for integers needs a trainable module and its data: {', '.join(embedded_names())}")
    if not train:
        raise ConfigError("left out: --qat trains it, which takes some six minutes on one core the first time")
    return trained_int8(name, steps=steps)
