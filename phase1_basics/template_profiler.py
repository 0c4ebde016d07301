"""Exercises 1.5 to 1.10: how long a model takes, where the time and the memory go, and what is faster.

    python phase1_basics/template_profiler.py --model resnet50.pth --iterations 100

Write the six functions marked TODO, from top to bottom, with any imports you like; the rest is given. The values that
they take and hand back (Step, LayerTime, Roof, Comparison) are in solutions/core/classroom/values.py. `grade check 1.5`
checks one, `grade hint 1.5` helps; without a model file the script says how to make one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Literal

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
    # TODO 1.5 (about 11 lines). Stuck? `grade hint 1.5`
    raise NotImplementedError("exercise 1.5 percentile: phase1_basics/template_profiler.py")


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
    # TODO 1.6 (about 12 lines). Stuck? `grade hint 1.6`
    raise NotImplementedError("exercise 1.6 measure: phase1_basics/template_profiler.py")


def layer_times(model: nn.Module, picture: torch.Tensor, *, clock: Clock = time.perf_counter) -> list[LayerTime]:
    """The bottleneck table of one forward pass: a row per layer, the slowest first, equals in the order of first call.

    A layer is a module without children; its name is its path in the model ("layer1.0.conv1"), or its class where the
    model itself has no children. Its times come from forward hooks; where it is called several times, they add up.

    Checked: containers have no row, nor has a layer that never runs; one pass, without gradients; afterwards no hook of
    yours is left, even when the pass raises, and every hook of others is.
    """
    # TODO 1.7 (about 24 lines). Stuck? `grade hint 1.7`
    raise NotImplementedError("exercise 1.7 layer_times: phase1_basics/template_profiler.py")


def peak_activations(steps: Sequence[Step], outputs: Collection[str]) -> tuple[int, str]:
    """The most bytes of tensors alive at one step, and the name of the first step where it is so; (0, "") for no steps.

    A tensor is alive from the step that makes it to the last step that reads it, both included: a step needs its inputs
    while it writes. A tensor named in `outputs` is alive until the end; one that nobody reads only at its own step.

    Checked: chains, branches that join late (residuals), inputs, outputs, tensors nobody reads, one step.
    """
    # TODO 1.8 (about 13 lines). Stuck? `grade hint 1.8`
    raise NotImplementedError("exercise 1.8 peak_activations: phase1_basics/template_profiler.py")


def roofline(flops: float, moved_bytes: float, *, peak_flops_per_s: float, bytes_per_s: float) -> Roof:
    """What a machine with these two roofs allows a layer that computes `flops` and moves `moved_bytes`.

    At I = flops / moved_bytes operations per byte it reaches at most min(peak, I * bytes_per_s) operations per second.
    Where that is the peak (the ridge included) the layer is compute-bound, else memory-bound. Computing and moving
    overlap, so the best time is the longer of the two.

    Checked: both sides of the ridge and the ridge itself; a layer that only moves; one that moves nothing; roofs that
    are not above 0, negative work, or no work at all raise ValueError.
    """
    # TODO 1.9 (about 8 lines). Stuck? `grade hint 1.9`
    raise NotImplementedError("exercise 1.9 roofline: phase1_basics/template_profiler.py")


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
    # TODO 1.10 (about 18 lines). Stuck? `grade hint 1.10`
    raise NotImplementedError("exercise 1.10 compare: phase1_basics/template_profiler.py")


# Given: the script around the exercises, in solutions/core/classroom/profile_script.py.


def main(argv: Sequence[str] | None = None) -> int:
    """Latency, layers, memory, roofline and one comparison of a model, printed one after the other."""
    return profile_script(argv, Toolbox(percentile, measure, layer_times, peak_activations, roofline, compare))


if __name__ == "__main__":
    raise SystemExit(run_template(main))
