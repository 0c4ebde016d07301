"""2.1: the scale and the zero point of a range."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.grader.checks import check, check_close, check_equal, check_raises

pytestmark = pytest.mark.exercise("2.1")

ROUNDING = 8 * float(np.finfo(np.float64).eps)  # a handful of operations in float64

RANGES = [
    pytest.param(-1.0, 3.0, id="across-0"),
    pytest.param(0.0, 6.0, id="from-0"),
    pytest.param(-7.0, 0.0, id="up-to-0"),
    pytest.param(1.0, 6.0, id="above-0"),
    pytest.param(-6.0, -2.0, id="below-0"),
    pytest.param(-0.3, 0.1, id="small"),
    pytest.param(-1e6, 3.0, id="lopsided"),
    pytest.param(2.5, 2.5, id="constant-above-0"),
    pytest.param(-2.5, -2.5, id="constant-below-0"),
]


def round_trip(code, values):
    """What the values are after a round trip through their codes."""
    codes = np.clip(np.rint(np.asarray(values) / code.scale) + code.zero_point, code.least, code.most)
    return (codes - code.zero_point) * code.scale


@pytest.mark.parametrize("symmetric", [pytest.param(False, id="asymmetric"), pytest.param(True, id="symmetric")])
@pytest.mark.parametrize(("low", "high"), RANGES)
def test_zero_is_exact(graded, low, high, symmetric):
    """0.0 has a code of its own: padding and ReLU are full of it."""
    code = graded(low, high, symmetric=symmetric)
    check(
        code.least <= code.zero_point <= code.most and code.zero_point == int(code.zero_point),
        breaks=f"0.0 has an exact code in the range [{low}, {high}]",
        expected=f"a whole zero point in {code.least}..{code.most}",
        got=code.zero_point,
        likely="the range was not widened to hold 0, or the zero point was not rounded",
    )


@pytest.mark.parametrize("symmetric", [pytest.param(False, id="asymmetric"), pytest.param(True, id="symmetric")])
@pytest.mark.parametrize(("low", "high"), RANGES)
def test_half_a_step(graded, low, high, symmetric):
    """Inside the range every value comes back within half a step."""
    code = graded(low, high, symmetric=symmetric)
    values = np.linspace(low, high, 1001)
    check_close(
        round_trip(code, values),
        values,
        code.scale / 2 * (1 + 1e-9),  # half a step is the theory; 1e-9 of it for float64
        breaks=f"values in [{low}, {high}] come back within half a step of {code.scale:.4g}",
        likely="the ends were clipped: a scale that is too small, or a zero point with the wrong sign",
    )


@pytest.mark.parametrize(
    ("low", "high", "symmetric", "step", "zero_point"),
    [
        pytest.param(0.0, 255.0, False, 1.0, 0, id="pixels"),
        pytest.param(-1.0, 3.0, False, 4 / 255, 64, id="across-0"),
        pytest.param(1.0, 6.0, False, 6 / 255, 0, id="above-0"),
        pytest.param(-6.0, -2.0, False, 6 / 255, 255, id="below-0"),
        pytest.param(-1.0, 3.0, True, 3 / 127, 0, id="symmetric-longer-above"),
        pytest.param(-5.0, 3.0, True, 5 / 127, 0, id="symmetric-longer-below"),
        pytest.param(1.0, 6.0, True, 6 / 127, 0, id="symmetric-one-sided"),
    ],
)
def test_no_step_is_wider_than_needed(graded, low, high, symmetric, step, zero_point):
    """The range is spread over all codes, so that no step is wider than needed."""
    code = graded(low, high, symmetric=symmetric)
    check_close(
        code.scale,
        step,
        0.0,
        rtol=ROUNDING,
        breaks=f"the step of [{low}, {high}] is {step:.6g}",
        likely="divided by 256 or 128, which are one more than the steps between the codes",
    )
    ends = (-127, 127) if symmetric else (0, 255)
    check_equal(
        (code.zero_point, code.least, code.most),
        (zero_point, *ends),
        breaks="the zero point, and the least and the greatest code",
    )


@pytest.mark.parametrize("symmetric", [pytest.param(False, id="asymmetric"), pytest.param(True, id="symmetric")])
def test_nothing_but_zero(graded, symmetric):
    """A range of nothing but 0.0 has scale 1.0."""
    code = graded(0.0, 0.0, symmetric=symmetric)
    check_equal(
        (code.scale, code.zero_point),
        (1.0, 0),
        breaks="the range [0, 0] has scale 1.0 and zero point 0",
        likely="a scale of 0 divides by 0 later, in somebody else's code",
    )


@pytest.mark.parametrize(
    ("low", "high"),
    [
        pytest.param(1.0, -1.0, id="upside-down"),
        pytest.param(math.nan, 1.0, id="nan"),
        pytest.param(-1.0, math.inf, id="infinite"),
    ],
)
def test_refusals(graded, low, high):
    """A range that is upside down or not finite is refused."""
    check_raises(
        ValueError,
        lambda: graded(low, high),
        breaks=f"the range [{low}, {high}] raises ValueError",
        likely="comparisons with NaN are False, and an infinite scale makes every code the same",
    )
