"""How long one inference takes: cold, warm, in batches, and with more threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.measure.energy import Energy, EnergyMeter
from solutions.core.measure.memory import peak_rss_during, vram_mb
from solutions.core.measure.metrics import LatencySummary, PairedRatio
from solutions.core.measure.profiling import Clock, Measurement, measure, measure_pair
from solutions.core.tensors import Model
from solutions.phase1_basics.profiling.feeds import sample_feeds

Load = Callable[[int | None], Model]


@dataclass(frozen=True, slots=True)
class ColdStart:
    """What the first user waits for: loading the model and its first inference, each once, nothing warmed up."""

    load_ms: float
    first_ms: float

    def as_dict(self) -> dict[str, float]:
        """The fields by name, ready for JSON."""
        return {"load_ms": self.load_ms, "first_inference_ms": self.first_ms}


@dataclass(frozen=True, slots=True)
class Resources:
    """What the timed inferences took besides time. `rss_exact` is False where the peak may be an older one."""

    rss_peak_mb: float
    rss_growth_mb: float
    rss_exact: bool
    vram_mb: float | None
    energy: Energy
    inferences: int

    def as_dict(self) -> dict[str, Any]:
        """The fields by name and joules per inference, ready for JSON."""
        return {
            "rss_peak_mb": self.rss_peak_mb,
            "rss_growth_mb": self.rss_growth_mb,
            "rss_peak_is_exact": self.rss_exact,
            "vram_mb": self.vram_mb,
            "energy": self.energy.as_dict(),
            "joules_per_inference": self.energy.per(self.inferences),
        }


@dataclass(frozen=True, slots=True)
class BatchPoint:
    """Latency of a whole batch, and rows per second."""

    batch: int
    latency: LatencySummary
    rows_per_s: float

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {"batch": self.batch, "latency_ms": self.latency.as_dict(), "rows_per_second": self.rows_per_s}


@dataclass(frozen=True, slots=True)
class ThreadPoint:
    """Latency with `threads` threads; `ratio` is its time over that of the first count, interleaved with it.

    `beside_ms` is the median of the first count in those very rounds.
    """

    threads: int
    latency: LatencySummary
    ratio: PairedRatio | None
    beside_ms: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {
            "threads": self.threads,
            "latency_ms": self.latency.as_dict(),
            "ratio_to_first": self.ratio.as_dict() if self.ratio else None,
            "first_p50_ms_in_these_rounds": self.beside_ms,
        }


def cold_start(
    load: Callable[[], Model], *, batch: int = 1, clock: Clock = time.perf_counter
) -> tuple[Model, ColdStart]:
    """A freshly loaded model, and what loading and its first inference took. The caller closes the model.

    Loading contains the import of the runtime, where nobody has imported it before.
    """
    start = clock()
    model = load()
    loaded = clock()
    feeds = sample_feeds(model, batch=batch)
    ready = clock()
    model.predict(feeds)
    return model, ColdStart(load_ms=(loaded - start) * 1e3, first_ms=(clock() - ready) * 1e3)


def profile_latency(
    model: Model,
    feeds: Mapping[str, np.ndarray],
    *,
    iterations: int,
    warmup: int = 10,
    clock: Clock = time.perf_counter,
    meter: EnergyMeter | None = None,
) -> tuple[Measurement, Resources]:
    """Latencies of single calls after warm-up, and the memory and energy that they took.

    `predict` hands over arrays on the host, so on a GPU the copies both ways are part of it and it needs no further
    synchronisation.

    Args:
        model: loaded, open.
        feeds: one array per input.
        iterations: timed calls.
        warmup: calls before them.
        clock: seconds, monotonic.
        meter: fresh; that of this machine unless given.
    """
    meter = meter if meter is not None else EnergyMeter()
    for _ in range(warmup):  # outside the meter: energy is that of the timed calls
        model.predict(feeds)
    with peak_rss_during() as rss, meter:
        found = measure(lambda: model.predict(feeds), warmup=0, repeats=iterations, clock=clock)
    resources = Resources(rss.peak_mb, rss.growth_mb, rss.exact, vram_mb(), meter.result, iterations)
    return Measurement(found.summary, found.samples_s, warmup), resources


def sweep_batches(
    model: Model, batches: Sequence[int], *, repeats: int, warmup: int = 3, clock: Clock = time.perf_counter
) -> tuple[BatchPoint, ...]:
    """One point per batch size. The points are measured one after another, so compare neighbours with care."""
    points = []
    for batch in batches:
        feeds = sample_feeds(model, batch=batch)
        found = measure(lambda feeds=feeds: model.predict(feeds), warmup=warmup, repeats=repeats, clock=clock)  # type: ignore[misc]
        points.append(BatchPoint(batch, found.summary, batch * found.throughput.per_second))
    return tuple(points)


def sweep_threads(
    load: Load,
    threads: Sequence[int],
    *,
    rounds: int,
    batch: int = 1,
    warmup: int = 3,
    clock: Clock = time.perf_counter,
) -> tuple[ThreadPoint, ...]:
    """One point per number of threads, each interleaved with the first, so that the ratio may be quoted.

    Args:
        load: a model with that many threads; each is closed again here.
        threads: counts, the first being the baseline.
        rounds: of the interleaved measurement.
        batch: rows per call.
        warmup: calls of each before.
        clock: seconds, monotonic.

    Raises:
        ConfigError: a count below 1, or none.
    """
    if not threads or any(count < 1 for count in threads):
        raise ConfigError(f"thread counts must be >= 1, got {', '.join(map(str, threads)) or 'none'}")
    first = load(threads[0])
    feeds = sample_feeds(first, batch=batch)
    points: list[ThreadPoint] = []
    try:
        if len(threads) == 1:
            alone = measure(lambda: first.predict(feeds), warmup=warmup, repeats=2 * rounds, clock=clock)
            return (ThreadPoint(threads[0], alone.summary, None),)
        for count in threads[1:]:
            other = load(count)
            try:
                pair = measure_pair(
                    lambda: first.predict(feeds),
                    lambda other=other: other.predict(feeds),  # type: ignore[misc]
                    rounds=rounds,
                    warmup=warmup,
                    clock=clock,
                )
            finally:
                other.close()
            if not points:
                points.append(ThreadPoint(threads[0], pair.a, None))
            points.append(ThreadPoint(count, pair.b, pair.ratio, pair.a.p50))
    finally:
        first.close()
    return tuple(points)
