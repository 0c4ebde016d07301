"""2.13: two programs that should answer alike."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from solutions.core.classroom.graph_values import Parity
from tests.grader.checks import check, check_equal, check_raises

pytestmark = pytest.mark.exercise("2.13")

LENGTHS = [27, 576, 1152, 512]
UNIT = 2.0**-24
BOUND = (math.sqrt(27) + math.sqrt(576) + math.sqrt(1152) + math.sqrt(512) + 4 * 4) * UNIT  # about 6.1e-06

Run = Callable[[np.ndarray], np.ndarray]


class Inputs:
    """Draws [batch, 4] float64 numbers, never the same ones twice, and remembers them."""

    def __init__(self) -> None:
        self.dice = np.random.default_rng(11)
        self.drawn: list[np.ndarray] = []

    def __call__(self, batch: int) -> np.ndarray:
        self.drawn.append(self.dice.uniform(0.5, 1.0, (batch, 4)))
        return self.drawn[-1].copy()


def answers(x: np.ndarray) -> np.ndarray:
    """[batch, 3]: the largest magnitude is 8.0, in cell (0, 1); the others lie between 0.5 and 1."""
    y = x[:, :3].copy()
    y[0, 1] = -8.0
    return y


def off(cell: tuple[int, int], by: float, *, only: int = 0) -> Run:
    """The answers with one cell changed, for every batch size or one only."""

    def run(x: np.ndarray) -> np.ndarray:
        y = answers(x)
        if only in (0, len(x)):
            y[cell] += by
        return y

    return run


def judged(graded, candidate: Run, reference: Run = answers, **options) -> Parity:
    with np.errstate(all="ignore"):  # inf - inf on the way to a verdict is nobody's mistake
        found = graded(reference, candidate, Inputs(), LENGTHS, **options)
    check(isinstance(found, Parity), breaks="a Parity comes back", got=found)
    return found


@pytest.mark.parametrize("cell", [(0, 0), (0, 1), (0, 2)])
@pytest.mark.parametrize(("share", "agrees"), [(0.9, True), (1.1, False), (-1.1, False)])
def test_bound(graded, cell, share, agrees):
    """What rounding explains is the bound, relative to the largest value of the answer."""
    found = judged(graded, off(cell, share * BOUND * 8.0))
    check_equal(
        found.agrees,
        agrees,
        breaks=f"{abs(share)} of what rounding explains, in cell {cell}, {'agrees' if agrees else 'differs'}",
        likely="relative to the cell itself or to nothing, a bound of your own, or lengths without the square root",
    )
    # the difference was rounded once when it was put in: 2^-53 of 8, beside 4e-05
    check(
        abs(found.worst - abs(share) * BOUND) <= 1e-9 * BOUND + 2.0**-50,
        breaks="worst is the largest difference over the largest magnitude of the reference",
        expected=f"{abs(share) * BOUND:.6g}",
        got=found.worst,
    )


@pytest.mark.parametrize(
    ("lengths", "unit", "want"),
    [
        pytest.param([100], 0.001, 0.014, id="one-layer"),
        pytest.param([100, 100], 0.001, 0.028, id="two-layers"),
        pytest.param([100, 1, 9], 0.01, 0.26, id="each-layer-its-own"),
        pytest.param([100], 2.0**-11, 14 * 2.0**-11, id="half-precision"),
    ],
)
def test_network(graded, lengths, unit, want):
    """The bound follows from the network and from the precision."""
    found = [
        graded(answers, off((0, 0), 8 * want * share), Inputs(), lengths, unit=unit).agrees for share in (0.99, 1.01)
    ]
    check_equal(
        found,
        [True, False],
        breaks=f"for sums of {lengths} products and the unit {unit:.3g} rounding explains {want:.4g}",
        likely="a fixed tolerance, only one of the layers, lengths without the square root, or no 4 more per layer",
    )


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_place(graded, batch):
    """The worst of all batches is told, with its batch size and its cell."""
    cell = (batch - 1, 2)

    def candidate(x: np.ndarray) -> np.ndarray:
        y = answers(x)
        y[0, 0] += 1e-3  # a smaller fault in every batch
        if len(x) == batch:
            y[cell] += 1e-2
        return y

    found = judged(graded, candidate)
    check_equal(
        (found.agrees, found.batch, tuple(found.place)),
        (False, batch, cell),
        breaks=f"a fault in cell {cell} of batch {batch} is found there",
        likely="only the first or the last batch decides, or place counts cells in a row",
    )


def test_equals(graded):
    """Of batches that are equally far off the first is told, and nothing is off where nothing differs."""
    found = judged(graded, answers, batches=(2, 1, 5))
    check_equal(
        (found.agrees, found.worst, found.batch),
        (True, 0.0, 2),
        breaks="equal answers agree, at a worst difference of 0.0 in the first batch",
    )


def one_bad(value: float) -> Run:
    """The answers with one cell that is not finite."""

    def run(x: np.ndarray) -> np.ndarray:
        y = answers(x)
        y[-1, 2] = value
        return y

    return run


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("who", ["candidate", "reference", "both"])
def test_not_finite(graded, who, value):
    """NaN and infinity are a difference, whoever answers them."""
    bad = one_bad(value)
    found = judged(
        graded, bad if who != "reference" else answers, bad if who != "candidate" else answers, batches=(2, 5)
    )
    check_equal(
        (found.agrees, found.worst, found.batch, tuple(found.place)),
        (False, math.inf, 2, (1, 2)),
        breaks=f"{value} in the answers of {who} is an infinite difference at its cell",
        likely="a comparison with NaN is False, nanmax passes over it, inf / inf is NaN",
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda y: y[:, :1], id="fewer-columns"),
        pytest.param(lambda y: y[:1], id="fewer-rows"),
        pytest.param(lambda y: y[None], id="one-axis-more"),
        pytest.param(lambda y: y.T, id="transposed"),
    ],
)
def test_shape(graded, change):
    """Another shape differs, also where NumPy could broadcast it."""
    constant = np.full((5, 3), 2.0)
    found = judged(graded, lambda x: change(constant[: len(x)]), lambda x: constant[: len(x)], batches=(5,))
    check_equal(
        (found.agrees, found.worst, found.batch, tuple(found.place)),
        (False, math.inf, 5, ()),
        breaks="answers of another shape are infinitely far off, at no cell",
        likely="NumPy broadcasts (5, 1) against (5, 3)",
    )


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64"])
def test_dtype(graded, dtype):
    """Another element type differs, even with the same values."""
    found = judged(graded, lambda x: np.full((len(x), 3), 2, dtype), lambda x: np.full((len(x), 3), 2.0))
    check_equal(
        (found.agrees, found.worst, tuple(found.place)),
        (False, math.inf, ()),
        breaks=f"{dtype} in place of float64 is infinitely far off, at no cell",
        likely="dtypes were not compared: whoever reads the output will read other bytes",
    )


def test_zeros(graded):
    """A candidate that answers zeros differs; where the reference is all 0, differences count as they are."""
    dead = judged(graded, lambda x: answers(x) * 0.0)
    check_equal((dead.agrees, dead.worst), (False, 1.0), breaks="an answer of zeros is off by 1.0")
    zero = judged(graded, lambda x: answers(x) * 0.0 + 0.25, lambda x: answers(x) * 0.0)
    check_equal(
        (zero.agrees, zero.worst),
        (False, 0.25),
        breaks="beside a reference of zeros 0.25 is 0.25",
        likely="relative to the candidate, or divided by 0",
    )


def test_fresh_inputs(graded):
    """One new input per batch size, the same for both."""
    inputs, seen = Inputs(), ([], [])

    def watching(index: int) -> Run:
        def run(x: np.ndarray) -> np.ndarray:
            seen[index].append(x.copy())
            return answers(x)

        return run

    graded(watching(0), watching(1), inputs, LENGTHS, batches=(3, 1, 3))
    check_equal([len(x) for x in inputs.drawn], [3, 1, 3], breaks="draw is called once per batch size, in their order")
    for index, who in enumerate(("the reference", "the candidate")):
        check(
            len(seen[index]) == 3 and all(np.array_equal(a, b) for a, b in zip(seen[index], inputs.drawn, strict=True)),
            breaks=f"{who} gets each input that was drawn",
            likely="both drew for themselves, or an input was used twice",
        )


def scribbles(x: np.ndarray) -> np.ndarray:
    """The right answers, but the input is overwritten."""
    y = answers(x)
    x[:] = -1.0
    return y


def in_place(x: np.ndarray) -> np.ndarray:
    """Another answer, in the memory of the input."""
    x += 1.0
    return x


@pytest.mark.parametrize(
    ("reference", "candidate", "agrees"),
    [
        pytest.param(scribbles, answers, True, id="the-reference-writes"),
        pytest.param(answers, scribbles, True, id="the-candidate-writes"),
        pytest.param(lambda x: x, in_place, False, id="both-hand-their-input-back"),
    ],
)
def test_own_copy(graded, reference, candidate, agrees):
    """A program that writes into its input disturbs neither the other one nor its answer."""
    check_equal(
        judged(graded, candidate, reference).agrees,
        agrees,
        breaks="each of the two has a copy of the input to itself",
        likely="both got the same array, and one saw what the other had written",
    )


def test_precision(graded):
    """The difference is taken in float64: float16 would round it, or overflow."""
    big = np.full((1, 2), 60000.0, np.float16)
    found = judged(graded, lambda x: -big, lambda x: big, batches=(1,), unit=2.0**-11)
    check_equal(
        (found.agrees, found.worst),
        (False, 2.0),
        breaks="-60000 is 2.0 times 60000 away from 60000, in float16 too",
        likely="the difference of two float16 beyond 65504 is infinite: go to float64 first",
    )


def test_nothing_compared(graded):
    """No batch sizes are refused: nothing compared is no agreement."""
    check_raises(
        ValueError,
        lambda: graded(answers, answers, Inputs(), LENGTHS, batches=()),
        breaks="no batch sizes raise ValueError",
    )
