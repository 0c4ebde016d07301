"""1.3: from logits to the best classes with their probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from tests.grader.checks import check_close, check_equal, check_raises

pytestmark = pytest.mark.exercise("1.3")

EPS = float(np.finfo(np.float32).eps)


def softmax(logits: np.ndarray) -> np.ndarray:
    """The probabilities in float64."""
    real = logits.astype(np.float64)
    powers = np.exp(real - real.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def tolerance(classes: int) -> float:
    """Relative, for float32: a rounding for each of K terms, and exp makes 40 of the one of a logit of 40."""
    return (classes + 40) * EPS


def classes_of(rows) -> list[list[int]]:
    return [[int(index) for index, _ in row] for row in rows]


def check_probabilities(got, logits: np.ndarray) -> None:
    """Every probability that was handed back, against the one of its class."""
    want = softmax(logits)
    for row, truth in zip(got, want, strict=True):
        check_close(
            [float(probability) for _, probability in row],
            [truth[int(index)] for index, _ in row],
            1e-30,
            rtol=tolerance(logits.shape[1]),
            breaks="each probability is exp(logit) over the sum of exp over its own row",
            likely="the sum went over the whole batch or over the best k only, or ran in the precision of the input",
        )


@pytest.mark.parametrize(
    ("rows", "classes", "k"),
    [
        pytest.param(1, 10, 3, id="one-picture"),
        pytest.param(5, 10, 10, id="five-pictures"),
        pytest.param(3, 1000, 5, id="imagenet"),
        pytest.param(2, 1, 1, id="one-class"),
    ],
)
def test_probabilities(graded, rows, classes, k):
    """Each probability is the softmax over its own row."""
    logits = np.random.default_rng(3).normal(0, 4, (rows, classes)).astype(np.float32)
    check_probabilities(graded(logits, k), logits)


@pytest.mark.parametrize("classes", [pytest.param(10, id="ten"), pytest.param(1000, id="thousand")])
def test_best_first(graded, classes):
    """The k best classes come back, best first."""
    logits = np.random.default_rng(4).permutation(3 * classes).reshape(3, classes).astype(np.float32) / 64
    check_equal(
        classes_of(graded(logits, 7)),
        np.argsort(-logits, axis=1)[:, :7].tolist(),
        breaks="the classes stand in the order of their probabilities, the largest first",
        likely="argsort sorts upwards, and argpartition does not sort what it picks",
    )


@pytest.mark.parametrize(
    ("logits", "want"),
    [
        pytest.param([1000.0, 999.0, -1000.0], [0, 1, 2], id="exp-would-overflow"),
        pytest.param([-1000.0, -1001.0, -999.0], [2, 0, 1], id="exp-would-be-all-zero"),
        pytest.param([1.0, -np.inf, 2.0], [2, 0, 1], id="a-class-masked-with-minus-infinity"),
    ],
)
def test_large_logits(graded, logits, want):
    """Logits of any size give probabilities, not NaN."""
    row = np.array([logits], np.float32)
    got = graded(row, 3)
    check_equal(
        [np.isnan(probability) for _, probability in got[0]],
        [False] * 3,
        breaks="softmax of large logits is finite",
        likely="exp(1000) is infinity: take the row's largest logit off first, which changes nothing in the quotient",
    )
    check_equal(classes_of(got), [want], breaks="large logits keep their order")
    check_probabilities(got, row)


@pytest.mark.parametrize(
    ("logits", "k", "want"),
    [
        pytest.param([1, 3, 3, 2, 3], 2, [1, 2], id="three-best"),
        pytest.param([0] * 5, 5, [0, 1, 2, 3, 4], id="all-equal"),
        # beyond 16 cells NumPy's default sort is not stable
        pytest.param([1, 0] * 100, 4, [0, 2, 4, 6], id="many-classes"),
    ],
)
def test_ties(graded, logits, k, want):
    """Of equal scores the lower class comes first, so that two runs answer the same."""
    check_equal(
        classes_of(graded(np.array([logits], np.float32), k)),
        [want],
        breaks="equal scores stand in the order of their classes",
        likely="a sorted list was turned around, or the sort is not stable",
    )


def test_half_precision(graded):
    """Logits in float16 are summed in float32 or better."""
    logits = np.zeros((1, 200), np.float16)
    logits[0, 123] = 0.125
    got = graded(logits, 2)
    check_equal(classes_of(got), [[123, 0]], breaks="float16 logits keep their order")
    check_probabilities(got, logits)


@pytest.mark.parametrize(
    ("shape", "k", "want"),
    [
        pytest.param((2, 3), 5, [3, 3], id="k-above-the-number-of-classes"),
        pytest.param((2, 3), 3, [3, 3], id="all-classes"),
        pytest.param((2, 3), 1, [1, 1], id="only-the-best"),
        pytest.param((0, 3), 2, [], id="no-pictures"),
    ],
)
def test_how_many(graded, shape, k, want):
    """Each row has min(k, K) classes, and no rows give no answers."""
    check_equal(
        [len(row) for row in graded(np.zeros(shape, np.float32), k)],
        want,
        breaks="min(k, K) classes per row",
        likely="the maximum of an empty array was taken, or k was not bounded",
    )


@pytest.mark.parametrize("k", [pytest.param(0, id="zero"), pytest.param(-1, id="minus-one")])
def test_refuses_k(graded, k):
    """k < 1 is refused."""
    check_raises(
        ValueError,
        lambda: graded(np.zeros((1, 3), np.float32), k),
        breaks="k < 1 raises ValueError",
        likely="a slice with -1 leaves the last class out and says nothing",
    )
