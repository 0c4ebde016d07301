"""What measuring itself costs: the same work with the instruments on and off, interleaved."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from solutions.core.measure.profiling import Clock, PairMeasurement, measure_pair
from solutions.phase1_basics.profiling.layer_table import Span
from solutions.phase1_basics.profiling.onnx_layers import session
from solutions.phase1_basics.profiling.torch_layers import find_leaves, timing_hooks

LATENCY_BAR = 1.02  # the latency measurement may cost 2 % ...
BAR_FROM_MS = 5.0  # ... of a model that takes this long; what it costs is a constant, a few microseconds

Module = TypeVar("Module", bound=nn.Module)


def latency_overhead(
    work: Callable[[], object], *, rounds: int = 30, inner: int = 1, clock: Clock = time.perf_counter
) -> PairMeasurement:
    """Time of `work` as the latency measurement runs it, over its bare time."""
    samples: list[float] = []

    def watched() -> None:  # what `measure` does around every call
        start = clock()
        work()
        samples.append(clock() - start)

    return measure_pair(work, watched, rounds=rounds, inner=inner, clock=clock)


def instrument_us(*, calls: int = 1000, rounds: int = 20, clock: Clock = time.perf_counter) -> float:
    """Microseconds that the latency measurement adds to a call, whatever the call does: measured on an empty one.

    On a busy machine this is far better known than its share of a real inference, which drowns in the noise.
    """
    found = latency_overhead(lambda: None, rounds=rounds, inner=calls, clock=clock)
    return max(0.0, (found.b.p50 - found.a.p50) * 1e3)


def torch_layers_overhead(
    module: nn.Module,
    inputs: Sequence[torch.Tensor],
    *,
    rounds: int = 20,
    synchronize: Callable[[], object] | None = None,
    clock: Clock = time.perf_counter,
) -> PairMeasurement:
    """Time of an inference with the layer hooks over one without any."""
    hooked = same_weights(module)
    modules = {name: leaf.module for name, leaf in find_leaves(hooked, inputs).items()}
    spans: list[Span] = []

    def timed() -> None:
        spans.clear()
        hooked(*inputs)

    wait = synchronize or (lambda: None)
    with torch.inference_mode(), timing_hooks(modules, spans, wait, clock):
        return measure_pair(lambda: module(*inputs), timed, rounds=rounds, synchronize=synchronize, clock=clock)


def onnx_layers_overhead(
    path: str | Path,
    feeds: Mapping[str, np.ndarray],
    *,
    rounds: int = 20,
    threads: int | None = None,
    device: str = "cpu",
    clock: Clock = time.perf_counter,
) -> PairMeasurement:
    """Time of an inference with ONNX Runtime's profiler on over one with it off, in two sessions."""
    path, fed = Path(path), dict(feeds)
    with (
        session(path, threads=threads, device=device, profiled=False, spinning=False) as (plain, _),
        session(path, threads=threads, device=device, profiled=True, spinning=False) as (profiled, finish),
    ):
        found = measure_pair(lambda: plain.run(None, fed), lambda: profiled.run(None, fed), rounds=rounds, clock=clock)
        finish()
    return found


def same_weights(module: Module) -> Module:
    """A copy of the module's structure on the very same weights: hooks on one do not slow the other down."""
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, memo=shared)
