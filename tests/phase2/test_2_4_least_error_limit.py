"""2.4: where clipping costs less than the coarser steps that it avoids."""

from __future__ import annotations

import numpy as np
import pytest

from tests.grader.checks import check, check_close, check_equal, check_raises

pytestmark = pytest.mark.exercise("2.4")

STEPS = 50


def error(values, limit: float, most: int) -> float:
    """The squared error of a limit, value by value."""
    step = limit / most
    return sum((max(-most, min(most, round(v / step))) * step - v) ** 2 for v in values.ravel().tolist())


def normal(seed: int = 0, count: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=count).astype(np.float32)


def with_outlier(outlier: float) -> np.ndarray:
    return np.append(normal(), np.float32(outlier))


@pytest.mark.parametrize("most", [pytest.param(127, id="8-bits"), pytest.param(7, id="4-bits")])
@pytest.mark.parametrize(
    "values",
    [
        pytest.param(normal(), id="normal"),
        pytest.param(np.random.default_rng(1).uniform(-1, 1, 300).astype(np.float32), id="uniform"),
        pytest.param(with_outlier(12.0), id="an-outlier"),
        pytest.param(with_outlier(-12.0), id="a-negative-outlier"),
        pytest.param(np.random.default_rng(2).laplace(size=(4, 5, 20)).astype(np.float32), id="heavy-tails-any-shape"),
        pytest.param(np.float32([0.25, -0.125, 0.3]), id="three-values"),
        pytest.param((1000 * normal(3)).astype(np.float16), id="float16"),
    ],
)
def test_no_candidate_is_better(graded, values, most):
    """No candidate has a smaller squared error."""
    largest = float(np.abs(values.astype(np.float64)).max())
    best = min(error(values, k / STEPS * largest, most) for k in range(1, STEPS + 1))
    found = float(graded(values, most=most, steps=STEPS))
    check(
        found > 0 and error(values, found, most) <= best * (1 + 1e-6),  # float64 sums of 400 terms, in any order
        breaks=f"the limit has the least squared error of {STEPS} candidates, for codes up to {most}",
        expected=f"an error of {best:.6g}",
        got=f"{found:.6g} with an error of {error(values, found, most) if found > 0 else float('nan'):.6g}",
        likely="clipping was left out of the error, absolute errors were summed, or some candidates were not tried",
    )


@pytest.mark.parametrize(
    ("values", "most", "low", "high"),
    [
        # 400 normal values need 4 bits from about -3 to 3: a step of 12 / 7 for the sake of one value costs far more
        pytest.param(with_outlier(12.0), 7, 1.5, 9.0, id="clipped-in-4-bits"),
        pytest.param(with_outlier(12.0), 127, 11.9, 12.0, id="kept-in-8-bits"),
        pytest.param(np.float32([4.0]), 127, 4.0, 4.0, id="one-value"),
    ],
)
def test_outlier(graded, values, most, low, high):
    """An outlier is clipped where that pays, and only there."""
    found = float(graded(values, most=most, steps=STEPS))
    check(
        low <= found <= high,
        breaks="one outlier is clipped for 4 bits, where steps are coarse, and kept for 8",
        expected=f"a limit from {low} to {high}",
        got=found,
        likely="the largest magnitude is not among the candidates, or always wins",
    )


def test_candidates(graded):
    """The answer is one of the candidates."""
    values = with_outlier(8.0)
    found = graded(values, most=7, steps=10) / 0.8
    check_close(
        found,
        round(float(found)),
        1e-6,
        breaks="the answer is k / 10 of the largest magnitude",
        likely="other candidates than k / steps * largest were tried",
    )


def test_zeros(graded):
    """Zeros need no limit."""
    check_equal(
        float(graded(np.zeros(4, np.float32))), 0.0, breaks="the limit of zeros is 0", likely="divided by a scale of 0"
    )


def test_refusal(graded):
    """No values are refused."""
    check_raises(ValueError, lambda: graded(np.zeros(0, np.float32)), breaks="no values raise ValueError")
