"""Open-loop load: requests that fall due by the clock, not by the answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.measure.metrics import LatencySummary, Throughput


@dataclass(frozen=True, slots=True)
class OpenLoopResult:
    """What `open_loop` found.

    `latency` runs from the instant a request was due to its completion, `service` from its actual start; where the two
    part, requests queued behind slow ones. `late` counts requests that started after they were due.
    """

    latency: LatencySummary
    service: LatencySummary
    throughput: Throughput
    offered_hz: float
    late: int

    def as_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {
            "latency_ms": self.latency.as_dict(),
            "service_ms": self.service.as_dict(),
            "throughput": self.throughput.as_dict(),
            "offered_hz": self.offered_hz,
            "late": self.late,
        }


def open_loop(
    fn: Callable[[], object],
    *,
    rate_hz: float,
    count: int | None = None,
    duration_s: float | None = None,
    arrivals: Literal["uniform", "poisson"] = "uniform",
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> OpenLoopResult:
    """Latencies of requests that fall due at `rate_hz` whether or not the previous answer has come.

    Each latency counts from the *intended* send time. A closed loop, which waits for the answer before it sends again,
    stops asking exactly while the system is slow and so hides its worst seconds ("coordinated omission", Tene). One
    thread runs the calls one after another: `fn` is a server with one worker.

    Args:
        fn: answers one request.
        rate_hz: requests per second, on average.
        count: number of requests; give this or `duration_s`.
        duration_s: seconds of arrivals, the first one at 0.
        arrivals: evenly spaced (cameras) or exponential gaps (independent users).
        seed: of the exponential gaps.
        clock: seconds, monotonic.
        sleep: waits that many seconds.

    Raises:
        ConfigError: a rate that is not positive, neither or both of count and duration, or no request in the duration.
    """
    if not 0 < rate_hz < float("inf"):
        raise ConfigError(f"rate_hz must be above 0, got {rate_hz}")
    if (count is None) == (duration_s is None):
        raise ConfigError(f"give either count or duration_s, got count={count} and duration_s={duration_s}")
    if count is None:
        count = round((duration_s or 0.0) * rate_hz)
    if count < 1:
        raise ConfigError(f"at least one request is needed, got {count}")
    gaps = np.full(count, 1.0) if arrivals == "uniform" else np.random.default_rng(seed).exponential(1.0, count)
    due_after_s = (np.cumsum(gaps) - gaps[0]) / rate_hz

    latencies: list[float] = []
    services: list[float] = []
    late = 0
    begin = clock()
    done = begin
    for due in (begin + due_after_s).tolist():
        if (now := clock()) < due:
            sleep(due - now)
        elif now > due:
            late += 1
        start = clock()
        fn()
        done = clock()
        latencies.append(max(0.0, done - due))
        services.append(done - start)
    return OpenLoopResult(
        latency=LatencySummary.of(latencies),
        service=LatencySummary.of(services),
        throughput=Throughput(count, done - begin),
        offered_hz=rate_hz,
        late=late,
    )
