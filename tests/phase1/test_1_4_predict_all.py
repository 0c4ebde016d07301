"""1.4: any number of rows through a model with a fixed batch."""

from __future__ import annotations

import numpy as np
import pytest

from tests.grader.checks import check, check_equal, check_raises

pytestmark = pytest.mark.exercise("1.4")

SIZES = [
    pytest.param(1, 4, id="one-row"),
    pytest.param(4, 4, id="exactly-one-batch"),
    pytest.param(5, 4, id="one-over"),
    pytest.param(8, 4, id="two-batches"),
    pytest.param(7, 3, id="odd-batch"),
    pytest.param(3, 1, id="batch-of-one"),
]


class FixedModel:
    """Answers each row x with [sum(x), first value], and remembers what it was given."""

    def __init__(self, batch: int, *, reuses_memory: bool = False) -> None:
        self.answers = np.zeros((batch, 2), np.float32)
        self.reuses_memory = reuses_memory
        self.seen: list[np.ndarray] = []

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        self.seen.append(np.array(rows))
        found = np.stack([rows.reshape(len(rows), -1).sum(axis=1), rows.reshape(len(rows), -1)[:, 0]], axis=1)
        if not self.reuses_memory:
            return found.astype(np.float32)
        self.answers[: len(found)] = found[: len(self.answers)]
        return self.answers


def some_rows(count: int) -> np.ndarray:
    """Rows [count, 3, 2] of small whole numbers, no two alike and none of zeros: sums in float32 are exact."""
    return np.arange(1, 6 * count + 1, dtype=np.float32).reshape(count, 3, 2)


def answers_to(rows: np.ndarray) -> np.ndarray:
    return np.stack([rows.sum(axis=(1, 2)), rows[:, 0, 0]], axis=1).astype(np.float32)


@pytest.mark.parametrize(("count", "batch"), SIZES)
def test_answers_in_order(graded, count, batch):
    """There is one answer per row, in the order of the rows."""
    rows = some_rows(count)
    check_equal(
        graded(FixedModel(batch), rows, batch),
        answers_to(rows),
        breaks="answer i belongs to row i, and there are as many as rows",
        likely="the answers to the filling were kept, or the last rows were dropped",
    )


@pytest.mark.parametrize(("count", "batch"), SIZES)
def test_calls(graded, count, batch):
    """The model runs ceil(N / batch) times and not once more."""
    model = FixedModel(batch)
    graded(model, some_rows(count), batch)
    check_equal(
        len(model.seen),
        -(-count // batch),
        breaks="as few calls as possible",
        likely="a call per row, or one for the empty rest when N is a multiple of the batch",
    )


@pytest.mark.parametrize(("count", "batch"), SIZES)
def test_every_call_is_full(graded, count, batch):
    """Every call has exactly `batch` rows, with the other axes and the type as they were."""
    model = FixedModel(batch)
    graded(model, some_rows(count), batch)
    check_equal(
        {(rows.shape, str(rows.dtype)) for rows in model.seen},
        {((batch, 3, 2), "float32")},
        breaks="a model with a fixed batch gets that many rows at every call",
        likely="the last part was handed over short, or the filling changed the type",
    )


@pytest.mark.parametrize(("count", "batch"), [pytest.param(1, 4, id="three-fillers"), pytest.param(6, 4, id="two")])
def test_filling(graded, count, batch):
    """The filling is made of the last row, a value that the model knows."""
    model, rows = FixedModel(batch), some_rows(count)
    graded(model, rows, batch)
    filled = -(-count // batch) * batch - count
    got = np.concatenate(model.seen)[count:]
    check_equal(
        got,
        np.repeat(rows[-1:], filled, axis=0),
        breaks="the last call is filled up with copies of the last row",
        likely="zeros: a model that normalises its input divides by zero on them",
    )


@pytest.mark.parametrize(("count", "batch"), [pytest.param(9, 4, id="rest"), pytest.param(8, 4, id="no-rest")])
def test_memory_of_the_runtime(graded, count, batch):
    """A runtime that answers into the same array at every call does not spoil earlier answers."""
    rows = some_rows(count)
    model = FixedModel(batch, reuses_memory=True)
    got = np.array(graded(model, rows, batch))
    check_equal(
        got,
        answers_to(rows),
        breaks="earlier answers survive the next call",
        likely="slices of the runtime's own array were kept: copy them before the next call",
    )


def test_view(graded):
    """Rows that are a view are read right and not written to."""
    whole = some_rows(10)
    rows = whole[::2]
    before = whole.copy()
    check_equal(graded(FixedModel(2), rows, 2), answers_to(rows), breaks="every second row of an array, in order")
    check(
        np.array_equal(whole, before), breaks="the caller's rows stay as they were", likely="resize or in-place filling"
    )


@pytest.mark.parametrize(
    ("count", "batch"),
    [pytest.param(0, 4, id="no-rows"), pytest.param(3, 0, id="batch-0"), pytest.param(3, -1, id="-1")],
)
def test_refusals(graded, count, batch):
    """No rows, or a batch below 1, are refused."""
    check_raises(
        ValueError,
        lambda: graded(FixedModel(4), some_rows(count), batch),
        breaks="no rows, or batch < 1, raise ValueError",
        likely="the loop never ran, and nothing was said",
    )
