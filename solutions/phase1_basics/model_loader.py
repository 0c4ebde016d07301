"""Load any model with one call: `load_model("model.onnx")` looks into the file, not at its name, and picks the runtime.

Every runtime gives the same `Model`, so what follows (profiling, batching, the video pipeline) never asks which it is.
"""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError
from solutions.core.scripts import EXIT_OK, run, write_json
from solutions.core.tensors import Model, TensorSpec
from solutions.core.zoo.external import external_model, external_names
from solutions.core.zoo.registry import embedded, embedded_names
from solutions.phase1_basics.prediction.script import add_prediction_options, classify_files
from solutions.phase1_basics.runtimes import runtimes
from solutions.phase1_basics.runtimes.content import recognise_content

_MADE_BY_EXPORT = (".pth", ".pt", ".safetensors", ".onnx", ".ts", ".pt2")  # suffixes that the zoo's `export` writes


def load_model(
    path_or_name: str | Path, *, device: str = "auto", threads: int | None = None, **runtime_options: Any
) -> Model:
    """The model, ready to predict; close it when done.

    Args:
        path_or_name: a model file, or the name of a zoo model such as "mobilenet_v3_small".
        device: "auto", "cpu", "cuda", "cuda:1"; what else a runtime offers.
        threads: threads per operator; None lets the runtime take the usable cores.
        runtime_options: handed to the runtime, e.g. `graph_level` and `spinning` for ONNX; `arch`, `input_shape` and
            `trust_pickle` for PyTorch.

    Raises:
        ModelLoadError: the path or name is unknown, or the content is not a model that can be loaded here.
        BackendUnavailable: the runtime or device it needs is not here.
        ConfigError: a setting cannot be used.
    """
    path = locate(path_or_name)
    content = recognise_content(path)
    known = runtimes()
    if content.kind not in known:
        raise ModelLoadError(
            f"{path} is {content.description}; it cannot be loaded here. What can: {', '.join(sorted(known))}."
        )
    runtime = known[content.kind]
    if not runtime.is_available:
        raise BackendUnavailable(
            f"{path} is {content.description}, and {runtime.title} is not installed. Install it: {runtime.install}"
        )
    return runtime.load()(path, device=device, threads=threads, **runtime_options)


def locate(path_or_name: str | Path) -> Path:
    """The file behind a path or a zoo name.

    Raises:
        ModelLoadError: neither a file nor a known name, or its weights cannot be had here.
    """
    text = os.fspath(path_or_name)
    path = Path(text).expanduser()
    if path.exists():
        return path
    if path.suffix or len(path.parts) > 1:
        known = (*embedded_names(), *external_names())
        if path.suffix.lower() in _MADE_BY_EXPORT and path.stem in known:
            random = "" if path.stem in embedded_names() else " --random"
            raise ModelLoadError(
                f"{path} does not exist. Make it: python -m solutions.core.zoo export {path.stem} --out {path}{random}"
            )
        return path
    return embedded(text).onnx if text in embedded_names() else external_model(text)


def random_inputs(
    specs: Sequence[TensorSpec], *, batch: int = 1, free: int = 32, seed: int = 0
) -> dict[str, np.ndarray]:
    """One random array per input: numbers in 0..1 (integers and bools from 0 and 1).

    Args:
        specs: the inputs of a model.
        batch: size of a free first axis.
        free: size of every other free axis.
        seed: the same seed gives the same arrays.
    """
    random = np.random.default_rng(seed)
    feeds = {}
    for spec in specs:
        shape = [size if size is not None else (free if axis else batch) for axis, size in enumerate(spec.shape)]
        dtype = np.dtype(spec.dtype)
        feeds[spec.name] = (random.random(shape) if dtype.kind == "f" else random.integers(0, 2, shape)).astype(dtype)
    return feeds


def parse_shape(text: str) -> tuple[int | None, ...]:
    """The shape that people write, "?" or -1 for a free size.

    >>> parse_shape("?,3,224,224")
    (None, 3, 224, 224)

    Raises:
        ConfigError: it is not a list of sizes.
    """
    parts = [part.strip() for part in text.strip(" []()").split(",")]
    if not all(part in ("?", "-1", "None") or re.fullmatch(r"\d+", part) for part in parts):
        raise ConfigError(f"an input shape is written like ?,3,224,224 (? for a free size), got {text}")
    return tuple(int(part) if part.isdigit() else None for part in parts)


def describe(model: Model, *, batch: int = 1, free: int = 32) -> dict[str, Any]:
    """The facts of a model and of one random inference, ready for JSON.

    `first_inference_ms` is a single cold call: a sign of life, no benchmark.
    """
    feeds = random_inputs(model.inputs, batch=batch, free=free)
    start_s = time.perf_counter()
    outputs = model.predict(feeds)
    first_ms = (time.perf_counter() - start_s) * 1e3
    return {
        "name": model.name,
        "format": model.format,
        "device": model.device,
        "inputs": [{"name": spec.name, "spec": spec.describe()} for spec in model.inputs],
        "outputs": [
            {
                "name": spec.name,
                "spec": spec.describe(),
                "got": f"{outputs[spec.name].dtype}{list(outputs[spec.name].shape)}",
            }
            for spec in model.outputs
        ],
        "metadata": dict(getattr(model, "metadata", {})),
        "first_inference_ms": first_ms,
        "finite": all(bool(np.isfinite(array).all()) for array in outputs.values() if array.dtype.kind == "f"),
    }


def show(facts: dict[str, Any]) -> None:
    """Print what `describe` found."""
    print(f"{facts['name']}: {facts['format']} on {facts['device']}")
    for spec in facts["inputs"]:
        print(f"  in   {spec['name']}: {spec['spec']}")
    for spec in facts["outputs"]:
        print(f"  out  {spec['name']}: {spec['spec']}, got {spec['got']}")
    for key, value in facts["metadata"].items():
        print(f"  fact {key}: {value if len(value) <= 80 else value[:77] + '...'}")
    print(f"one random inference: {facts['first_inference_ms']:.1f} ms, cold; values finite: {facts['finite']}")


def list_architectures() -> None:
    """Print the names that --arch takes."""
    from solutions.phase1_basics.runtimes.torch_architectures import architecture_names  # imports PyTorch: 3 s

    print("\n".join(architecture_names()))


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Describe a model and run one random inference; with --image, classify pictures."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", help="a model file or the name of a zoo model")
    what.add_argument("--list-archs", action="store_true", help="show the names that --arch takes, and stop")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="threads per operator (default: the usable cores)")
    parser.add_argument("--batch", type=int, default=1, help="size of a free batch axis (default: %(default)s)")
    parser.add_argument("--free", type=int, default=32, help="size of every other free axis (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="also write what was found to FILE")
    add_prediction_options(parser)
    add_torch_options(parser)
    return parser.parse_args(argv)


def add_torch_options(parser: argparse.ArgumentParser) -> None:
    """Add what PyTorch files may need to be told: --arch, --input-shape, --trust-pickle, see `runtime_options`."""
    torch_only = parser.add_argument_group("PyTorch files")
    torch_only.add_argument("--arch", metavar="NAME", help="the network of a file that holds weights only")
    torch_only.add_argument("--input-shape", metavar="SIZES", help="e.g. ?,3,224,224, where the file does not tell")
    torch_only.add_argument(
        "--trust-pickle", action="store_true", help="let the file run code while it is loaded: only if you trust it"
    )


def runtime_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options for `load_model` that were asked for; a runtime says itself which ones it does not have."""
    options: dict[str, Any] = {}
    if args.arch:
        options["arch"] = args.arch
    if args.input_shape:
        options["input_shape"] = parse_shape(args.input_shape)
    if args.trust_pickle:
        options["trust_pickle"] = True
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, load, describe or classify, print."""
    args = parse_args(argv)
    if args.list_archs:
        list_architectures()
        return EXIT_OK
    if args.batch < 1 or args.free < 1:
        raise ConfigError(f"--batch and --free must be at least 1, got {args.batch} and {args.free}")
    model = load_model(args.model, device=args.device, threads=args.threads, **runtime_options(args))
    try:
        if args.image:
            return classify_files(model, args)
        facts = describe(model, batch=args.batch, free=args.free)
    finally:
        model.close()
    show(facts)
    if args.json:
        write_json(args.json, facts)
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(run(main))
