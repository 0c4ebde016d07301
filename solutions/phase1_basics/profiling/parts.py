"""The parts of a profile that depend on what kind of model it is: stages, layers, activations, devices, time lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from solutions.core.errors import BackendUnavailable, ConfigError, CourseError
from solutions.core.measure.profiling import Clock, PairMeasurement, synchronize_for
from solutions.core.tensors import Model
from solutions.phase1_basics.profiling.activation_memory import ActivationMemory, onnx_activation_memory
from solutions.phase1_basics.profiling.device_comparison import Comparison, compare_models, find_gpu, time_copies
from solutions.phase1_basics.profiling.layer_table import LayerPass
from solutions.phase1_basics.profiling.onnx_layers import profile_onnx_layers
from solutions.phase1_basics.profiling.overhead import onnx_layers_overhead, torch_layers_overhead
from solutions.phase1_basics.profiling.report import Layers, ProfileReport
from solutions.phase1_basics.profiling.roofline import measure_roofs, place_all, torch_threads
from solutions.phase1_basics.profiling.same_network import cpu_runtimes, eager_module
from solutions.phase1_basics.profiling.stage_split import StageSplit, split_stages
from solutions.phase1_basics.profiling.torch_activations import torch_activation_memory
from solutions.phase1_basics.profiling.torch_layers import profile_torch_layers
from solutions.phase1_basics.profiling.trace import Track, in_a_row

Load = Callable[[int | None, str], Model]
Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Effort:
    """How often the parts are run, on how many threads and on which clock."""

    threads: int
    runs: int
    rounds: int
    clock: Clock


@dataclass(frozen=True, slots=True)
class Inside:
    """What was seen inside a model. A part that is None has its reason in `note`."""

    layers: Layers | None = None
    activations: ActivationMemory | None = None
    note: str = ""


def stages_or_note(model: Model, picture: str | None, *, repeats: int, clock: Clock) -> tuple[StageSplit | None, str]:
    """The stages, or why there are none."""
    try:
        return split_stages(model, picture=picture, repeats=repeats, clock=clock), ""
    except ConfigError as error:
        if picture is not None:  # it was asked for
            raise
        return None, f"not measured: {error}"


def look_inside(model: Model, path: Path, feeds: Feeds, effort: Effort) -> Inside:
    """Layers under the roofline and activations, as far as this kind of model lets anyone see them."""
    module = eager_module(model)
    try:
        if module is not None:
            return _inside_torch(module, model, feeds, effort)
        if model.format == "onnx":
            return _inside_onnx(model, path, feeds, effort)
    except BackendUnavailable as error:  # a device that the runtime can use and torch, which measures the roofs, cannot
        return Inside(note=f"not measured: {error}")
    return Inside(note=f"not measured: a {model.format} model runs as one piece here; its ONNX export can be seen into")


def compare(model: Model, path: Path, feeds: Feeds, load: Load, effort: Effort) -> tuple[Comparison, LayerPass | None]:
    """CPU against GPU, or the CPU's runtimes without a GPU; and the layers of a torch model's ONNX export."""
    gpu = find_gpu() if model.device == "cpu" else model.device
    sentence = "no GPU that torch can use is here, so the CPU's runtimes are compared"
    if gpu is not None:
        try:
            return _cpu_and_gpu(model, feeds, load, gpu, effort), None
        except CourseError as error:
            if model.device != "cpu":
                return Comparison(f"nothing is compared: {error}"), None
            sentence = f"the GPU is not compared ({error}), the CPU's runtimes are"
    with cpu_runtimes(model, path, feeds, threads=effort.threads) as network:
        points = compare_models(network.models, feeds, rounds=effort.rounds, clock=effort.clock)
        rival = None
        if network.graph is not None and eager_module(model) is not None:
            rival = profile_onnx_layers(network.graph, feeds, runs=effort.runs, threads=effort.threads)
    missing = f"; not compared: {network.missing}" if network.missing else ""
    return Comparison(sentence + missing, points), rival


def tracks(report: ProfileReport) -> list[Track]:
    """The rows of the trace: the start, the timed calls, the stages, and one inference layer by layer."""
    cold = report.cold
    start = [("load", "cold", cold.load_ms / 1e3), ("first inference", "cold", cold.first_ms / 1e3)]
    calls = [(f"call {index}", "warm", seconds) for index, seconds in enumerate(report.latency.samples_s, start=1)]
    begin = (cold.load_ms + cold.first_ms) / 1e3
    found = [Track("cold start", in_a_row(start)), Track("timed calls", in_a_row(calls), begin)]
    if report.stages is not None:
        medians = [(name, "stage", latency.p50 / 1e3) for name, latency in report.stages.stages.items()]
        found.append(Track("stages (medians)", in_a_row(medians), begin))
    if report.layers is not None:
        found.append(Track(f"one inference, {report.layers.source}", report.layers.found.timeline, begin))
    if report.rival is not None:
        found.append(Track("one inference, ONNX Runtime", report.rival.timeline, begin))
    return found


def _inside_torch(module: nn.Module, model: Model, feeds: Feeds, effort: Effort) -> Inside:
    inputs = [torch.from_numpy(feeds[spec.name]).to(model.device) for spec in model.inputs]
    try:
        with torch.inference_mode():
            module(*inputs)
    except Exception as error:  # a module raises whatever it likes
        return Inside(note=f"not measured: the module does not take its inputs one by one ({str(error)[:200]})")
    wait = synchronize_for(model.device)
    with torch_threads(effort.threads):
        try:
            found = profile_torch_layers(module, inputs, runs=effort.runs, synchronize=wait, clock=effort.clock)
        except ConfigError as error:
            return Inside(activations=torch_activation_memory(module, inputs), note=f"not measured: {error}")
        overhead = torch_layers_overhead(module, inputs, rounds=effort.rounds, synchronize=wait, clock=effort.clock)
        activations = torch_activation_memory(module, inputs)
    return Inside(_under_roofs("torch hooks", found, overhead, model.device, effort), activations)


def _inside_onnx(model: Model, path: Path, feeds: Feeds, effort: Effort) -> Inside:
    found = profile_onnx_layers(path, feeds, runs=effort.runs, threads=effort.threads, device=model.device)
    overhead = onnx_layers_overhead(
        path, feeds, rounds=effort.rounds, threads=effort.threads, device=model.device, clock=effort.clock
    )
    activations = onnx_activation_memory(path, {name: tuple(array.shape) for name, array in feeds.items()})
    return Inside(_under_roofs("ONNX Runtime profile", found, overhead, model.device, effort), activations)


def _under_roofs(source: str, found: LayerPass, overhead: PairMeasurement, device: str, effort: Effort) -> Layers:
    roofs = measure_roofs(threads=effort.threads, device=device, clock=effort.clock)
    return Layers(source, found, roofs, place_all(found, roofs), overhead)


def _cpu_and_gpu(model: Model, feeds: Feeds, load: Load, gpu: str, effort: Effort) -> Comparison:
    other = load(effort.threads, gpu if model.device == "cpu" else "cpu")
    try:
        pair = (model, other) if model.device == "cpu" else (other, model)
        points = compare_models({each.device: each for each in pair}, feeds, rounds=effort.rounds, clock=effort.clock)
        module = eager_module(pair[1])
        copies = None
        if module is not None:
            arrays = [feeds[spec.name] for spec in model.inputs]
            copies = time_copies(module, arrays, gpu, repeats=effort.runs, clock=effort.clock)
    finally:
        other.close()
    sentence = "latencies are end to end, from host arrays to host arrays"
    if copies is None:
        sentence += "; the copies are inside them and cannot be told apart in this runtime"
    return Comparison(sentence, points, copies)
