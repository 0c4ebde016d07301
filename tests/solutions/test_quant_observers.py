"""Observers: the ranges they choose, their independence of order and batches, and memory that stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.quantization.affine import choose_params, dequantize, quantize
from solutions.phase2_optimization.quantization.observers import (
    OBSERVERS,
    Entropy,
    MeanSquaredError,
    MinMax,
    MovingAverage,
    Percentile,
    make_observer,
)
from solutions.phase2_optimization.quantization.range_histogram import RangeHistogram
from solutions.phase2_optimization.quantization.range_search import least_divergence

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)


def _seen(name, *batches):
    observer = make_observer(name)
    for batch in batches:
        observer.observe(np.asarray(batch, np.float32))
    return observer.range()


@pytest.mark.parametrize("name", OBSERVERS)
def test_state_does_not_grow_with_the_number_of_samples(name):
    rng = np.random.default_rng(0)
    observer = make_observer(name)
    observer.observe(rng.normal(size=(1, 8, 16, 16)))
    held = observer.nbytes
    for scale in range(1, 40):
        observer.observe(scale * rng.normal(size=(1, 8, 16, 16)).astype(np.float32))
    assert observer.nbytes == held <= 64 << 10


@pytest.mark.parametrize("name", OBSERVERS)
@given(batches=st.lists(st.lists(FLOATS, max_size=20), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_the_range_lies_within_the_values_seen(name, batches):
    values = [value for batch in batches for value in batch]
    if not values:
        with pytest.raises(ConfigError, match="seen no value"):
            _seen(name, *batches)
        return
    low, high = _seen(name, *batches)
    slack = 1e-9 * max(abs(min(values)), abs(max(values)))  # averages round
    assert min(values) - slack <= low <= high <= max(values) + slack


@pytest.mark.parametrize("name", [name for name in OBSERVERS if name != "moving_average"])
@given(values=st.lists(FLOATS, min_size=2, max_size=40), cut=st.integers(1, 39), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_order_and_batches_do_not_matter(name, values, cut, seed):
    mixed = np.random.default_rng(seed).permutation(values)
    assert _seen(name, values) == _seen(name, mixed[:cut], mixed[cut:])


@given(batches=st.lists(st.lists(FLOATS, min_size=1, max_size=30), min_size=1, max_size=6))
@example(batches=[[528482304.0, -1.1754943508222875e-38]])  # would vanish, and change bins, when scaled in float32
@settings(max_examples=100, deadline=None)
def test_the_histogram_counts_each_value_in_its_bin(batches):
    histogram = RangeHistogram(64)
    for batch in batches:
        histogram.add(np.float32(batch))
    values = np.concatenate([np.float32(batch) for batch in batches]).astype(np.float64)
    edges = histogram.edges
    assert (histogram.low, histogram.high, histogram.total) == (values.min(), values.max(), values.size)
    assert edges[0] <= values.min()
    assert values.max() < edges[-1]
    at = np.searchsorted(edges, values, side="right") - 1
    np.testing.assert_array_equal(histogram.counts, np.bincount(at, minlength=64))


def test_at_least_half_of_the_bins_are_used():
    histogram = RangeHistogram(1024)
    for reach in (1e-3, 1.0, 37.0):
        histogram.add(np.linspace(-reach, 2 * reach, 20_000, dtype=np.float32))
        assert np.count_nonzero(histogram.counts) >= 511


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_every_float_type_is_counted(kind):
    histogram = RangeHistogram()
    histogram.add(np.linspace(-3, 3, 100_001).astype(kind).reshape(-1, 1))
    assert histogram.total == 100_001
    assert (histogram.low, histogram.high) == (-3, 3)


def test_min_max():
    assert _seen("minmax", [0, 1], [], [-2, 0.5]) == (-2, 1)


def test_a_moving_average_begins_as_the_mean_and_then_forgets():
    assert _seen("moving_average", [0, 1], [-2, 3]) == (-1, 2)
    fading = MovingAverage(newest=0.5)
    for value in (8.0, 4.0, 2.0):
        fading.observe(np.float32([0, value]))
    assert fading.range() == (0, 4)


def test_a_percentile_leaves_out_the_tails():
    values = np.arange(10_001, dtype=np.float32)
    low, high = _seen("percentile:99", values)
    assert low == pytest.approx(50, abs=4)  # a bin is 4 wide here
    assert high == pytest.approx(9950, abs=4)
    assert _seen("percentile:100", values) == (0, 10_000)


def test_a_percentile_covers_at_least_its_share():
    values = np.random.default_rng(1).standard_t(2, 50_000).astype(np.float32)
    for percent in (90, 99, 99.9):
        low, high = _seen(f"percentile:{percent}", values)
        assert np.mean((values >= low) & (values <= high)) >= percent / 100


def test_one_outlier_moves_min_max_and_not_the_others():
    values = np.append(np.random.default_rng(2).normal(size=500_000), 100.0).astype(np.float32)
    assert _seen("minmax", values)[1] == 100
    # The outlier's own error counts too where errors are squared, so least squares gives way only part of the way.
    for name, most in (("percentile", 6), ("entropy", 20), ("mse", 70)):
        assert _seen(name, values)[1] < most, name


def _error(values, ends):
    p = choose_params(*ends)
    return float(np.mean((dequantize(quantize(values, p), p).astype(np.float64) - values) ** 2))


@pytest.mark.parametrize("kind", ["normal", "laplace", "relu", "silu", "student"])
def test_least_squares_is_not_beaten_by_another_range(kind):
    rng = np.random.default_rng(4)
    x = rng.normal(size=60_000)
    values = {
        "normal": x,
        "laplace": rng.laplace(size=60_000),
        "relu": np.maximum(x, 0),
        "silu": 3 * x / (1 + np.exp(-3 * x)),
        "student": rng.standard_t(3, 60_000),
    }[kind].astype(np.float32)
    found = _error(values, _seen("mse", values))
    for other in ("minmax", "percentile", "percentile:99.9", "entropy"):
        assert found <= _error(values, _seen(other, values)) * 1.02, other
    grid = np.linspace(0.02, 1, 50)
    best = min(_error(values, (values.min() * low, values.max() * high)) for low in grid for high in grid[::4])
    assert found <= best * 1.02


def test_entropy_keeps_a_range_that_is_evenly_filled_and_cuts_a_thin_tail():
    rng = np.random.default_rng(5)
    even = rng.uniform(-1, 1, 200_000).astype(np.float32)
    low, high = _seen("entropy", even)
    assert low < -0.95
    assert high > 0.95
    thin = np.append(even, rng.uniform(1, 30, 8)).astype(np.float32)
    assert _seen("entropy", thin)[1] < 8


def test_entropy_alone_collapses_where_nearly_all_is_close_to_zero_and_is_held():
    rng = np.random.default_rng(6)
    scores = np.append(rng.exponential(0.004, 100_000), rng.uniform(0, 1, 400)).astype(np.float32)
    alone, held = Entropy(most_clipped=1), Entropy()
    for observer in (alone, held):
        observer.observe(scores)
    assert alone.range()[1] < 0.5
    assert held.range()[1] > 0.95


def _divergence(seen, t, levels):
    """Kullback-Leibler's, bin by bin as its definition has it, for a cut at the distance `t` from zero."""
    low, high = max(min(seen.low, 0), -t), min(max(seen.high, 0), t)
    first = int(np.clip(np.floor(low / seen.width) - seen.first_bin, 0, seen.counts.size - 1))
    after = int(np.clip(np.ceil(high / seen.width) - seen.first_bin, first + 1, seen.counts.size))
    real = seen.counts[first:after].astype(float)
    levels_of = np.arange(real.size) * levels // real.size
    model = np.zeros_like(real)
    for level in set(levels_of[real > 0]):
        filled = (levels_of == level) & (real > 0)
        model[filled] = real[filled].mean()
    real[0] += seen.counts[:first].sum()
    real[-1] += seen.counts[after:].sum()
    if not model.any():
        return np.inf
    model[(real > 0) & (model == 0)] = 0.5
    p, q = real / real.sum(), model / model.sum()
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a))


@pytest.mark.parametrize("kind", ["normal", "relu", "shifted", "sparse", "two", "one-sided and far"])
@pytest.mark.parametrize("levels", [4, 255])
def test_no_other_cut_diverges_less(kind, levels):
    rng = np.random.default_rng(7)
    x = rng.normal(size=5_000)
    seen = RangeHistogram(512)
    values = {
        "normal": x,
        "relu": np.maximum(x, 0),
        "shifted": x - 4,
        "sparse": x[:40] ** 5,
        "two": np.array([-3.0, 0.001]),
        "one-sided and far": np.append(np.abs(x), 80.0),
    }
    seen.add(values[kind].astype(np.float32))
    low, high = least_divergence(seen, levels)
    reach = max(-min(seen.low, 0), seen.high, 0)
    tried = np.linspace(reach, min(reach, levels * seen.width), 96)
    assert _divergence(seen, max(-low, high), levels) <= min(_divergence(seen, t, levels) for t in tried) + 1e-9


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("value", [0.0, 2.5, -2.5, 1e-38, 3e38])
def test_a_constant_has_a_range_that_codes_it(name, value):
    value = float(np.float32(value))
    low, high = _seen(name, np.full(100, value), np.full(50, value))
    assert (low, high) == (value, value)


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(name, value):
    observer = make_observer(name)
    with pytest.raises(ConfigError, match="NaN or infinity"):
        observer.observe(np.float32([1, value, 2]))


@pytest.mark.parametrize("name", ["", "max", "percentile:", "percentile:many", "percentile:20", "entropy:3"])
def test_unknown_names_are_refused(name):
    with pytest.raises(ConfigError, match=r"percent"):
        make_observer(name)


def test_names_make_their_classes():
    kinds = [MinMax, MovingAverage, Percentile, Entropy, MeanSquaredError]
    assert [type(make_observer(name)) for name in OBSERVERS] == kinds
