"""2.2: codes per channel."""

from __future__ import annotations

import numpy as np
import pytest

from tests.grader.checks import check_equal

pytestmark = pytest.mark.exercise("2.2")

# powers of 2: every division is exact in float32 and in float64, so there is one right answer to every tie
SCALES = np.array([0.5, 0.25, 2.0], np.float32)
ZERO_POINTS = np.array([0, 3, -5], np.int32)


def by_hand(values, scales, zero_points, axis, dtype):
    """The codes channel by channel, in float64."""
    slices = np.moveaxis(np.asarray(values, np.float64), axis, 0)
    codes = np.stack([np.rint(part / s) + z for part, s, z in zip(slices, scales, zero_points, strict=True)])
    ends = np.iinfo(dtype)
    return np.moveaxis(np.clip(codes, ends.min, ends.max), 0, axis).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        pytest.param((3,), 0, id="a-row"),
        pytest.param((3, 4), 0, id="first-of-two"),
        pytest.param((4, 3), 1, id="second-of-two"),
        pytest.param((3, 3), 0, id="square-first"),
        pytest.param((3, 3), 1, id="square-second"),
        pytest.param((2, 3, 5, 4), 1, id="pictures"),
        pytest.param((3, 2, 5, 4), 0, id="weights-of-a-convolution"),
        pytest.param((3, 3, 3), -1, id="last-counted-from-the-end"),
        pytest.param((3, 3, 3), -2, id="middle-counted-from-the-end"),
        pytest.param((3, 0), 0, id="nothing"),
    ],
)
def test_axis(graded, shape, axis):
    """Every index of the axis has its own scale and zero point."""
    values = np.random.default_rng(3).uniform(-40, 40, shape).astype(np.float32)
    check_equal(
        graded(values, SCALES, ZERO_POINTS, axis, "int8"),
        by_hand(values, SCALES, ZERO_POINTS, axis, "int8"),
        breaks=f"channel i of axis {axis} of {shape} uses scale i and zero point i",
        likely="the scales were broadcast along the last axis: reshape them to 1s and one -1 at `axis`",
    )


@pytest.mark.parametrize(
    ("value", "code"),
    [
        pytest.param(0.25, 0, id="half-goes-to-0"),
        pytest.param(0.75, 2, id="one-and-a-half-to-2"),
        pytest.param(1.25, 2, id="two-and-a-half-to-2"),
        pytest.param(-0.25, 0, id="minus-half-to-0"),
        pytest.param(-0.75, -2, id="minus-one-and-a-half-to-minus-2"),
        pytest.param(-1.25, -2, id="minus-two-and-a-half-to-minus-2"),
        pytest.param(-0.7, -1, id="no-tie"),
    ],
)
@pytest.mark.parametrize("zero_point", [pytest.param(0, id="zero-point-0"), pytest.param(3, id="zero-point-3")])
def test_ties(graded, value, code, zero_point):
    """Ties go to the even number, before the zero point is added."""
    found = graded(np.array([value], np.float32), np.float32([0.5]), np.int32([zero_point]), 0, "int8")
    check_equal(
        found.tolist(),
        [code + zero_point],
        breaks=f"{value} / 0.5 is rounded to {code}, then {zero_point} is added",
        likely="floor(x + 0.5) rounds ties up, a cast cuts off, and a zero point added too early moves the ties",
    )


@pytest.mark.parametrize(
    ("dtype", "zero_point", "values", "codes"),
    [
        pytest.param("int8", 0, [300, -300, 127.5, -128.5], [127, -128, 127, -128], id="int8"),
        pytest.param("uint8", 128, [300, -300, 127.0, -128.0], [255, 0, 255, 0], id="uint8"),
        pytest.param("uint8", 0, [-1.0, 0.0, 255.0, 256.0], [0, 0, 255, 255], id="uint8-without-negatives"),
        pytest.param("int8", 0, [1e20, -1e20, np.inf, -np.inf], [127, -128, 127, -128], id="far-too-large"),
    ],
)
def test_saturation(graded, dtype, zero_point, values, codes):
    """What is too large stops at the end of the type."""
    rows = np.array([values], np.float32)
    found = graded(rows, np.float32([1]), np.int32([zero_point]), 0, dtype)
    check_equal(
        found.tolist(),
        [codes],
        breaks=f"values beyond {dtype} become its least or greatest number",
        likely="cast before clipping: 300 becomes 44",
    )


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_type_and_input(graded, dtype):
    """The codes have the type that was asked for, and the values stay as they were."""
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    kept = values.copy()
    found = graded(values[:, ::2], SCALES, np.int32([1, 2, 3]), 0, dtype)
    check_equal(found.dtype.name, dtype, breaks=f"the codes are {dtype}", likely="still int32 or a float")
    check_equal(values, kept, breaks="the values stay as they were", likely="divided or rounded in place")
