"""Observers: from the activations of many pictures to one range per tensor, in memory that does not grow.

Each keeps a few numbers or a histogram of fixed size, never an activation. Which one is best depends on the model, and
only a measurement tells: min-max wastes codes on outliers, the others trade rare large values for finer common ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.quantization.range_histogram import RangeHistogram, finite_extremes
from solutions.phase2_optimization.quantization.range_search import least_divergence, least_squared_error, without_tails


class Observer(Protocol):
    """Sees activations, says a range."""

    def observe(self, array: np.ndarray) -> None:
        """Take in the values of one batch; an empty array is passed over.

        Raises:
            ConfigError: it holds NaN or infinity.
        """

    def range(self) -> tuple[float, float]:
        """The chosen (low, high) of all values seen so far; zero may lie outside of it.

        Raises:
            ConfigError: nothing was observed.
        """

    @property
    def nbytes(self) -> int:
        """The bytes of state held; the same after one picture and after a thousand."""


class MinMax:
    """The least and the greatest value ever seen."""

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf

    def observe(self, array: np.ndarray) -> None:
        """Widen the range to hold `array`."""
        if array.size:
            low, high = finite_extremes(array)
            self._low, self._high = min(self._low, low), max(self._high, high)

    def range(self) -> tuple[float, float]:
        """The extremes."""
        return _checked(float(self._low), float(self._high))

    @property
    def nbytes(self) -> int:
        """Two numbers."""
        return 16


class MovingAverage:
    """The average of each batch's extremes: one strange picture cannot stretch the range alone.

    The first 1 / `newest` batches weigh the same; after that the newest always weighs `newest`, and old ones fade.
    """

    def __init__(self, newest: float = 0.01) -> None:
        if not 0 < newest <= 1:
            raise ConfigError(f"the weight of the newest batch must lie in (0, 1], got {newest}")
        self._newest, self._batches = newest, 0
        self._low = self._high = 0.0

    def observe(self, array: np.ndarray) -> None:
        """Move the extremes towards those of `array`."""
        if array.size:
            low, high = finite_extremes(array)
            self._batches += 1
            weight = max(1 / self._batches, self._newest)
            self._low += weight * (low - self._low)
            self._high += weight * (high - self._high)

    def range(self) -> tuple[float, float]:
        """The averaged extremes."""
        return _checked(self._low, self._high, seen=self._batches > 0)

    @property
    def nbytes(self) -> int:
        """Three numbers."""
        return 24


class _FromHistogram:
    """What the observers share that look at the whole distribution."""

    def __init__(self, bins: int = 4096) -> None:
        self.histogram = RangeHistogram(bins)

    def observe(self, array: np.ndarray) -> None:
        """Count the values of `array`."""
        self.histogram.add(array)

    @property
    def nbytes(self) -> int:
        """The histogram's counts."""
        return self.histogram.nbytes

    def _seen(self) -> RangeHistogram:
        _checked(self.histogram.low, self.histogram.high)
        return self.histogram


class Percentile(_FromHistogram):
    """The range that leaves out (100 - `percent`) / 2 percent of the values at either end, to a bin's precision."""

    def __init__(self, percent: float = 99.99, bins: int = 4096) -> None:
        super().__init__(bins)
        if not 50 < percent <= 100:
            raise ConfigError(f"percent must lie in (50, 100], got {percent}")
        self._percent = percent

    def range(self) -> tuple[float, float]:
        """The outer edges of the bins where the tails end, never beyond the extremes."""
        return without_tails(self._seen(), (100 - self._percent) / 200)


class Entropy(_FromHistogram):
    """The range whose codes keep the most of the distribution's information (least Kullback-Leibler divergence).

    Divergence counts how often values occur, not how large they are: where nearly all are close to zero it cuts the
    few that matter (the sigmoid of a detector's scores at 0.06, SQNR 1 dB; whole networks have collapsed so). Hence
    `most_clipped`: at most this share of the values is cut off, half of it at either end. 1 is divergence alone.
    """

    def __init__(self, levels: int = 256, bins: int = 4096, most_clipped: float = 1e-4) -> None:
        super().__init__(bins)
        if not 0 <= most_clipped <= 1:
            raise ConfigError(f"most_clipped must lie in [0, 1], got {most_clipped}")
        self._levels, self._most_clipped = levels, most_clipped

    def range(self) -> tuple[float, float]:
        """The extremes, both cut at the same distance from zero, unless that would cut off too much."""
        seen = self._seen()
        low, high = least_divergence(seen, self._levels)
        if self._most_clipped < 1:
            least, most = without_tails(seen, self._most_clipped / 2)
            low, high = min(low, least), max(high, most)
        return low, high


class MeanSquaredError(_FromHistogram):
    """The range whose codes are nearest to the values on average (least squared error); each end is cut on its own."""

    def __init__(self, levels: int = 256, bins: int = 4096) -> None:
        super().__init__(bins)
        self._levels = levels

    def range(self) -> tuple[float, float]:
        """The range found."""
        return least_squared_error(self._seen(), self._levels)


OBSERVERS: dict[str, Callable[[], Observer]] = {
    "minmax": MinMax,
    "moving_average": MovingAverage,
    "percentile": Percentile,
    "entropy": Entropy,
    "mse": MeanSquaredError,
}


def make_observer(name: str) -> Observer:
    """A fresh observer by name: one of `OBSERVERS`, or "percentile:99.9" for another percentage.

    >>> observer = make_observer("minmax")
    >>> observer.observe(np.float32([-1, 2]))
    >>> observer.range()
    (-1.0, 2.0)
    """
    kind, colon, value = name.partition(":")
    if kind == "percentile" and colon:
        try:
            return Percentile(float(value))
        except ValueError as error:  # ConfigError is one too, and says more
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"percentile wants a number after the colon, as in percentile:99.9, got {name}") from None
    if name not in OBSERVERS:
        raise ConfigError(f"an observer is one of {', '.join(OBSERVERS)} or percentile:99.9, got {name}")
    return OBSERVERS[name]()


def _checked(low: float, high: float, *, seen: bool = True) -> tuple[float, float]:
    if not seen or low > high:
        raise ConfigError("an observer that has seen no value has no range: run at least one picture through it")
    return low, high
