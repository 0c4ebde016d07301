"""Times of an ONNX model's nodes, from ONNX Runtime's own profile of the graph that it really runs.

The profile is a list of trace events: one per kernel and run ("<node>_kernel_time", microseconds, with the bytes that
it read and wrote), and one per run ("model_run"). FLOPs come from the file (core/hardware/model_cost): those of a node
that was fused away belong to the kernel that does its work.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.hardware.model_cost import model_cost, shaped_graph
from solutions.core.hardware.profile import usable_cores
from solutions.core.measure.metrics import LatencySummary
from solutions.phase1_basics.profiling.layer_table import Layer, LayerCost, LayerPass, Span
from solutions.phase1_basics.profiling.onnx_names import GraphNames
from solutions.phase1_basics.runtimes.onnx import read_checked

_KERNEL = "_kernel_time"
_SILENT = 4  # log severity "fatal", as in the ONNX runtime: what goes wrong arrives as an exception


@dataclass(frozen=True, slots=True)
class Kernel:
    """One executed kernel of one run, in microseconds on the profile's clock; bytes as the runtime counted them."""

    name: str
    op: str
    start_us: float
    us: float
    activation_bytes: int
    weight_bytes: int


def profile_onnx_layers(
    path: str | Path,
    feeds: Mapping[str, np.ndarray],
    *,
    runs: int = 10,
    warmup: int = 2,
    threads: int | None = None,
    device: str = "cpu",
) -> LayerPass:
    """The kernels of an ONNX file in the order of execution, each with its median time per inference.

    Args:
        path: the file.
        feeds: one array per input.
        runs: profiled inferences.
        warmup: inferences that are left out of the medians.
        threads: per operator; default the usable cores.
        device: "cpu", or "cuda..." to profile on the GPU (its kernels are timed up to their launch).

    Raises:
        ConfigError: a count out of range, or feeds that do not fit.
        ModelLoadError: not a model that ONNX Runtime can load.
    """
    if runs < 1 or warmup < 0:
        raise ConfigError(f"a layer pass needs runs >= 1 and warmup >= 0, got {runs} and {warmup}")
    path = Path(path)
    read_checked(path)
    with session(path, threads=threads, device=device, profiled=True) as (running, finish):
        for _ in range(warmup + runs):
            running.run(None, dict(feeds))
        events = json.loads(finish().read_text())
    shapes = {name: tuple(array.shape) for name, array in feeds.items()}
    return layers_from_profile(events, path, shapes, skip=warmup)


@contextmanager
def session(
    path: Path, *, threads: int | None, device: str = "cpu", profiled: bool, spinning: bool = True
) -> Iterator[tuple[onnxruntime.InferenceSession, Any]]:
    """A session of its own, and the function that ends its profile and returns the file; both end with the block.

    Where two sessions take turns, `spinning` threads of the idle one would rob the other of its cores.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    with tempfile.TemporaryDirectory(prefix="ort-profile-") as folder:
        options.enable_profiling = profiled
        options.profile_file_prefix = str(Path(folder) / "profile")
        providers = ["CPUExecutionProvider"]
        if device.startswith("cuda"):
            providers.insert(0, "CUDAExecutionProvider")
        try:
            running = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime's exceptions share no other base
            raise ModelLoadError(f"ONNX Runtime cannot load {path}: {str(error).splitlines()[0][:300]}") from error
        yield running, lambda: Path(running.end_profiling())


def layers_from_profile(
    events: Sequence[Mapping[str, Any]],
    model: str | Path | onnx.ModelProto,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    skip: int = 0,
) -> LayerPass:
    """The layers in a profile.

    Args:
        events: of the profile file, as JSON gives them.
        model: the file that was profiled, before any optimisation.
        shapes: of its inputs, as they were fed.
        skip: first runs to leave out.

    Raises:
        ConfigError: the profile holds no more runs than are left out.
    """
    names = GraphNames(shaped_graph(model, shapes))
    runs = kernels_by_run(events)[skip:]
    if not runs:
        raise ConfigError(f"the profile holds no run beyond the first {skip}: run the session before ending it")
    costs = {node.name: node for node in model_cost(model, shapes).nodes}
    first = runs[0][1]
    anchors = {kernel.name: names.find(kernel.name, kernel.op) for kernel in first}
    owners = names.owners({index for index in anchors.values() if index is not None})
    flops: dict[int, int] = {}
    weights: dict[int, int] = {}
    for index, owner in owners.items():
        if (cost := costs.get(names.names[index])) is not None:
            flops[owner] = flops.get(owner, 0) + cost.flops
            weights[owner] = weights.get(owner, 0) + cost.weight_bytes

    layers = []
    shown: dict[str, str] = {}
    times = _times_by_kernel([kernels for _, kernels in runs])
    for kernel in first:
        if kernel.name in shown:  # a loop's body runs a kernel several times; its row is there already
            continue
        anchor = anchors[kernel.name]
        shown[kernel.name] = name = kernel.name if anchor is None else names.layer_name(anchor)
        mine = [k for k in first if k.name == kernel.name]
        # packed weights are gone from the runtime's count; a kernel split in two reads and computes its share once
        stored = 0 if anchor is None else weights.pop(anchor, 0)
        moved = sum(k.activation_bytes for k in mine) + max(stored, sum(k.weight_bytes for k in mine))
        layer_cost = LayerCost(0 if anchor is None else flops.pop(anchor, 0), moved)
        ms = LatencySummary.of(times[kernel.name]).p50
        layers.append(Layer(name, kernel.op, len(mine), ms, layer_cost, node=kernel.name))
    last = runs[-1][1]
    timeline = tuple(Span(shown.get(k.name, k.name), k.op, k.start_us / 1e6, k.us / 1e6) for k in last)
    outside = LatencySummary.of([max(0.0, us - sum(k.us for k in kernels)) / 1e6 for us, kernels in runs]).p50
    return LayerPass(tuple(layers), len(runs), outside, timeline)


def _times_by_kernel(runs: Sequence[Sequence[Kernel]]) -> dict[str, list[float]]:
    """For each kernel, its seconds in every run that has it, all its calls of a run together."""
    times: dict[str, list[float]] = {}
    for kernels in runs:
        spent: dict[str, float] = {}
        for kernel in kernels:
            spent[kernel.name] = spent.get(kernel.name, 0.0) + kernel.us / 1e6
        for name, seconds in spent.items():
            times.setdefault(name, []).append(seconds)
    return times


def kernels_by_run(events: Sequence[Mapping[str, Any]]) -> list[tuple[float, list[Kernel]]]:
    """For each run, its whole time in microseconds and its kernels in order."""
    runs = sorted((float(event["ts"]), float(event["dur"])) for event in events if event.get("name") == "model_run")
    kernels = sorted(
        (_kernel(event) for event in events if str(event.get("name", "")).endswith(_KERNEL)),
        key=lambda kernel: kernel.start_us,
    )
    return [(us, [k for k in kernels if start <= k.start_us <= start + us]) for start, us in runs]


def _kernel(event: Mapping[str, Any]) -> Kernel:
    facts = event.get("args", {})
    activations = sum(int(facts.get(key) or 0) for key in ("activation_size", "output_size"))
    return Kernel(
        name=str(event["name"]).removesuffix(_KERNEL),
        op=str(facts.get("op_name", "")),
        start_us=float(event["ts"]),
        us=float(event["dur"]),
        activation_bytes=activations,
        weight_bytes=int(facts.get("parameter_size") or 0),
    )
