"""Ranges out of a histogram: without its tails, with the least divergence, with the least squared error."""

from __future__ import annotations

import numpy as np

from solutions.phase2_optimization.quantization.range_histogram import RangeHistogram

_CANDIDATES = 96  # thresholds tried; the loss is flat near its least, more of them change nothing


def without_tails(histogram: RangeHistogram, tail: float) -> tuple[float, float]:
    """The (low, high) that leaves out at most the fraction `tail` of the values at either end, to a bin's precision.

    A bin is cut off only when all of it lies in the tail; the range never goes beyond the extremes seen.
    """
    allowed = tail * histogram.total
    first = int(np.searchsorted(np.cumsum(histogram.counts), allowed, side="right"))
    after = int(np.searchsorted(np.cumsum(histogram.counts[::-1]), allowed, side="right"))
    edges = histogram.edges
    return max(histogram.low, float(edges[first])), min(histogram.high, float(edges[histogram.counts.size - after]))


def least_divergence(histogram: RangeHistogram, levels: int = 256) -> tuple[float, float]:
    """The (low, high) whose quantized distribution has the least Kullback-Leibler divergence from the real one.

    Both ends are cut at the same distance t from zero. For each t the real distribution has everything beyond put into
    its outermost bins; the quantized one shares each level's count among those of its bins that were not empty. Codes
    too coarse lose shape, ranges too narrow pile up at the ends: the divergence sees both.
    """
    low, high = _with_zero(histogram)
    reach = max(-low, high)
    thresholds = np.linspace(reach, min(reach, levels * histogram.width), _CANDIDATES)
    losses = _divergences(histogram, np.maximum(low, -thresholds), np.minimum(high, thresholds), levels)
    best = float(thresholds[np.argmin(losses)])  # the first of equals is the widest
    return max(histogram.low, -best), min(histogram.high, best)


def least_squared_error(histogram: RangeHistogram, levels: int = 256) -> tuple[float, float]:
    """The (low, high) with the least mean squared difference between a value and what its code stands for.

    First both ends move in together, then each on its own around the best, three rounds with finer and finer steps.
    """
    used = np.flatnonzero(histogram.counts)
    edges = histogram.edges
    values = np.clip((edges[used] + edges[used + 1]) / 2, histogram.low, histogram.high)
    weights = histogram.counts[used].astype(np.float64)
    low, high = _with_zero(histogram)
    if low == high:
        return histogram.low, histogram.high
    shrink = np.linspace(1.0, 1 / _CANDIDATES, _CANDIDATES)
    low, high = _best(values, weights, low * shrink, high * shrink, levels)
    for step in (0.5, 0.25, 0.1):
        around = np.linspace(1 + step, 1 - step, 33)
        highs = np.minimum(high * around, max(histogram.high, 0.0))
        low, high = _best(values, weights, np.full(33, low), highs, levels)
        lows = np.maximum(low * around, min(histogram.low, 0.0))
        low, high = _best(values, weights, lows, np.full(33, high), levels)
    return max(low, histogram.low), min(high, histogram.high)


def _with_zero(histogram: RangeHistogram) -> tuple[float, float]:
    return min(histogram.low, 0.0), max(histogram.high, 0.0)


def _divergences(histogram: RangeHistogram, lows: np.ndarray, highs: np.ndarray, levels: int) -> np.ndarray:
    """The divergence of each pair of `lows` and `highs`, each [cuts]: sum of p log(p / q) over the bins where p > 0.

    What comes back is float64 [cuts]; infinite where a cut leaves nothing inside.

    Within a level q is the same for all filled bins, so prefix sums over the bins give a level's share in one step, and
    only the two outermost bins, which hold what was cut off too, count one by one. An outermost bin that was empty
    before has no share in q; it costs as much as half a count there would.
    """
    counts = histogram.counts
    begin, end = np.floor(lows / histogram.width).astype(np.int64), np.ceil(highs / histogram.width).astype(np.int64)
    first = np.clip(begin - histogram.first_bin, 0, counts.size - 1)
    after = np.clip(end - histogram.first_bin, first + 1, counts.size)
    wide = (after - first)[:, None]
    # The levels split the bins evenly: bin j of the m inside is in level j * levels // m.
    begins = first[:, None] - np.arange(levels + 1) * -wide // levels
    before, terms_before = _before(counts), _before(_x_log(counts))
    mass = np.diff(before[begins])
    filled = np.diff(_before(np.sign(counts))[begins])
    each = mass / np.maximum(filled, 1)
    inside = mass.sum(axis=1)

    everything = int(before[-1])
    cut_low, cut_high = before[first], everything - before[after]
    alone = after - first == 1
    cut_low, cut_high = np.where(alone, cut_low + cut_high, cut_low), np.where(alone, 0, cut_high)
    real = terms_before[after] - terms_before[first]
    model = (mass * np.log(np.maximum(each, 1))).sum(axis=1)
    total = inside.astype(np.float64)
    for at, level, cut in ((first, 0, cut_low), (after - 1, (wide[:, 0] - 1) * levels // wide[:, 0], cut_high)):
        held = counts[at]
        share = np.where(held > 0, each[np.arange(len(each)), level], 0.5)
        real += _x_log(held + cut) - _x_log(held)
        model += cut * np.log(share)
        total += np.where((held == 0) & (cut > 0), 0.5, 0.0)
    with np.errstate(divide="ignore"):
        losses = (real - model) / everything - np.log(everything) + np.log(total)
    return np.where(inside > 0, losses, np.inf)


def _before(values: np.ndarray) -> np.ndarray:
    """The sum of all that stand before each place, and at the end of all."""
    sums: np.ndarray = np.concatenate([np.zeros(1, values.dtype), np.cumsum(values)])
    return sums


def _x_log(values: np.ndarray) -> np.ndarray:
    terms: np.ndarray = values * np.log(np.maximum(values, 1))
    return terms


def _best(
    values: np.ndarray, weights: np.ndarray, lows: np.ndarray, highs: np.ndarray, levels: int
) -> tuple[float, float]:
    """The pair of `lows` and `highs` with the least error; the first of equals."""
    losses = [_squared_error(values, weights, low, high, levels) for low, high in zip(lows, highs, strict=True)]
    at = int(np.argmin(losses))
    return float(lows[at]), float(highs[at])


def _squared_error(values: np.ndarray, weights: np.ndarray, low: float, high: float, levels: int) -> float:
    scale = (high - low) / (levels - 1)
    if scale <= 0:
        return float(np.sum(weights * values**2))
    zero_point = np.rint(-low / scale)
    codes = np.clip(np.rint(values / scale) + zero_point, 0, levels - 1)
    return float(np.sum(weights * ((codes - zero_point) * scale - values) ** 2))
