"""The same network on a GPU and on the CPU, copies counted apart; without a GPU, on the CPU's runtimes instead.

Everything is interleaved with the baseline (`measure_pair`), and outputs are compared in the same run as the times.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from solutions.core.measure.metrics import LatencySummary, PairedRatio
from solutions.core.measure.profiling import Clock, measure, measure_pair, synchronize_for
from solutions.core.tensors import Model, TensorSpec
from solutions.phase1_basics.profiling.layer_costs import tensors_in

TIMING_S = 0.002  # several calls per timing where one takes less: runtimes that take turns find their caches cold


@dataclass(frozen=True, slots=True)
class RunPoint:
    """One way to run the network. `ratio` is its time over the baseline's; None for the baseline itself.

    `beside_ms` is the baseline's median in those very rounds: on a busy machine it is another for every rival, and only
    the ratio may be quoted. `difference` is the largest difference of any output from the baseline's, relative to the
    baseline's largest value.
    """

    title: str
    latency: LatencySummary
    ratio: PairedRatio | None
    difference: float | None = None
    beside_ms: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {
            "title": self.title,
            "latency_ms": self.latency.as_dict(),
            "ratio_to_baseline": self.ratio.as_dict() if self.ratio else None,
            "baseline_p50_ms_in_these_rounds": self.beside_ms,
            "relative_output_difference": self.difference,
        }


@dataclass(frozen=True, slots=True)
class Copies:
    """An inference on a device in its parts: inputs to it, the network on data that is there, outputs back.

    Each part ends with the device synchronised, so the three add up to more than a call that overlaps them.
    """

    device: str
    to_device: LatencySummary
    compute: LatencySummary
    from_device: LatencySummary

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {
            "device": self.device,
            "to_device_ms": self.to_device.as_dict(),
            "compute_ms": self.compute.as_dict(),
            "from_device_ms": self.from_device.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared; `sentence` says what was not, and why."""

    sentence: str
    points: tuple[RunPoint, ...] = ()
    copies: Copies | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {
            "sentence": self.sentence,
            "points": [point.as_dict() for point in self.points],
            "copies": self.copies.as_dict() if self.copies else None,
        }


def find_gpu() -> str | None:
    """ "cuda" or "mps" where torch can compute on it, else None."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else None


def compare_models(
    models: Mapping[str, Model],
    feeds: Mapping[str, np.ndarray],
    *,
    rounds: int = 20,
    warmup: int = 3,
    clock: Clock = time.perf_counter,
) -> tuple[RunPoint, ...]:
    """Each model interleaved with the first, which is the baseline.

    Args:
        models: by title, loaded; their inputs and outputs correspond in order, whatever their names.
        feeds: of the first.
        rounds: of each pair.
        warmup: calls of each before.
        clock: seconds, monotonic.
    """
    (title, baseline), *others = models.items()
    arrays = [feeds[spec.name] for spec in baseline.inputs]
    if not others:
        alone = measure(lambda: baseline.predict(feeds), warmup=warmup, repeats=2 * rounds, clock=clock)
        return (RunPoint(title, alone.summary, None),)
    reference = baseline.predict(feeds)
    expected = [reference[spec.name] for spec in baseline.outputs]
    start = clock()
    baseline.predict(feeds)
    spent = clock() - start
    inner = max(1, round(TIMING_S / spent)) if spent > 0 else 1
    points: list[RunPoint] = []
    for name, model in others:
        fed = {spec.name: in_layout(spec, array) for spec, array in zip(model.inputs, arrays, strict=True)}
        got = model.predict(fed)
        difference = relative_difference(expected, [got[spec.name] for spec in model.outputs])
        pair = measure_pair(
            lambda: baseline.predict(feeds),
            lambda model=model, fed=fed: model.predict(fed),  # type: ignore[misc]
            rounds=rounds,
            warmup=warmup,
            inner=inner,
            clock=clock,
        )
        if not points:
            points.append(RunPoint(title, pair.a, None))
        points.append(RunPoint(name, pair.b, pair.ratio, difference, pair.a.p50))
    return tuple(points)


def in_layout(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    """Pictures with their channels where the spec wants them; anything else, and what fits neither way, as it is."""
    if array.ndim == 4 and not spec.accepts(array):
        for axes in ((0, 2, 3, 1), (0, 3, 1, 2)):
            if spec.accepts(moved := np.ascontiguousarray(array.transpose(axes))):
                return moved
    return array


def relative_difference(expected: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> float | None:
    """The largest difference over the largest expected value, over all outputs.

    None where that has no meaning: shapes do not correspond, or a value is not finite.

    >>> relative_difference([np.array([1.0, -4.0])], [np.array([1.0, -3.0])])
    0.25
    """
    if [array.shape for array in expected] != [array.shape for array in got]:
        return None
    worst = 0.0
    for want, have in zip(expected, got, strict=True):
        if want.size:
            gap = float(np.abs(want.astype(np.float64) - have.astype(np.float64)).max())
            scale = float(np.abs(want.astype(np.float64)).max())
            if not np.isfinite(gap):
                return None
            worst = max(worst, gap / scale if scale else gap)
    return worst


def time_copies(
    module: nn.Module,
    feeds: Sequence[np.ndarray],
    device: str,
    *,
    repeats: int = 30,
    warmup: int = 5,
    clock: Clock = time.perf_counter,
) -> Copies:
    """Copies and computing apart, each timed until the device has finished.

    Args:
        module: on `device` already, in eval mode.
        feeds: its positional inputs, on the host.
        device: "cuda", "cuda:1", "mps"; "cpu" works and copies nothing.
        repeats: timed calls of each part.
        warmup: calls before them.
        clock: seconds, monotonic.

    Raises:
        BackendUnavailable: the device is not here.
    """
    wait = synchronize_for(device)
    hosts = [torch.from_numpy(array) for array in feeds]

    def timed(part: Any) -> LatencySummary:
        return measure(part, warmup=warmup, repeats=repeats, synchronize=wait, clock=clock).summary

    with torch.inference_mode():
        inside = [host.to(device) for host in hosts]
        outputs = tensors_in(module(*inside))
        return Copies(
            device=device,
            to_device=timed(lambda: [host.to(device) for host in hosts]),
            compute=timed(lambda: module(*inside)),
            from_device=timed(lambda: [tensor.cpu() for tensor in outputs]),
        )
