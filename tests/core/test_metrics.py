"""Latency summaries, the histogram that stands in for them on long runs, throughput, and paired ratios."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solutions.core.errors import ConfigError
from solutions.core.measure.metrics import LatencyHistogram, LatencySummary, PairedRatio, Throughput

LATENCIES = st.lists(st.floats(min_value=2e-6, max_value=1000.0), min_size=1, max_size=200)


def histogram_of(seconds):
    histogram = LatencyHistogram()
    for value in seconds:
        histogram.record(value)
    return histogram


def test_summary_is_numpys_percentiles_in_milliseconds():
    seconds = np.random.default_rng(0).lognormal(-5, 1, 997)
    summary = LatencySummary.of(seconds.tolist())
    want = np.percentile(seconds * 1e3, [50, 90, 95, 99])
    assert [summary.p50, summary.p90, summary.p95, summary.p99] == pytest.approx(want)
    assert (summary.mean, summary.std) == pytest.approx((seconds.mean() * 1e3, seconds.std() * 1e3))
    assert (summary.n, summary.min, summary.max) == (997, seconds.min() * 1e3, seconds.max() * 1e3)


def test_summary_of_one_sample():
    summary = LatencySummary.of([0.004])
    assert (summary.n, summary.std, summary.p99) == (1, 0.0, 4.0)
    assert summary.as_dict()["p99"] == 4.0


@pytest.mark.parametrize("bad", [[], [math.nan], [0.1, -0.1], [math.inf]], ids=["empty", "nan", "negative", "infinite"])
def test_summary_refuses(bad):
    with pytest.raises(ConfigError, match=r"sample|finite"):
        LatencySummary.of(bad)


@given(LATENCIES)
def test_histogram_errs_by_at_most_one_percent(seconds):
    got, want = histogram_of(seconds).summary(), LatencySummary.of(seconds)
    for name in ("p50", "p90", "p95", "p99"):
        assert getattr(got, name) == pytest.approx(getattr(want, name), rel=0.01)
    assert (got.n, got.min, got.max) == (want.n, pytest.approx(want.min), pytest.approx(want.max))
    assert got.mean == pytest.approx(want.mean)
    assert got.std == pytest.approx(want.std, rel=1e-6, abs=1e-6)


@given(LATENCIES, LATENCIES, LATENCIES)
def test_merging_equals_recording_all_in_one(a, b, c):
    merged = histogram_of(a).merge([histogram_of(b), LatencyHistogram(), histogram_of(c)]).summary()
    together = histogram_of(a + b + c).summary()
    assert merged.as_dict() == pytest.approx(together.as_dict(), rel=1e-6, abs=1e-6)


def test_merging_changes_neither_part():
    a, b = histogram_of([0.001]), histogram_of([0.002])
    a.merge([b])
    assert (len(a), len(b)) == (1, 1)


def test_histogram_holds_what_lies_outside_its_range():
    summary = histogram_of([0.0, 1e-9, 86400.0]).summary()
    assert (summary.n, summary.min, summary.max) == (3, 0.0, 86_400_000.0)


def test_histogram_size_does_not_grow():
    histogram = histogram_of([0.01])
    buckets = len(histogram._counts)
    for value in np.geomspace(1e-7, 1e5, 2000).tolist():
        histogram.record(value)
    assert len(histogram._counts) == buckets


def test_histogram_refuses_nonsense_and_emptiness():
    histogram = LatencyHistogram()
    for bad in (-1e-9, math.nan, math.inf):
        with pytest.raises(ConfigError, match="finite"):
            histogram.record(bad)
    with pytest.raises(ConfigError, match="empty"):
        histogram.summary()
    with pytest.raises(ConfigError, match=r"0\.\.100"):
        histogram_of([1.0]).percentile(101)


def test_throughput_counts_intervals_between_completions():
    assert Throughput(30, 2.0).per_second == 15.0
    assert Throughput.from_completions([1.0, 2.0]).per_second == 1.0  # n / (t_n - t_1) would say 2
    assert Throughput(3, 1.5).as_dict() == {"count": 3, "seconds": 1.5, "per_second": 2.0}


@pytest.mark.parametrize("finished", [[], [1.0], [1.0, 1.0]], ids=["none", "one", "same-instant"])
def test_throughput_refuses(finished):
    with pytest.raises(ConfigError):
        Throughput.from_completions(finished)


def test_paired_ratio_cancels_what_both_sides_share():
    rng = np.random.default_rng(1)
    drift = np.linspace(1, 3, 40)  # the machine grows three times slower
    a = drift * rng.normal(1.0, 0.02, 40)
    b = drift * rng.normal(0.8, 0.02, 40)
    ratio = PairedRatio.of(a.tolist(), b.tolist())
    assert ratio.ratio == pytest.approx(0.8, abs=0.02)
    assert 0.77 < ratio.low < ratio.ratio < ratio.high < 0.83
    assert ratio.speedup == pytest.approx(1.25, abs=0.03)
    assert ratio.verdict(at_most=0.9) == "pass"
    assert ratio.verdict(at_most=0.7) == "fail"
    assert "40 rounds" in str(ratio)


def test_paired_ratio_is_inconclusive_when_its_interval_straddles_the_bar():
    noisy = PairedRatio.of([1.0] * 12, np.random.default_rng(0).normal(1.0, 0.2, 12).tolist())
    assert noisy.verdict(at_most=1.0) == "inconclusive"


def test_paired_ratio_is_reproducible_by_seed():
    a, b = [1.0, 1.1, 0.9, 1.3], [1.2, 1.0, 1.1, 0.8]
    assert PairedRatio.of(a, b, seed=3) == PairedRatio.of(a, b, seed=3)


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    # Nominal 95 %. The percentile bootstrap of a median of 30 covers 93 % (1,500 trials); the standard error of 800
    # trials is 0.9 points, so the bounds are three of them away.
    rng = np.random.default_rng(7)
    hits = 0
    for seed in range(800):
        ratio = PairedRatio.of([1.0] * 30, rng.lognormal(0, 0.1, 30).tolist(), resamples=400, seed=seed)  # truth: 1
        hits += ratio.low <= 1.0 <= ratio.high
    assert 0.90 <= hits / 800 <= 0.98


@pytest.mark.parametrize(
    ("a", "b"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0])], ids=["empty", "unequal", "below-the-clock"]
)
def test_paired_ratio_refuses(a, b):
    with pytest.raises(ConfigError):
        PairedRatio.of(a, b)
