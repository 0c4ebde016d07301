"""The summary of many latencies: nine numbers, percentiles first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from solutions.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """The distribution of n latencies, in milliseconds.

    Percentiles interpolate linearly between the two nearest order statistics (NumPy's default, Hyndman and Fan's type
    7), so p99 of fewer than 100 samples is little more than the maximum: read n first. `std` is the population's.
    """

    n: int
    mean: float
    std: float
    min: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> LatencySummary:
        """The summary of latencies given in seconds.

        Raises:
            ConfigError: no samples, or one that is negative, NaN or infinite.

        >>> LatencySummary.of([0.001, 0.002, 0.003, 0.010]).p50
        2.5
        """
        samples = np.asarray(seconds, dtype=np.float64) * 1e3
        if samples.size == 0:
            raise ConfigError("a latency summary needs at least one sample, got none")
        if not (np.isfinite(samples).all() and (samples >= 0).all()):
            worst = samples[~(np.isfinite(samples) & (samples >= 0))][0] / 1e3
            raise ConfigError(f"latencies must be finite and >= 0 seconds, got {worst}")
        p50, p90, p95, p99 = (float(value) for value in np.percentile(samples, [50, 90, 95, 99]))
        return cls(
            n=int(samples.size),
            mean=float(samples.mean()),
            std=float(samples.std()),
            min=float(samples.min()),
            p50=p50,
            p90=p90,
            p95=p95,
            p99=p99,
            max=float(samples.max()),
        )

    def as_dict(self) -> dict[str, float]:
        """The fields by name, ready for JSON; put them under a key that says milliseconds, such as `latency_ms`."""
        return asdict(self)
