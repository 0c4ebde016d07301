"""Compile a model: one network, six backends, one interface, and proof that the answers are still the same.

    python solutions/phase2_optimization/compiler.py --model street-small --backend onnxruntime --out small.onnx --check
    python solutions/phase2_optimization/compiler.py --model street-small --backend tensorrt --target SM89 --out s.plan
    python solutions/phase2_optimization/compiler.py --list

A model starts as a PyTorch module or an ONNX graph. What runs graphs (ONNX Runtime, OpenVINO, TensorRT) gets it
exported; what compiles modules (TorchScript, torch.compile, AOTInductor) gets the module. What comes back is a `Model`
like any other. `--check` feeds it inputs that no compiler has seen and compares with the plainest runtime there is,
against a tolerance that follows from the network's own layers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from solutions.core.errors import ConfigError
from solutions.core.scripts import EXIT_FAILED, EXIT_OK, run, write_json
from solutions.core.tensors import Model
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.compilation.backends import backend, known_options
from solutions.phase2_optimization.compilation.parity import Agreement, check_parity
from solutions.phase2_optimization.compilation.script import (
    Compiled,
    engine_config,
    list_backends,
    own_options,
    parse_args,
    render,
    source_options,
)
from solutions.phase2_optimization.compilation.source import onnx_source
from solutions.phase2_optimization.compilation.tensorrt_engine import build_engine

_SOURCE_OPTIONS = ("random", "options")  # where the network comes from; everything else is the backend's own
_OWN_OPTIONS = {
    "onnxruntime": ("device", "graph_level", "spinning", "io_binding"),
    "openvino": ("device", "precision", "hint", "cache_dir"),
    "torchscript": ("method", "freeze", "optimize"),
    "inductor": ("mode", "freeze", "batch"),
    "aot": ("freeze",),
    "tensorrt": ("config",),
}


def compile_model(
    model: str | Path, name: str, *, out: str | Path | None = None, threads: int | None = None, **options: Any
) -> Model:
    """The model, compiled and ready to predict; close it when done.

    Args:
        model: a model file or the name of a zoo model.
        name: of the backend, a key of BACKENDS.
        out: also write what was compiled there, for the backends that can.
        threads: per operator; None lets the backend take the usable cores.
        options: `random=True` for untrained weights of a zoo model; `options` for the loader of PyTorch files; and
            those of the backend, see `compile_here` in its module.

    Raises:
        BackendUnavailable: a package, compiler or device is not here.
        ConfigError: a setting cannot be used.
        ModelLoadError: the model cannot be loaded, exported or compiled.
    """
    chosen = backend(name)
    known_options(chosen.title, options, (*_OWN_OPTIONS[name], *_SOURCE_OPTIONS))
    if out is not None and chosen.suffixes and Path(out).suffix not in chosen.suffixes:
        raise ConfigError(f"{chosen.title} writes {' or '.join(chosen.suffixes)} files, got {Path(out).name}")
    if chosen.starts_from == "torch":
        return chosen.compile()(model, out=out, threads=threads, **options)
    source = {key: options.pop(key) for key in _SOURCE_OPTIONS if key in options}
    with tempfile.TemporaryDirectory(prefix="compile-") as workshop:
        graph = onnx_source(model, workshop=Path(workshop), **source)
        return chosen.compile()(graph, out=out, threads=threads, **options)


def compile_and_check(args: argparse.Namespace) -> Compiled:
    """What the arguments ask for: compiled, written, compared.

    Raises:
        CourseError: see `compile_model`.
    """
    out = Path(args.out) if args.out else None
    source = source_options(args)
    start_s = time.perf_counter()
    if args.backend == "tensorrt":
        # built here, run where the GPU is: so no model is opened, and none compared
        if out is None:
            raise ConfigError("an engine needs a place: --out FILE.plan")
        with tempfile.TemporaryDirectory(prefix="compile-") as workshop:
            graph = onnx_source(args.model, workshop=Path(workshop), **source)
            record = build_engine(graph, out, engine_config(args))
        note = "not run here: an engine runs on the GPU it was built for" if args.check else ""
        return Compiled(args.model, args.backend, out, time.perf_counter() - start_s, None, record, note)
    model = compile_model(args.model, args.backend, out=out, threads=args.threads, **source, **own_options(args))
    seconds = time.perf_counter() - start_s
    try:
        agreement = _compared(args, model, source) if args.check else None
    finally:
        model.close()
    return Compiled(args.model, args.backend, out, seconds, agreement, None, backend(args.backend).legacy)


def _compared(args: argparse.Namespace, model: Model, source: dict[str, Any]) -> Agreement:
    with tempfile.TemporaryDirectory(prefix="compile-") as workshop:
        graph = onnx_source(args.model, workshop=Path(workshop), **source)
        reference = OnnxModel(graph, device="cpu", threads=args.threads, graph_level="none", spinning=False)
        try:
            return check_parity(reference, model, graph=graph, precision=args.precision)
        finally:
            reference.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, compile, print; exit code 1 when the answers do not agree."""
    args = parse_args(argv)
    if args.list:
        list_backends()
        return EXIT_OK
    compiled = compile_and_check(args)
    render(compiled)
    if args.json:
        write_json(args.json, compiled.as_dict())
    if compiled.agreement is not None and not compiled.agreement.agrees:
        return EXIT_FAILED
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
