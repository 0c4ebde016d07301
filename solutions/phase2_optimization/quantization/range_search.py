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
    least = min(reach, levels * histogram.width)
    best, best_loss = reach, np.inf
    for t in np.linspace(reach, least, _CANDIDATES):
        loss = _divergence(histogram, max(low, -t), min(high, t), levels)
        if loss < best_loss:  # ties keep the wider range: it comes first
            best, best_loss = float(t), loss
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


def _divergence(histogram: RangeHistogram, low: float, high: float, levels: int) -> float:
    counts = histogram.counts.astype(np.float64)
    first = int(np.clip(np.floor(low / histogram.width) - histogram.first_bin, 0, counts.size - 1))
    last = int(np.clip(np.ceil(high / histogram.width) - histogram.first_bin, first + 1, counts.size))
    inside = counts[first:last]
    real = inside.copy()
    real[0] += counts[:first].sum()
    real[-1] += counts[last:].sum()
    # Which level each bin falls into: the levels split the bins evenly.
    level = np.arange(inside.size) * levels // inside.size
    filled = inside > 0
    mass = np.bincount(level, weights=inside, minlength=levels)
    members = np.bincount(level, weights=filled, minlength=levels)
    quantized = np.where(filled, (mass / np.maximum(members, 1))[level], 0.0)
    return _kullback_leibler(real, quantized)


def _kullback_leibler(real: np.ndarray, model: np.ndarray) -> float:
    """Sum of p log(p / q) over the bins where p > 0; a bin that q leaves empty costs as much as half a count would."""
    if model.sum() == 0:
        return float("inf")
    model = np.where((real > 0) & (model == 0), 0.5, model)
    p, q = real / real.sum(), model / model.sum()
    some = p > 0
    return float(np.sum(p[some] * np.log(p[some] / q[some])))


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
