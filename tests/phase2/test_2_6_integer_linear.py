"""2.6: a linear layer in integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from solutions.core.classroom.graph_values import Code
from tests.grader.checks import check_equal

pytestmark = pytest.mark.exercise("2.6")

X = Code(0.5, 7, 0, 255)
Y = Code(4.0, 100, 0, 255)
SCALES = np.array([0.25, 0.125, 0.5])  # powers of 2, so that every tie is one in float64 too


def by_hand(x, x_code, weight, scales, bias, y_code):
    """The same with Python's integers and fractions, cell by cell."""
    rows = []
    for row in x.tolist():
        cells = []
        for weights, scale, real in zip(weight.tolist(), scales.tolist(), bias.tolist(), strict=True):
            unit = Fraction(x_code.scale) * Fraction(scale)
            total = sum((a - x_code.zero_point) * b for a, b in zip(row, weights, strict=True))
            total += round(Fraction(real) / unit)  # a fraction rounds ties to even
            code = round(total * unit / Fraction(y_code.scale)) + y_code.zero_point
            cells.append(min(y_code.most, max(y_code.least, code)))
        rows.append(cells)
    return np.array(rows, np.uint8).reshape(len(x), len(weight))


def layer(inputs: int, *, rows: int = 4, outputs: int = 3, seed: int = 0):
    """Codes, weights and a bias drawn from a seed."""
    dice = np.random.default_rng(seed)
    x = dice.integers(0, 256, (rows, inputs), np.uint8)
    weight = dice.integers(-127, 128, (outputs, inputs), np.int8)
    return x, weight, dice.uniform(-60, 60, outputs)


def check_layer(graded, x, x_code, weight, scales, bias, y_code, *, breaks: str, likely: str) -> None:
    want = by_hand(x, x_code, weight, scales, bias, y_code)
    check_equal(graded(x, x_code, weight, scales, bias, y_code), want, breaks=breaks, likely=likely)


@pytest.mark.parametrize("inputs", [1, 2, 8, 33])
@pytest.mark.parametrize("rows", [pytest.param(1, id="one-row"), pytest.param(5, id="five-rows")])
def test_numbers(graded, inputs, rows):
    """Every number is that of exact arithmetic."""
    x, weight, bias = layer(inputs, rows=rows, seed=inputs)
    check_layer(
        graded, x, X, weight, SCALES, bias, Code(64.0, 100, 0, 255),
        breaks=f"{rows} rows of {inputs} inputs give what exact arithmetic gives",
        likely="uint8 - zero point wraps around, or one scale was used for all rows of the weight",
    )  # fmt: skip


@pytest.mark.parametrize("inputs", [pytest.param(300, id="300"), pytest.param(4000, id="4000")])
def test_long_rows(graded, inputs):
    """Sums need 32 bits."""
    x = np.full((2, inputs), 250, np.uint8)
    weight = np.stack([np.full(inputs, 120), np.full(inputs, -120), np.resize([127, -126], inputs)]).astype(np.int8)
    check_layer(
        graded, x, Code(0.5, 3, 0, 255), weight, SCALES, np.zeros(3), Code(float(inputs) * 64, 128, 0, 255),
        breaks=f"sums of {inputs} products are exact",
        likely="summed in int8 or int16, which overflow; numpy keeps the type of its operands",
    )  # fmt: skip


@pytest.mark.parametrize(
    "bias",
    [
        pytest.param([10.0, 10.0, 10.0], id="equal"),
        pytest.param([-300.0, 20.0, 300.0], id="large"),
        pytest.param([0.0625, 0.03125, 0.125], id="half-a-unit"),
        pytest.param([0.1875, 0.09375, 0.375], id="one-and-a-half-units"),
        pytest.param([0.0, 0.0, 0.0], id="none"),
    ],
)
def test_bias(graded, bias):
    """The bias has the scale of the sums, x scale * weight scale, and is rounded to it."""
    x, weight, _ = layer(2, seed=5)
    check_layer(
        graded, x, X, weight // 16, SCALES, np.array(bias), Code(0.0625, 0, 0, 255),
        breaks="the bias is round(bias / (x scale * weight scale)) and joins the sums",
        likely="it was added to the codes, coded in y's or the weight's scale, or added unrounded",
    )  # fmt: skip


@pytest.mark.parametrize("zero_point", [0, 1, 128, 255])
def test_zero_points(graded, zero_point):
    """Any zero points of input and output."""
    x, weight, bias = layer(6, seed=zero_point)
    check_layer(
        graded, x, Code(0.5, zero_point, 0, 255), weight, SCALES, bias, Code(32.0, zero_point, 0, 255),
        breaks=f"zero point {zero_point} is taken off the input and added to the output",
        likely="one of the zero points was left out, or the subtraction was done in uint8",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("least", "most"),
    [pytest.param(0, 255, id="8-bits"), pytest.param(0, 127, id="7-bits"), pytest.param(100, 200, id="relu")],
)
def test_saturation(graded, least, most):
    """What is too large stops at the output's least and most."""
    x, weight, bias = layer(16, seed=2)
    check_layer(
        graded, x, X, weight, SCALES, bias, Code(1.0, 100, least, most),
        breaks=f"codes are kept within {least}..{most}",
        likely="the cast to uint8 wraps around, or 0..255 was taken whatever the code says",
    )  # fmt: skip


@pytest.mark.parametrize("total", range(-9, 10))
def test_ties(graded, total):
    """Ties go to the even number."""
    x, weight = np.array([[8]], np.uint8), np.array([[total]], np.int8)
    check_layer(
        graded, x, X, weight, np.array([1.0]), np.zeros(1), Code(1.0, 100, 0, 255),
        breaks=f"{total} / 2 is rounded to {round(total / 2)}",
        likely="floor(x + 0.5) or a shift to the right rounds ties up",
    )  # fmt: skip


def test_type(graded):
    """The answer is uint8 of shape [N, O], also for no rows."""
    x, weight, bias = layer(4)
    for rows in (x, x[:0]):
        found = graded(rows, X, weight, SCALES, bias, Y)
        check_equal((found.dtype.name, found.shape), ("uint8", (len(rows), 3)), breaks="uint8 of shape [N, O]")
