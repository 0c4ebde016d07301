"""How to time a function without fooling yourself: warm-up, interleaved pairs, and load that does not wait for answers.

A clock, a way to sleep and a seed are arguments everywhere, so tests run on a fake clock and never wait.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from solutions.core.errors import BackendUnavailable, ConfigError
from solutions.core.measure.load import OpenLoopResult, open_loop
from solutions.core.measure.metrics import LatencySummary, PairedRatio, Throughput

__all__ = [
    "Measurement",
    "OpenLoopResult",
    "PairMeasurement",
    "measure",
    "measure_pair",
    "open_loop",
    "synchronize_for",
]

Clock = Callable[[], float]
Synchronize = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What `measure` found: the samples in the order they were taken (seconds), and their summary (milliseconds)."""

    summary: LatencySummary
    samples_s: tuple[float, ...]
    warmup: int

    @property
    def throughput(self) -> Throughput:
        """Calls per second when calls follow one another, i.e. n over the time spent inside them."""
        return Throughput(count=len(self.samples_s), seconds=sum(self.samples_s))

    def as_dict(self) -> dict[str, Any]:
        """The summary and the number of warm-up calls, ready for JSON."""
        return {"latency_ms": self.summary.as_dict(), "warmup": self.warmup}


@dataclass(frozen=True, slots=True)
class PairMeasurement:
    """What `measure_pair` found: the ratio b/a that may be claimed, and each side's own latencies for context."""

    ratio: PairedRatio
    a: LatencySummary
    b: LatencySummary

    def as_dict(self) -> dict[str, Any]:
        """Ratio and both summaries, ready for JSON."""
        return {"ratio_b_over_a": self.ratio.as_dict(), "a_ms": self.a.as_dict(), "b_ms": self.b.as_dict()}


def measure(
    fn: Callable[[], object],
    *,
    warmup: int = 10,
    repeats: int = 100,
    min_seconds: float = 0.0,
    synchronize: Synchronize | None = None,
    clock: Clock = time.perf_counter,
) -> Measurement:
    """Latencies of `repeats` calls of `fn`, after `warmup` calls that are not timed.

    Args:
        fn: the work, with its inputs bound. Include pre- and post-processing when the claim is about end to end.
        warmup: calls for allocators, caches, JIT compilers and clock frequencies to settle.
        repeats: at least this many timed calls.
        min_seconds: go on until the timed calls add up to this long, so that fast functions get more samples.
        synchronize: waits for the device, before the first and inside every timing (see `synchronize_for`). Without
            it a GPU call is timed up to its launch only.
        clock: seconds, monotonic.

    Raises:
        ConfigError: a count or time out of range.
    """
    _check_counts(warmup=warmup, repeats=repeats)
    if min_seconds < 0:
        raise ConfigError(f"min_seconds must be >= 0, got {min_seconds}")
    wait = synchronize or _nothing
    for _ in range(warmup):
        fn()
    wait()
    samples: list[float] = []
    spent = 0.0
    while len(samples) < repeats or spent < min_seconds:
        start = clock()
        fn()
        wait()
        samples.append(clock() - start)
        spent += samples[-1]
    return Measurement(LatencySummary.of(samples), tuple(samples), warmup)


def measure_pair(
    a: Callable[[], object],
    b: Callable[[], object],
    *,
    rounds: int = 30,
    warmup: int = 3,
    inner: int = 1,
    synchronize: Synchronize | None = None,
    clock: Clock = time.perf_counter,
    seed: int = 0,
) -> PairMeasurement:
    """The ratio of b's time to a's, from interleaved rounds: below 1, b is faster.

    Each round runs a b b a, so a drift that is linear over the round (heating up, a neighbour waking) falls on both
    sides alike and cancels. Timing all of a and then all of b measures the drift instead.

    Args:
        a: the baseline.
        b: the challenger.
        rounds: pairs of times; 30 or more for an interval worth quoting.
        warmup: untimed calls of each.
        inner: calls per timing, for work near the clock's resolution; the latencies reported are per call.
        synchronize: waits for the device, as in `measure`.
        clock: seconds, monotonic.
        seed: of the bootstrap.

    Raises:
        ConfigError: a count out of range, or a timing of 0 seconds (raise `inner`).
    """
    _check_counts(warmup=warmup, repeats=rounds, inner=inner)
    wait = synchronize or _nothing
    for _ in range(warmup):
        a()
        b()
    wait()

    def timed(fn: Callable[[], object]) -> float:
        start = clock()
        for _ in range(inner):
            fn()
        wait()
        return (clock() - start) / inner

    a_s: list[float] = []
    b_s: list[float] = []
    for _ in range(rounds):
        a_s.append(timed(a))
        b_s.append(timed(b))
        b_s.append(timed(b))
        a_s.append(timed(a))
    per_round_a = [first + last for first, last in zip(a_s[::2], a_s[1::2], strict=True)]
    per_round_b = [first + last for first, last in zip(b_s[::2], b_s[1::2], strict=True)]
    ratio = PairedRatio.of(per_round_a, per_round_b, seed=seed)
    return PairMeasurement(ratio, LatencySummary.of(a_s), LatencySummary.of(b_s))


def synchronize_for(device: str) -> Synchronize:
    """The call that waits until `device` ("cpu", "cuda", "cuda:1", "mps") has finished what it was given.

    Raises:
        BackendUnavailable: torch is not imported, or lacks that device here.
        ConfigError: another kind of device.
    """
    kind = device.split(":")[0]
    if kind == "cpu":
        return _nothing
    if kind not in ("cuda", "mps"):
        raise ConfigError(f"no way to synchronise with device {device!r}: known are cpu, cuda and mps")
    torch = sys.modules.get("torch")
    if torch is None:  # whoever has work on a GPU through torch has imported it
        raise BackendUnavailable(f"synchronising with {device} needs torch, which has not been imported")
    if kind == "cuda" and torch.cuda.is_available():
        return lambda: torch.cuda.synchronize(device)
    if kind == "mps" and torch.backends.mps.is_available():
        return lambda: torch.mps.synchronize()
    raise BackendUnavailable(f"torch sees no {kind} device here: use --device cpu")


def _nothing() -> None:
    """Waits for nothing: a CPU call has finished when it returns."""


def _check_counts(*, warmup: int, repeats: int, inner: int = 1) -> None:
    if warmup < 0:
        raise ConfigError(f"warmup must be >= 0, got {warmup}")
    if repeats < 1:
        raise ConfigError(f"at least one timed call is needed, got {repeats}")
    if inner < 1:
        raise ConfigError(f"inner must be >= 1, got {inner}")
