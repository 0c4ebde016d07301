"""Latencies of a run of any length in about 9 KB: counts in buckets whose width grows with the value.

The idea of HdrHistogram (Tene): a bucket 2 % wide, reported by its geometric middle, is wrong by at most 1 % whether
it holds microseconds or minutes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from solutions.core.errors import ConfigError
from solutions.core.measure.latency import LatencySummary

GROWTH = 1.02  # width of a bucket relative to its lower edge; the middle errs by sqrt(1.02) - 1 = 0.995 %
LOWEST_S, HIGHEST_S = 1e-6, 3600.0

_LOG_GROWTH = math.log(GROWTH)
_BUCKETS = math.ceil(math.log(HIGHEST_S / LOWEST_S) / _LOG_GROWTH)


class LatencyHistogram:
    """Counts of latencies by size, in constant memory, from which a `LatencySummary` can be read at any time.

    Percentiles err by at most 1 % for latencies from 1 microsecond to 1 hour; what lies outside is counted in the
    outermost buckets. n, mean, std, min and max are exact. There is no lock: one thread records; others
    may read a slightly older picture, or each thread keeps its own histogram and a reader merges them.
    """

    __slots__ = ("_counts", "_m2", "_max", "_mean", "_min", "_n")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._n = 0
        self._mean = 0.0
        self._m2 = 0.0  # sum of squared differences from the mean (Welford, 1962)
        self._min = math.inf
        self._max = -math.inf

    def __len__(self) -> int:
        return self._n

    def record(self, seconds: float) -> None:
        """Count one latency.

        Raises:
            ConfigError: it is negative, NaN or infinite.
        """
        if not 0.0 <= seconds < math.inf:
            raise ConfigError(f"a latency must be finite and >= 0 seconds, got {seconds}")
        bucket = int(math.log(seconds / LOWEST_S) / _LOG_GROWTH) if seconds > LOWEST_S else 0
        self._counts[min(bucket, _BUCKETS - 1)] += 1
        self._n += 1
        delta = seconds - self._mean
        self._mean += delta / self._n
        self._m2 += delta * (seconds - self._mean)
        self._min = min(self._min, seconds)
        self._max = max(self._max, seconds)

    def merge(self, others: Iterable[LatencyHistogram]) -> LatencyHistogram:
        """A new histogram that holds this one's counts and those of `others` (Chan et al., 1979)."""
        total = LatencyHistogram()
        for part in (self, *others):
            if not part._n:
                continue
            n = total._n + part._n
            delta = part._mean - total._mean
            total._m2 += part._m2 + delta * delta * total._n * part._n / n
            total._mean += delta * part._n / n
            total._n = n
            total._min = min(total._min, part._min)
            total._max = max(total._max, part._max)
            total._counts = [mine + theirs for mine, theirs in zip(total._counts, part._counts, strict=True)]
        return total

    def percentile(self, percent: float) -> float:
        """The latency in seconds below which `percent` of the samples lie, interpolated as in `LatencySummary`.

        Raises:
            ConfigError: nothing was recorded, or `percent` is outside 0..100.
        """
        if not self._n:
            raise ConfigError("an empty histogram has no percentiles: record a latency first")
        if not 0 <= percent <= 100:
            raise ConfigError(f"percent must lie in 0..100, got {percent}")
        rank = percent / 100 * (self._n - 1)
        below = math.floor(rank)
        lower = self._order_statistic(below)
        upper = self._order_statistic(min(below + 1, self._n - 1))
        return lower + (upper - lower) * (rank - below)

    def summary(self) -> LatencySummary:
        """The summary in milliseconds.

        Raises:
            ConfigError: nothing was recorded.
        """
        p50, p90, p95, p99 = (self.percentile(percent) * 1e3 for percent in (50, 90, 95, 99))
        return LatencySummary(
            n=self._n,
            mean=self._mean * 1e3,
            std=math.sqrt(self._m2 / self._n) * 1e3,
            min=self._min * 1e3,
            p50=p50,
            p90=p90,
            p95=p95,
            p99=p99,
            max=self._max * 1e3,
        )

    def _order_statistic(self, index: int) -> float:
        """Seconds of the sample at `index` in ascending order, to within its bucket."""
        if index == 0:
            return self._min
        if index == self._n - 1:
            return self._max
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen > index:
                middle = LOWEST_S * math.exp((bucket + 0.5) * _LOG_GROWTH)
                return min(max(middle, self._min), self._max)
        raise RuntimeError("the counts of the histogram do not add up to n: two threads have recorded into it")
