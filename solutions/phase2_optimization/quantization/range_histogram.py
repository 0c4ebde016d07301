"""A histogram whose range grows with the data, in constant memory, with nothing lost but resolution.

Every bin edge is a multiple of a power of two. When a value falls outside, bins are merged by twos, fours, ... until it
fits, so no count is ever smeared over two bins. The bins then depend on the values seen and on nothing else: not on
their order, and not on how they were cut into batches.
"""

from __future__ import annotations

import math

import numpy as np

from solutions.core.errors import ConfigError

_CHUNK = 1 << 15  # values turned into bin numbers at a time: the scratch memory stays below a megabyte
_WHOLE = 1 << 24  # up to here float32 holds every whole number


class RangeHistogram:
    """Counts of float values in at most `bins` equal bins; between half of them and all are in use.

    Attributes:
        counts: int64, one per bin; bin i holds the values in [edges[i], edges[i + 1]).
        low: the least value seen, exactly; +inf before the first.
        high: the greatest; -inf before the first.
    """

    def __init__(self, bins: int = 4096) -> None:
        if bins < 16:
            raise ConfigError(f"a histogram needs at least 16 bins, got {bins}")
        self.counts = np.zeros(bins, np.int64)
        self.low, self.high = math.inf, -math.inf
        self._exponent = 0
        self._start = 0

    @property
    def width(self) -> float:
        """The width of a bin, a power of two."""
        return math.ldexp(1.0, self._exponent)

    @property
    def first_bin(self) -> int:
        """The number of the first bin: it begins at `first_bin` * `width`."""
        return self._start

    @property
    def edges(self) -> np.ndarray:
        """The `bins` + 1 edges, float64, ascending."""
        return (self._start + np.arange(self.counts.size + 1)) * self.width

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    @property
    def nbytes(self) -> int:
        """The bytes that the counts take; they never change."""
        return self.counts.nbytes

    def add(self, array: np.ndarray) -> None:
        """Count every value of `array`.

        Raises:
            ConfigError: it holds NaN or infinity.
        """
        flat = np.asarray(array).reshape(-1)
        if not flat.size:
            return
        low, high = finite_extremes(flat)
        if low < self.low or high > self.high:
            self.low, self.high = min(low, self.low), max(high, self.high)
            self._cover(self.low, self.high)
        factor = math.ldexp(1.0, -self._exponent)
        # Scaling by a power of two is exact, so floor finds the right bin always: in float64, and in float32, which is
        # faster, where nothing can underflow and whole numbers have no gaps.
        small = flat.dtype.itemsize <= 4 and factor >= 1 and abs(self._start) + self.counts.size < _WHOLE
        kind = np.float32 if small else np.float64
        for begin in range(0, flat.size, _CHUNK):
            numbers = flat[begin : begin + _CHUNK].astype(kind)
            numbers *= factor
            np.floor(numbers, out=numbers)
            numbers -= self._start
            self.counts += np.bincount(numbers.astype(np.int64), minlength=self.counts.size)

    def _cover(self, low: float, high: float) -> None:
        exponent = _exponent_for(low, high, self.counts.size)
        start = math.floor(math.ldexp(low, -exponent))
        used = np.flatnonzero(self.counts)
        if used.size:
            moved = ((used + self._start) >> (exponent - self._exponent)) - start
            held = self.counts[used]
            self.counts[:] = 0
            np.add.at(self.counts, moved, held)
        self._exponent, self._start = exponent, start


def finite_extremes(array: np.ndarray) -> tuple[float, float]:
    """The least and greatest value of a non-empty array.

    Raises:
        ConfigError: it holds NaN or infinity.
    """
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError("a tensor holds NaN or infinity, so it has no range: find the layer that makes them first")
    return low, high


def _exponent_for(low: float, high: float, bins: int) -> int:
    """The least exponent whose bins hold [low, high]; it never falls when the range grows."""
    # The floor keeps bin numbers far inside of 64 bits, and the factor inside of float32, when all values are equal.
    largest = max(abs(low), abs(high))
    exponent = max(-120, math.frexp(largest)[1] - 40)
    if high > low:
        exponent = max(exponent, math.frexp((high - low) / bins)[1] - 2)
    while math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) >= bins:
        exponent += 1
    return exponent
