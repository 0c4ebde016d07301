"""The script around the profiler's exercises: it calls them one after the other on a model and prints what they say."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from solutions.core.classroom.anatomy import Anatomy, take_apart
from solutions.core.classroom.models import model_file, open_module
from solutions.core.classroom.values import Comparison, LayerTime, Roof
from solutions.core.errors import ConfigError
from solutions.core.measure.report import render_table
from solutions.core.scripts import EXIT_OK

_INPUT = (1, 3, 224, 224)
_SIDE, _LENGTH = 512, 16_000_000  # of the matrices and arrays for the roofs: milliseconds each, beyond the caches


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The functions that the exercises ask for, as the learner wrote them."""

    percentile: Callable[..., float]
    measure: Callable[..., list[float]]
    layer_times: Callable[..., list[LayerTime]]
    peak_activations: Callable[..., tuple[int, str]]
    roofline: Callable[..., Roof]
    compare: Callable[..., Comparison]


def profile_script(argv: Sequence[str] | None, tools: Toolbox) -> int:
    """Exit code 0, after a profile of the model in `--model` was printed part by part.

    Raises:
        CourseError: the model cannot be used.
    """
    args = _parse_args(argv)
    if args.iterations < 1 or args.top < 1:
        raise ConfigError(f"--iterations and --top must be at least 1, got {args.iterations} and {args.top}")
    path = model_file(args.model)
    model, picture = open_module(path, args.arch), torch.rand(_INPUT)

    def infer() -> object:
        with torch.inference_mode():
            return model(picture)

    print(f"{path}, batch 1, {torch.get_num_threads()} threads")
    _latency(infer, args.iterations, tools)
    layers = tools.layer_times(model, picture)
    anatomy = take_apart(model, picture)
    _layers(layers, args.top, anatomy, tools)
    peak, where = tools.peak_activations(anatomy.steps, anatomy.outputs)
    total = sum(step.bytes for step in anatomy.steps)
    print(f"activations: {peak / 1e6:.2f} MB at once (at {where}), {total / 1e6:.2f} MB all together")

    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    turned = picture.contiguous(memory_format=torch.channels_last)

    def infer_channels_last() -> object:
        with torch.inference_mode():
            return last(turned)

    found = tools.compare(infer, infer_channels_last, rounds=max(3, min(30, args.iterations // 4)))
    print(
        f"channels_last takes x{found.ratio:.3f} [{found.low:.3f}, {found.high:.3f}] of the time of the default "
        f"layout; not slower: {found.verdict}"
    )
    return EXIT_OK


def _parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Profile a classifier of torchvision on the CPU.")
    parser.add_argument("--model", required=True, metavar="FILE", help="a torch state dict (.pth)")
    parser.add_argument("--iterations", type=int, default=100, help="timed inferences (default: %(default)s)")
    parser.add_argument("--arch", help="torchvision's name of the network (default: the file's name)")
    parser.add_argument("--top", type=int, default=5, help="layers to list (default: %(default)s)")
    return parser.parse_args(argv)


def _latency(infer: Callable[[], object], iterations: int, tools: Toolbox) -> None:
    first = tools.measure(infer, warmup=0, repeats=1)[0]
    samples = tools.measure(infer, repeats=iterations)
    table: list[tuple[Any, ...]] = []
    for method in ("nearest-rank", "linear"):
        table.append((method, *(tools.percentile(samples, q, method) * 1e3 for q in (50, 90, 99))))
    print(f"first inference {first * 1e3:.1f} ms")
    render_table(f"latency of {iterations} inferences, ms", ("percentiles", "p50", "p90", "p99"), table)


def _layers(layers: Sequence[LayerTime], top: int, anatomy: Anatomy, tools: Toolbox) -> None:
    peak, rate = _roofs(tools)
    print(f"roofs measured here: {peak / 1e9:.0f} GFLOP/s, {rate / 1e9:.1f} GB/s")
    total_s = sum(layer.seconds for layer in layers)
    table: list[tuple[Any, ...]] = []
    for layer in layers[:top]:
        verdict = "not counted"
        if layer.name in anatomy.work:
            flops, moved = anatomy.work[layer.name]
            roof = tools.roofline(flops, moved, peak_flops_per_s=peak, bytes_per_s=rate)
            verdict = f"{roof.bound}, {roof.best_seconds / layer.seconds:.0%} of its roof"
        share = f"{layer.seconds / total_s:.0%}"
        table.append((layer.name, layer.kind, layer.calls, layer.seconds * 1e3, share, verdict))
    render_table("slowest layers of one pass", ("layer", "kind", "calls", "ms", "share", "bound"), table)


def _roofs(tools: Toolbox) -> tuple[float, float]:
    """Operations and bytes per second that this machine reaches: a matrix product, and a sum of long arrays."""
    a, b, c = torch.rand(_SIDE, _SIDE), torch.rand(_SIDE, _SIDE), torch.empty(_SIDE, _SIDE)
    x, y, z = torch.rand(_LENGTH), torch.rand(_LENGTH), torch.empty(_LENGTH)
    product_s = min(tools.measure(lambda: torch.mm(a, b, out=c), warmup=3, repeats=10))
    sum_s = min(tools.measure(lambda: torch.add(x, y, out=z), warmup=3, repeats=10))
    return 2 * _SIDE**3 / product_s, 3 * x.nbytes / sum_s
