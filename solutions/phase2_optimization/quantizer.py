"""Quantize a model: smaller numbers, and the measurement that says whether they were worth it.

    python solutions/phase2_optimization/quantizer.py --model resnet18.onnx --method static --calibration pictures \\
        --max-drop 0.01 --min-speedup 1.2 --out resnet18-int8.onnx
    python solutions/phase2_optimization/quantizer.py --model model.onnx --method fp16 --out model-fp16.onnx
    python solutions/phase2_optimization/quantizer.py --model street-small --method qat --out street-small-qat.onnx

Every method gives `Variants`: the model with any set of layers left in float. The gate rolls the most sensitive layers
back until the score is within the bound, and refuses what is not faster and good enough: that is not written.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from solutions.core.errors import ConfigError
from solutions.core.scripts import EXIT_FAILED, EXIT_OK, run, write_json
from solutions.phase1_basics.model_loader import load_model, locate
from solutions.phase1_basics.prediction.preprocessing import PIXEL_FORMATS
from solutions.phase1_basics.runtimes.onnx import read_checked
from solutions.phase2_optimization.quantization.dynamic import DynamicConfig
from solutions.phase2_optimization.quantization.gate import GateConfig, GateReport, run_gate
from solutions.phase2_optimization.quantization.half import HalfConfig
from solutions.phase2_optimization.quantization.observers import OBSERVERS
from solutions.phase2_optimization.quantization.qdq_scheme import SCHEMES
from solutions.phase2_optimization.quantization.running import Feeds
from solutions.phase2_optimization.quantization.samples import folder_samples, halves
from solutions.phase2_optimization.quantization.saving import save_model
from solutions.phase2_optimization.quantization.static_config import StaticConfig
from solutions.phase2_optimization.quantization.variants import (
    DynamicVariants,
    HalfVariants,
    StaticVariants,
    Variants,
)

METHODS = ("static", "dynamic", "fp16", "bf16", "qat")
_HALF = {"fp16": "float16", "bf16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class QuantizerConfig:
    """What to make.

    Attributes:
        method: "static", "dynamic", "fp16", "bf16" or "qat" (int8 by training, for the embedded models).
        target: the runtime that static int8 is for: "onnxruntime", "openvino" or "tensorrt".
        observer: how static int8 finds ranges.
        keep_float: names of nodes that stay in float.
        half_io: 16-bit inputs and outputs, for fp16 and bf16.
        gate: the bounds; None writes the model whatever it is worth.
    """

    method: str = "static"
    target: str = "onnxruntime"
    observer: str = "entropy"
    keep_float: tuple[str, ...] = ()
    half_io: bool = False
    gate: GateConfig | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {self.method}")
        if self.method == "qat" and (self.target != "onnxruntime" or self.keep_float):
            raise ConfigError(
                "qat gives the embedded models for ONNX Runtime with all layers in int8: for anything else call "
                "prepare_qat with another QatConfig (solutions.phase2_optimization.qat.prepare)"
            )
        if self.half_io and self.method not in _HALF:
            raise ConfigError(f"16-bit inputs and outputs go with fp16 and bf16, not with {self.method}")
        if self.gate and (self.method == "bf16" or self.half_io or self.target == "tensorrt"):
            raise ConfigError(
                "the gate measures on ONNX Runtime's CPU with the inputs of the float model, which runs neither bf16 "
                "nor 16-bit inputs nor TensorRT's form: leave out --max-drop and --min-speedup, and measure there"
            )


@dataclass(frozen=True, slots=True)
class QuantizerReport:
    """What came of it: `out` is None when the gate refused; sizes in bytes, `seconds` from start to end."""

    method: str
    out: Path | None
    bytes_before: int
    bytes_after: int
    layers: int
    gate: GateReport | None
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {
            "schema": "ml-inference/quantizer/1",
            "method": self.method,
            "out": str(self.out) if self.out else None,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "layers": self.layers,
            "gate": self.gate.as_dict() if self.gate else None,
            "seconds": self.seconds,
        }


def quantize_model(
    source: str | Path, out: str | Path, samples: Sequence[Feeds] = (), config: QuantizerConfig = QuantizerConfig()
) -> QuantizerReport:
    """Quantize, judge, write.

    Args:
        source: a float32 ONNX file.
        out: the file to write.
        samples: like what the model will see. With a gate half of them calibrate and the other half judge. Static int8
            and every gate need them; fp16 checks its activations with them.
        config: method and bounds.

    Raises:
        ModelLoadError, ConfigError: the model, the samples or the settings cannot be used.
    """
    start_s = time.perf_counter()
    source = Path(source)
    read_checked(source)
    calibration: Sequence[Feeds] = samples
    judged: Sequence[Feeds] = ()
    if config.gate:
        calibration, judged = halves(samples)
    variants = make_variants(source, calibration, config)
    model: onnx.ModelProto | None
    if config.gate:
        model, verdict = run_gate(onnx.load(source), variants, judged, config.gate)
    else:
        model, verdict = variants.build(), None
    written = save_model(model, out) if model is not None else None
    return QuantizerReport(
        config.method,
        written,
        source.stat().st_size,
        written.stat().st_size if written else 0,
        len(variants.layers),
        verdict,
        time.perf_counter() - start_s,
    )


def make_variants(source: Path, samples: Sequence[Feeds], config: QuantizerConfig) -> Variants:
    """The model's variants by the configured method.

    Raises:
        ConfigError: static int8 without samples, or as the method's own configuration.
    """
    if config.method == "dynamic":
        return DynamicVariants(source, DynamicConfig(keep_float=config.keep_float))
    if config.method == "qat":
        from solutions.phase2_optimization.qat.embedded import TrainedVariants  # torch takes seconds to import

        return TrainedVariants(source)
    if config.method in _HALF:
        half = HalfConfig(_HALF[config.method], keep_nodes=config.keep_float, half_io=config.half_io)
        return HalfVariants(source, samples, half)
    if not samples:
        raise ConfigError("static int8 needs samples to calibrate with: --calibration FOLDER, or --method dynamic")
    static = StaticConfig(config.target, config.observer, max_samples=len(samples), keep_float=config.keep_float)
    return StaticVariants(source, samples, static)


def render(report: QuantizerReport) -> None:
    """Print what came of it."""
    if report.gate:
        for count, drop in report.gate.steps:
            print(f"  {count:3} of {report.layers} layers in float: the score falls by {drop}")
        for name, why in report.gate.kept.items():
            print(f"  float: {name}: {why}")
        print(report.gate.reason)
    if report.out:
        share = report.bytes_after / report.bytes_before
        sizes = f"{report.bytes_before / 1e6:.2f} -> {report.bytes_after / 1e6:.2f} MB, {share:.0%}"
        print(f"{report.out}: {report.method}, {sizes}, {report.seconds:.1f} s")
    if report.out and report.method == "bf16":
        print("ONNX Runtime's CPU does not compute bfloat16: this file is for CUDA, TensorRT or OpenVINO.")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Quantize a model and measure whether it was worth it.")
    parser.add_argument("--model", required=True, help="a float32 ONNX file or the name of a zoo model")
    parser.add_argument("--method", choices=METHODS, default="static", help="(default: %(default)s)")
    parser.add_argument("--out", required=True, metavar="FILE", help="where to write the quantized model")
    parser.add_argument("--calibration", metavar="FOLDER", help="pictures or .npz samples; half of them judge")
    parser.add_argument("--samples", type=int, default=128, help="taken from there at most (default: %(default)s)")
    parser.add_argument(
        "--pixels", choices=sorted(PIXEL_FORMATS), help="how the model sees pixels, if it does not tell"
    )
    parser.add_argument("--resize", choices=("crop", "stretch", "letterbox"), help="likewise")
    parser.add_argument(
        "--observer", default="entropy", help=f"{', '.join(OBSERVERS)} or percentile:99.9 (default: %(default)s)"
    )
    parser.add_argument("--target", choices=sorted(SCHEMES), default="onnxruntime", help="(default: %(default)s)")
    parser.add_argument("--keep-float", nargs="+", default=(), metavar="NODE", help="nodes that stay in float")
    parser.add_argument("--half-io", action="store_true", help="16-bit inputs and outputs, for fp16 and bf16")
    parser.add_argument("--max-drop", type=float, metavar="SHARE", help="judge: the score may fall by this (0.01)")
    parser.add_argument("--min-speedup", type=float, metavar="X", help="judge: this much faster than float (1.2)")
    parser.add_argument("--threads", type=int, default=1, help="of the judgement (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the report (schema ml-inference/quantizer/1)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, quantize, render; exit code 1 when the gate refused."""
    args = parse_args(argv)
    gate = None
    if args.max_drop is not None or args.min_speedup is not None:
        drop = 0.01 if args.max_drop is None else args.max_drop
        speedup = 1.2 if args.min_speedup is None else args.min_speedup
        gate = GateConfig(drop, speedup, threads=args.threads)
        if not args.calibration:
            raise ConfigError("judging needs samples: --calibration FOLDER")
    config = QuantizerConfig(args.method, args.target, args.observer, tuple(args.keep_float), args.half_io, gate)
    source = locate(args.model)
    samples: Sequence[Feeds] = ()
    if (args.calibration and args.method not in ("dynamic", "qat")) or gate:
        model = load_model(source, device="cpu", threads=1)
        samples, assumed = folder_samples(
            model, args.calibration, most=args.samples, pixels=args.pixels, resize=args.resize
        )
        model.close()
        if assumed:
            print(f"assumed, as {source.name} does not tell: {'; '.join(assumed)}")
    report = quantize_model(source, args.out, samples, config)
    render(report)
    if args.json:
        write_json(args.json, report.as_dict())
    return EXIT_OK if report.out else EXIT_FAILED


if __name__ == "__main__":
    raise SystemExit(run(main))
