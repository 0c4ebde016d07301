"""1.5: percentiles by nearest rank and by interpolation."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from tests.grader.checks import check_close, check_equal, check_raises

pytestmark = pytest.mark.exercise("1.5")


def shuffled(n: int) -> list[float]:
    """n different samples in no order; the i-th smallest, counted from 1, is i / 64."""
    return [float(value) / 64 for value in np.random.default_rng(n).permutation(n) + 1]


def rank(n: int, q: int) -> int:
    """The nearest rank, in exact arithmetic."""
    return max(1, math.ceil(Fraction(q * n, 100)))


@pytest.mark.parametrize(
    ("n", "q", "want"),
    [
        pytest.param(4, 50, 2, id="p50-of-4-is-the-second"),
        pytest.param(5, 50, 3, id="p50-of-5-is-the-third"),
        pytest.param(50, 99, 50, id="p99-of-50-is-the-largest"),
        pytest.param(100, 99, 99, id="p99-of-100-is-the-99th"),
        pytest.param(200, 99, 198, id="p99-of-200-is-the-198th"),
        pytest.param(10, 0, 1, id="p0-is-the-smallest"),
        pytest.param(10, 100, 10, id="p100-is-the-largest"),
        pytest.param(1, 99, 1, id="one-sample"),
    ],
)
def test_nearest_rank(graded, n, q, want):
    """By nearest rank it is a sample: the smallest that at least q % do not exceed."""
    check_equal(
        graded(shuffled(n), q, "nearest-rank") * 64,
        want,
        breaks=f"the nearest rank of p{q} of {n} samples is {want}",
        likely="the rank was rounded down or to the nearest, counted from 0, or the samples were not sorted",
    )


def test_whole_ranks(graded):
    """A rank that comes out whole is not pushed up by a rounding error."""
    for n in range(1, 101):
        samples = shuffled(n)
        for q in range(101):
            check_equal(
                graded(samples, q, "nearest-rank") * 64,
                rank(n, q),
                breaks=f"the nearest rank of p{q} of {n} samples is {rank(n, q)}",
                likely="7 / 100 * 100 is 7.000000000000001, which rounds up to 8: multiply before you divide",
            )


@pytest.mark.parametrize(
    ("samples", "q", "want"),
    [
        pytest.param([1.0, 2.0, 3.0, 10.0], 50, 2.5, id="p50-of-4-is-between"),
        pytest.param([1.0, 2.0, 3.0], 50, 2.0, id="p50-of-3-is-the-middle"),
        pytest.param([0.0, 10.0], 25, 2.5, id="a-quarter-of-the-way"),
        pytest.param([float(i) for i in range(101)], 99, 99.0, id="p99-of-0-to-100"),
        pytest.param([float(i) for i in range(100)], 99, 98.01, id="p99-of-100-samples"),
        pytest.param([3.0, 1.0, 2.0], 0, 1.0, id="p0-is-the-smallest"),
        pytest.param([3.0, 1.0, 2.0], 100, 3.0, id="p100-is-the-largest"),
        pytest.param([7.0], 99, 7.0, id="one-sample"),
        pytest.param([7.0] * 9, 90, 7.0, id="constant"),
    ],
)
def test_linear(graded, samples, q, want):
    """By interpolation it is read between the neighbours of the place q * (n - 1) / 100."""
    check_close(
        graded(samples, q, "linear"),
        want,
        # a few roundings of the place and of the result, each relative to the largest sample
        8 * float(np.finfo(np.float64).eps) * max(samples) * len(samples),
        breaks=f"the value at q * (n - 1) / 100 between the sorted samples, for q = {q} and n = {len(samples)}",
        likely="the place was taken as q * n / 100, or the samples were not sorted",
    )


@pytest.mark.parametrize("method", ["nearest-rank", "linear"])
def test_samples_stay(graded, method):
    """The samples stay as they are, in a list and in an array."""
    for samples in ([0.5, 0.125, 0.25], np.array([0.5, 0.125, 0.25])):
        check_equal(graded(samples, 50, method), 0.25, breaks="the median of three samples is the middle one")
        check_equal(
            [float(value) for value in samples],
            [0.5, 0.125, 0.25],
            breaks="the caller's samples keep their order: they are a series in time",
            likely="samples.sort() sorts in place; sorted(samples) makes a new list",
        )


@pytest.mark.parametrize(
    ("samples", "q", "method"),
    [
        pytest.param([], 50, "nearest-rank", id="no-samples"),
        pytest.param([], 50, "linear", id="no-samples-linear"),
        pytest.param([1.0, 2.0], -1, "nearest-rank", id="q-below-0"),
        pytest.param([1.0, 2.0], 101, "linear", id="q-above-100"),
        pytest.param([1.0, 2.0], 50, "median", id="another-method"),
    ],
)
def test_refusals(graded, samples, q, method):
    """No samples, a q outside 0..100 and an unknown method are refused."""
    check_raises(
        ValueError,
        lambda: graded(samples, q, method),
        breaks="what has no percentile raises ValueError",
        likely="samples[-1] answers for q = -1, and an else branch answers for any method",
    )
