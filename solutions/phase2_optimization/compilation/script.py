"""The command line of the compiler: its options, what they mean to the backends, and what is printed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solutions.core.errors import ConfigError
from solutions.core.measure.report import render_table
from solutions.phase1_basics.model_loader import add_torch_options, runtime_options
from solutions.phase2_optimization.compilation.backends import BACKENDS, backend
from solutions.phase2_optimization.compilation.parity import Agreement
from solutions.phase2_optimization.compilation.source import is_zoo_name
from solutions.phase2_optimization.compilation.tensorrt_engine import EngineConfig
from solutions.phase2_optimization.compilation.tensorrt_profiles import parse_shapes
from solutions.phase2_optimization.compilation.tensorrt_record import EngineRecord

SCHEMA = "ml-inference/compile/1"


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the command line did, ready to print."""

    model: str
    backend: str
    out: Path | None
    seconds: float
    agreement: Agreement | None
    engine: EngineRecord | None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The facts, ready for JSON."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "backend": self.backend,
            "out": str(self.out) if self.out else None,
            "size_bytes": self.out.stat().st_size if self.out else None,
            "seconds": self.seconds,
            "parity": self.agreement.as_dict() if self.agreement else None,
            "engine": self.engine.as_dict() if self.engine else None,
            "note": self.note,
        }


def source_options(args: argparse.Namespace) -> dict[str, Any]:
    """Where the network comes from, as `compile_model` takes it.

    Raises:
        ConfigError: --random for a file, or a shape that is none.
    """
    loader = runtime_options(args)
    if args.random and not is_zoo_name(args.model):
        raise ConfigError(f"--random is for models of the zoo, and {args.model} is none")
    return {"random": args.random, "options": loader}


def own_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the backend that were asked for; it says itself which ones it does not have."""
    asked = {
        "graph_level": args.level,
        "io_binding": args.io_binding or None,
        "precision": args.precision if args.precision != "f32" else None,
        "hint": args.hint,
        "cache_dir": args.cache_dir,
        "method": args.method,
        "mode": args.mode,
    }
    return {name: value for name, value in asked.items() if value is not None}


def engine_config(args: argparse.Namespace) -> EngineConfig:
    """How TensorRT is to build.

    Raises:
        ConfigError: a value out of range.
    """
    return EngineConfig(
        profiles=(dict(parse_shapes(text) for text in args.shapes),) if args.shapes else (),
        targets=tuple(target.strip() for target in args.target.split(",")) if args.target else (),
        workspace_bytes=args.workspace * 2**20,
        timing_cache=Path(args.timing_cache) if args.timing_cache else None,
        tf32=not args.no_tf32,
    )


def render(compiled: Compiled) -> None:
    """Print what was done."""
    where = f" -> {compiled.out} ({compiled.out.stat().st_size / 1e6:.1f} MB)" if compiled.out else ""
    print(f"{compiled.model}: {backend(compiled.backend).title} in {compiled.seconds:.1f} s{where}")
    if compiled.engine:
        record = compiled.engine
        weights = ", ".join(f"{count} {name}" for name, count in record.precision.items()) or "none"
        print(f"  {record.kind} {record.version} for {', '.join(record.targets) or record.gpu or 'any GPU it knows'}")
        print(f"  {record.layers} layers; weights: {weights}")
        for index, profile in enumerate(record.profiles):
            for name, shapes in profile.items():
                print(f"  profile {index}: {name} {shapes.describe()} (smallest / usual / largest)")
    if compiled.agreement:
        print(f"  {compiled.agreement.describe()}")
    if compiled.note:
        print(f"  {compiled.note}")


def list_backends() -> None:
    """Print what there is, and what is missing here."""
    rows = [
        (each.name, each.title, each.starts_from, " ".join(each.suffixes) or "-", _state(each.name))
        for each in BACKENDS.values()
    ]
    render_table("Backends", ("name", "what", "starts from", "writes", "here"), rows)


def _state(name: str) -> str:
    chosen = backend(name)
    if not chosen.is_available:
        return f'not installed: pip install "ml-inference[{chosen.extra}]"'
    return "legacy" if chosen.legacy else "yes"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compile a model for a runtime, and check that its answers stay.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", help="a model file or the name of a zoo model")
    what.add_argument("--list", action="store_true", help="show the backends, and stop")
    parser.add_argument("--backend", default="onnxruntime", choices=tuple(BACKENDS), help="default: %(default)s")
    parser.add_argument("--out", metavar="FILE", help="write what was compiled")
    parser.add_argument("--check", action="store_true", help="compare with the original on fresh inputs (exit code 1)")
    parser.add_argument("--threads", type=int, help="threads per operator (default: the usable cores)")
    parser.add_argument("--random", action="store_true", help="untrained weights of a zoo model: no download")
    parser.add_argument("--json", metavar="FILE", help=f"write the record (schema {SCHEMA})")
    own = parser.add_argument_group("backends of the CPU")
    own.add_argument("--level", choices=("none", "basic", "extended", "all"), help="ONNX Runtime: how far to rewrite")
    own.add_argument("--io-binding", action="store_true", help="ONNX Runtime: bind the buffers once")
    own.add_argument("--hint", choices=("latency", "throughput"), help="OpenVINO: what to tune for")
    own.add_argument("--precision", default="f32", choices=("f32", "bf16", "f16"), help="OpenVINO: arithmetic")
    own.add_argument("--cache-dir", metavar="DIR", help="OpenVINO: keep what was compiled")
    own.add_argument(
        "--method", choices=("trace", "script"), help="TorchScript: record an example, or compile the source"
    )
    own.add_argument("--mode", choices=("default", "reduce-overhead", "max-autotune"), help="torch.compile")
    engine = parser.add_argument_group("TensorRT")
    engine.add_argument("--target", metavar="SM89,SM86", help="GPUs to build for without having them (TensorRT-RTX)")
    engine.add_argument(
        "--shapes",
        action="append",
        metavar="NAME=MIN:USUAL:MAX",
        help="e.g. images=1x3x192x320:4x3x192x320:8x3x384x640",
    )
    engine.add_argument("--workspace", type=int, default=1024, metavar="MIB", help="default: %(default)s")
    engine.add_argument("--timing-cache", metavar="FILE", help="keep the measured times of kernels between builds")
    engine.add_argument("--no-tf32", action="store_true", help="multiply float32 exactly: slower")
    add_torch_options(parser)
    return parser.parse_args(argv)
