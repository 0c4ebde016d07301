"""Exercises 1.5 to 1.10 solved: how long a model takes, where the time and the memory go, and what is faster.

    python solutions/phase1_basics/template_solutions/profiler.py --model resnet50.pth --iterations 100

The same file as `phase1_basics/template_profiler.py`, filled in. The full versions, all behind `profiler.py`:
`core/measure/latency.py` (1.5), `core/measure/profiling.py` (1.6 and 1.10), and in `profiling/` `torch_layers.py`
(1.7), `activation_memory.py` (1.8) and `roofline.py` (1.9).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from solutions.core.classroom.profile_script import Toolbox, profile_script
from solutions.core.classroom.start import run_template
from solutions.core.classroom.values import Comparison, LayerTime, Roof, Step

Clock = Callable[[], float]  # seconds, never going back


def percentile(samples: Sequence[float], q: float, method: Literal["nearest-rank", "linear"]) -> float:
    """The q-th percentile of the samples, q in 0..100.

    "nearest-rank": always one of the samples. Of n in ascending order it is the one whose rank, counted from 1, is
    q * n / 100 rounded up, and at least 1. "linear": they stand at 0, 1, ... n - 1, and the value at q * (n - 1) / 100
    is read on the straight line between its two neighbours.

    Checked: samples in any order, which stay as they are; one sample; ranks that come out whole (q = 7 of 100 samples
    is the 7th); no samples, a q outside 0..100 or another method raise ValueError.
    """
    if not len(samples) or not 0 <= q <= 100:
        raise ValueError(f"samples and a q in 0..100 are needed, got {len(samples)} samples and q = {q}")
    ordered = sorted(samples)
    if method == "nearest-rank":
        return ordered[max(1, math.ceil(q * len(ordered) / 100)) - 1]
    if method != "linear":
        raise ValueError(f"the method is nearest-rank or linear, got {method!r}")
    place = q * (len(ordered) - 1) / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def measure(
    fn: Callable[[], object],
    *,
    warmup: int = 10,
    repeats: int = 100,
    synchronize: Callable[[], object] | None = None,
    clock: Clock = time.perf_counter,
) -> list[float]:
    """Seconds of each of `repeats` calls of fn, after `warmup` calls that are not timed.

    On a GPU a call returns when its work is queued; `synchronize` waits until the work is done. It belongs inside every
    timing, and once before the first one, so that no warm-up work is left in the queue.

    Checked: the number of calls; one sample per call; nothing of the warm-up in them; the device's time and not the
    launch's; repeats < 1 or warmup < 0 raise ValueError.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats must be >= 1 and warmup >= 0, got {repeats} and {warmup}")
    wait = synchronize or (lambda: None)
    for _ in range(warmup):
        fn()
    wait()
    samples = []
    for _ in range(repeats):
        start = clock()
        fn()
        wait()
        samples.append(clock() - start)
    return samples


def layer_times(model: nn.Module, picture: torch.Tensor, *, clock: Clock = time.perf_counter) -> list[LayerTime]:
    """The bottleneck table of one forward pass: a row per layer, the slowest first, equals in the order of first call.

    A layer is a module without children; its name is its path in the model ("layer1.0.conv1"), or its class where the
    model itself has no children. Its times come from forward hooks; where it is called several times, they add up.

    Checked: containers have no row, nor has a layer that never runs; one pass, without gradients; afterwards no hook of
    yours is left, even when the pass raises, and every hook of others is.
    """
    starts: dict[str, float] = {}
    spent: dict[str, float] = {}
    kinds: dict[str, str] = {}
    calls: dict[str, int] = {}

    def watch(name: str, layer: nn.Module) -> list[Any]:
        def enter(_layer: nn.Module, _inputs: Any) -> None:
            starts[name] = clock()

        def leave(_layer: nn.Module, _inputs: Any, _output: Any) -> None:
            spent[name] = spent.get(name, 0.0) + clock() - starts[name]
            calls[name] = calls.get(name, 0) + 1
            kinds[name] = type(layer).__name__

        return [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]

    handles: list[Any] = []
    try:
        for path, module in model.named_modules():
            if not any(module.children()):
                handles += watch(path or type(module).__name__, module)
        with torch.inference_mode():
            model(picture)
    finally:
        for handle in handles:
            handle.remove()
    rows = [LayerTime(name, kinds[name], calls[name], seconds) for name, seconds in spent.items()]
    return sorted(rows, key=lambda row: -row.seconds)


def peak_activations(steps: Sequence[Step], outputs: Collection[str]) -> tuple[int, str]:
    """The most bytes of tensors alive at one step, and the name of the first step where it is so; (0, "") for no steps.

    A tensor is alive from the step that makes it to the last step that reads it, both included: a step needs its inputs
    while it writes. A tensor named in `outputs` is alive until the end; one that nobody reads only at its own step.

    Checked: chains, branches that join late (residuals), inputs, outputs, tensors nobody reads, one step.
    """
    last = {step.name: index for index, step in enumerate(steps)}
    for index, step in enumerate(steps):
        for name in step.reads:
            last[name] = index
    for name in outputs:
        last[name] = len(steps) - 1
    peak, where = 0, ""
    for now, step in enumerate(steps):
        alive = sum(made.bytes for made in steps[: now + 1] if last[made.name] >= now)
        if alive > peak:
            peak, where = alive, step.name
    return peak, where


def roofline(flops: float, moved_bytes: float, *, peak_flops_per_s: float, bytes_per_s: float) -> Roof:
    """What a machine with these two roofs allows a layer that computes `flops` and moves `moved_bytes`.

    At I = flops / moved_bytes operations per byte it reaches at most min(peak, I * bytes_per_s) operations per second.
    Where that is the peak (the ridge included) the layer is compute-bound, else memory-bound. Computing and moving
    overlap, so the best time is the longer of the two.

    Checked: both sides of the ridge and the ridge itself; a layer that only moves; one that moves nothing; roofs that
    are not above 0, negative work, or no work at all raise ValueError.
    """
    if peak_flops_per_s <= 0 or bytes_per_s <= 0:
        raise ValueError(f"roofs must be above 0, got {peak_flops_per_s} and {bytes_per_s}")
    if min(flops, moved_bytes) < 0 or flops + moved_bytes == 0:
        raise ValueError(f"work must be >= 0 and some of it above 0, got {flops} and {moved_bytes}")
    best_seconds = max(flops / peak_flops_per_s, moved_bytes / bytes_per_s)
    if flops * bytes_per_s >= peak_flops_per_s * moved_bytes:
        return Roof("compute", peak_flops_per_s, best_seconds)
    return Roof("memory", flops / moved_bytes * bytes_per_s, best_seconds)


def compare(
    a: Callable[[], object],
    b: Callable[[], object],
    *,
    at_most: float = 1.0,
    rounds: int = 30,
    clock: Clock = time.perf_counter,
    seed: int = 0,
) -> Comparison:
    """Whether b takes at most `at_most` times as long as a, from rounds that run a, b, b, a.

    Both are called once before, untimed. A round's ratio is the time of its two b over that of its two a, so what slows
    down a whole round, and a steady drift, cancel. `ratio` is the median of the rounds; `low` and `high` hold 95 % of
    the medians of 2000 resamples of the rounds, drawn with replacement from `seed`. The verdict is "pass" where high <=
    at_most, "fail" where low > at_most, else "inconclusive".

    Checked: the order of the calls; drift and slow rounds cancel; one outlier changes little; the interval's width; the
    same seed gives the same answer; fewer than 1 round raises ValueError.
    """
    if rounds < 1:
        raise ValueError(f"at least one round is needed, got {rounds}")

    def timed(fn: Callable[[], object]) -> float:
        start = clock()
        fn()
        return clock() - start

    a()
    b()
    ratios = []
    for _ in range(rounds):
        a_first, b_first, b_second, a_second = timed(a), timed(b), timed(b), timed(a)
        ratios.append((b_first + b_second) / (a_first + a_second))
    drawn = np.random.default_rng(seed).choice(ratios, size=(2000, rounds))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    ratio = float(np.median(ratios))
    if high <= at_most:
        return Comparison(ratio, float(low), float(high), "pass")
    return Comparison(ratio, float(low), float(high), "fail" if low > at_most else "inconclusive")


# Given: the script around the exercises, in solutions/core/classroom/profile_script.py.


def main(argv: Sequence[str] | None = None) -> int:
    """Latency, layers, memory, roofline and one comparison of a model, printed one after the other."""
    return profile_script(argv, Toolbox(percentile, measure, layer_times, peak_activations, roofline, compare))


if __name__ == "__main__":
    raise SystemExit(run_template(main))
