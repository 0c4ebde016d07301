"""2.8: faster and good enough, or not."""

from __future__ import annotations

import numpy as np
import pytest

from solutions.core.classroom.values import Comparison
from tests.grader.checks import check_equal, check_raises

pytestmark = pytest.mark.exercise("2.8")


def pictures(lost: int, won: int, count: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Whether the old and the new model were right: the new one loses and wins these many, both are right on half."""
    before = np.arange(count) % 2 == 0
    after = before.copy()
    after[np.flatnonzero(before)[:lost]] = False
    after[np.flatnonzero(~before)[:won]] = True
    return before, after


def times(low: float, high: float) -> Comparison:
    """New time over old time, with an interval."""
    return Comparison((low + high) / 2, low, high, "inconclusive")


# 1000 pictures, bar 0.01. The differences are 1, -1 and 0, so the margin is about 1.96 * sqrt(lost + won) / 1000.
ACCURACY = {"pass": (2, 0), "fail": (40, 0), "inconclusive": (12, 0)}  # drops 0.2 +- 0.3, 4 +- 1.2, 1.2 +- 0.7 points
SPEED = {"pass": (0.5, 0.6), "fail": (0.9, 1.1), "inconclusive": (0.7, 0.9)}  # bar 1.2: at most 0.83 of the old time


@pytest.mark.parametrize("accuracy", ACCURACY)
@pytest.mark.parametrize("speed", SPEED)
def test_nine_cases(graded, accuracy, speed):
    """Both must pass; one failure is enough to fail."""
    both = {accuracy, speed}
    want = "fail" if "fail" in both else "inconclusive" if "inconclusive" in both else "pass"
    check_equal(
        graded(*pictures(*ACCURACY[accuracy]), times(*SPEED[speed])),
        want,
        breaks=f"accuracy {accuracy} and speed {speed} make {want}",
        likely="faster OR good enough was taken, or an interval that straddles its bar was called a result",
    )


@pytest.mark.parametrize(
    ("lost", "won", "want"),
    [
        pytest.param(0, 0, "pass", id="the-same"),
        pytest.param(0, 60, "pass", id="better"),
        pytest.param(30, 60, "pass", id="better-with-some-lost"),
        pytest.param(100, 95, "inconclusive", id="many-changes-that-nearly-cancel"),
        pytest.param(5, 1, "pass", id="few-changes"),
    ],
)
def test_pairs(graded, lost, won, want):
    """The same picture is compared with itself, and a gain is no drop."""
    check_equal(
        graded(*pictures(lost, won), times(0.5, 0.6)),
        want,
        breaks=f"{lost} pictures lost and {won} won of 1000 make {want}",
        likely="the two accuracies were treated as independent, or the drop lost its sign",
    )


@pytest.mark.parametrize(
    ("max_drop", "min_speedup", "want"),
    [
        pytest.param(0.0, 1.2, "fail", id="no-drop-allowed"),
        pytest.param(0.5, 1.2, "pass", id="half-of-them-allowed"),
        pytest.param(0.5, 2.0, "pass", id="exactly-the-speed"),
        pytest.param(0.5, 2.5, "fail", id="not-fast-enough"),
        pytest.param(0.5, 0.5, "pass", id="may-be-slower"),
    ],
)
def test_bars(graded, max_drop, min_speedup, want):
    """The bars are those that were asked for, and a bar met exactly is met."""
    check_equal(
        graded(*pictures(40, 0), times(0.5, 0.5), max_drop=max_drop, min_speedup=min_speedup),
        want,
        breaks=f"a drop of 4 points at twice the speed makes {want} for the bars {max_drop} and {min_speedup}",
        likely="time.high is a share of time: the speed-up is 1 over it; or the default bars were used",
    )


def test_small_sample(graded):
    """The margin is that of a sample: n - 1 under the standard deviation, sqrt(n) under the whole."""
    before, after = np.ones(8, bool), np.array([True] * 7 + [False])
    # mean 0.125, sample standard deviation 0.35355, margin 1.96 * 0.35355 / sqrt(8) = 0.2450; with n it would be 0.2292
    found = [graded(before, after, times(0.5, 0.6), max_drop=bar) for bar in (0.375, 0.365, 0.36)]
    check_equal(
        found,
        ["pass", "inconclusive", "inconclusive"],
        breaks="the drop of 1 in 8 pictures is 0.125 +- 0.245",
        likely="the standard deviation of the whole population, or n instead of sqrt(n)",
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [pytest.param(0, 0, id="none"), pytest.param(1, 1, id="one"), pytest.param(5, 6, id="different-lengths")],
)
def test_refusals(graded, before, after):
    """Too few pictures, and not the same ones, are refused."""
    check_raises(
        ValueError,
        lambda: graded(np.ones(before, bool), np.ones(after, bool), times(0.5, 0.6)),
        breaks=f"{before} and {after} pictures raise ValueError",
    )
