"""2.3: a percentile of everything that was seen, from a histogram that can grow."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from tests.grader.checks import check, check_close, check_equal, check_raises

pytestmark = pytest.mark.exercise("2.3")

BINS = 256


def exact(batches, share: float) -> float:
    """The same by sorting everything."""
    magnitudes = np.sort(np.abs(np.concatenate([batch.ravel() for batch in batches])).astype(np.float64))
    return float(magnitudes[max(1, math.ceil(share * len(magnitudes))) - 1])


def normal(count: int, scale: float = 1.0, seed: int = 1) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=count) * scale).astype(np.float32)


GROWING = [normal(1000, 2.0**k, k) for k in range(6)]
CASES = [
    pytest.param([normal(4096)], id="one-batch"),
    pytest.param(GROWING, id="growing"),
    pytest.param(GROWING[::-1], id="shrinking"),
    pytest.param([np.zeros(100, np.float32), normal(300)], id="zeros-first"),
    pytest.param([normal(10, 1e-6), normal(990, 1e3)], id="a-thousand-million-times-larger"),
    pytest.param([-np.abs(normal(500)), np.abs(normal(500, 0.5, 2))], id="negative-ones-are-larger"),
    pytest.param([normal(600).reshape(2, 3, 10, 10), normal(50, 3.0)], id="any-shape"),
    pytest.param([normal(300), np.zeros(0, np.float32), normal(300, 5.0, 4)], id="an-empty-batch-between"),
    pytest.param([np.float32([-3.0])], id="one-value"),
]


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9375, 1.0])
@pytest.mark.parametrize("batches", CASES)
def test_against_sorting(graded, batches, share):
    """The answer is that of sorting all values, to within the width of a bin."""
    largest = exact(batches, 1.0)
    check_close(
        graded(iter(batches), share, bins=BINS),
        exact(batches, share),
        2 * largest / BINS * (1 + 1e-6),  # the widest that a bin of a top that doubles can be
        breaks=f"{share:.2%} of all magnitudes are not above the limit, to 2 * largest / bins",
        likely="the last batch alone was counted, values beyond the first top were lost, or signs were kept",
    )


@pytest.mark.parametrize("batches", CASES)
def test_all_of_them(graded, batches):
    """The limit of all values is the largest magnitude and nothing beyond it."""
    found = graded(iter(batches), 1.0, bins=BINS)
    check(
        exact(batches, 1.0) * (1 - 2 / BINS) <= found <= exact(batches, 1.0),
        breaks="no limit lies above the largest magnitude",
        expected=f"at most {exact(batches, 1.0)}",
        got=found,
        likely="the upper edge of a bin was answered, which may lie above everything",
    )


def test_zeros(graded):
    """Nothing but zeros gives 0."""
    found = graded(iter([np.zeros(5, np.float32), np.zeros(7, np.float32)]), 0.5, bins=BINS)
    check_equal(float(found), 0.0, breaks="the limit of zeros is 0", likely="a histogram from 0 to 0 became one to 1")


def test_memory(graded):
    """Memory does not grow with the number of batches."""

    def peak(batches: int) -> int:
        made = (normal(20_000, 1.0, seed) for seed in range(batches))
        tracemalloc.start()
        try:
            found = graded(made, 0.5, bins=BINS)
            used = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        check(0.6 < found < 0.8, breaks="half of the magnitudes of a normal distribution lie below 0.674", got=found)
        return used

    few, many = peak(4), peak(40)
    check(
        many < few + 200_000,  # 36 batches more are 2.9 MB; the slack is for what a histogram needs in passing
        breaks="40 batches need no more memory than 4",
        expected=f"about {few / 1e6:.1f} MB",
        got=f"{many / 1e6:.1f} MB",
        likely="the batches, or lists made of them, were kept",
    )


@pytest.mark.parametrize(
    ("batches", "share"),
    [
        pytest.param([], 0.5, id="no-batches"),
        pytest.param([np.zeros(0, np.float32)], 0.5, id="no-values"),
        pytest.param([normal(5)], 0.0, id="share-0"),
        pytest.param([normal(5)], 1.5, id="share-above-1"),
    ],
)
def test_refusals(graded, batches, share):
    """No values, and a share that is none, are refused."""
    check_raises(
        ValueError,
        lambda: graded(iter(batches), share, bins=BINS),
        breaks="no values, or a share outside 0 to 1, raise ValueError",
    )
