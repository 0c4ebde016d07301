"""1.8: the most memory that activations need at once, by liveness."""

from __future__ import annotations

import numpy as np
import pytest

from solutions.core.classroom.values import Step
from tests.grader.checks import check_equal

pytestmark = pytest.mark.exercise("1.8")


def chain(*sizes: int) -> list[Step]:
    """Steps "a", "b", ... of these sizes, each reading the one before."""
    names = "abcdefghij"
    return [Step(names[i], (names[i - 1],) if i else (), size) for i, size in enumerate(sizes)]


def by_hand(steps: list[Step], outputs: set[str]) -> tuple[int, str]:
    """The same by keeping a set of living tensors and dropping what no later step reads."""
    alive: dict[str, int] = {}
    peak, where = 0, ""
    for now, step in enumerate(steps):
        alive[step.name] = step.bytes
        if sum(alive.values()) > peak:
            peak, where = sum(alive.values()), step.name
        wanted = outputs.union(*(later.reads for later in steps[now + 1 :]))
        alive = {name: size for name, size in alive.items() if name in wanted}
    return peak, where


def check_peak(graded, steps, outputs, want, *, breaks: str, likely: str) -> None:
    check_equal(tuple(graded(steps, outputs)), want, breaks=breaks, likely=likely)


@pytest.mark.parametrize(
    ("sizes", "want"),
    [
        pytest.param((4, 8, 2), (12, "b"), id="input-and-output-of-the-largest-step"),
        pytest.param((2, 2, 9, 9, 2), (18, "d"), id="two-large-neighbours"),
        pytest.param((16, 1, 1), (17, "b"), id="large-input"),
        pytest.param((1, 1, 16), (17, "c"), id="large-output"),
    ],
)
def test_chain(graded, sizes, want):
    """A step needs its input while it writes its output, and then the input is free."""
    check_peak(
        graded, chain(*sizes), [chain(*sizes)[-1].name], want,
        breaks="at each step of a chain two tensors are alive: what it reads and what it makes",
        likely="the input was freed before the output was written, or nothing is ever freed",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "want"),
    [
        pytest.param(
            [Step("x", (), 4), Step("a", ("x",), 8), Step("b", ("a",), 8), Step("sum", ("b", "x"), 4)],
            (20, "b"),
            id="residual",
        ),
        pytest.param(
            [
                Step("x", (), 4),
                Step("a", ("x",), 4),
                Step("b", ("x",), 4),
                Step("c", ("x",), 4),
                Step("y", ("a", "b", "c"), 1),
            ],
            (16, "c"),
            id="three-branches-of-one-tensor",
        ),
        pytest.param(
            [
                Step("x", (), 1),
                Step("a", ("x",), 5),
                Step("b", ("x", "a"), 5),
                Step("c", ("x", "b"), 5),
                Step("d", ("x", "a"), 5),
            ],
            (16, "c"),
            id="dense-connections",
        ),
        pytest.param([Step("x", (), 4), Step("square", ("x", "x"), 4)], (8, "square"), id="the-same-tensor-read-twice"),
    ],
)
def test_branches(graded, steps, want):
    """A tensor that several steps read lives until the last of them."""
    check_peak(
        graded, steps, [steps[-1].name], want,
        breaks="what a later step still reads stays alive",
        likely="a tensor was freed after its first reader: a residual is read again much later",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("outputs", "want"),
    [
        pytest.param(["d"], (11, "d"), id="only-the-last"),
        pytest.param(["b", "d"], (18, "d"), id="an-early-output-stays"),
        pytest.param(["a", "b", "c", "d"], (19, "d"), id="all-of-them"),
    ],
)
def test_outputs(graded, outputs, want):
    """What is handed to the caller stays until the end."""
    steps = [Step("a", (), 1), Step("b", ("a",), 7), Step("c", ("b",), 2), Step("d", ("c",), 9)]
    check_peak(
        graded, steps, outputs, want,
        breaks="an output lives to the end, whoever else reads it",
        likely="outputs were freed with their last reader, or everything was kept",
    )  # fmt: skip


def test_unread(graded):
    """A tensor that nobody reads is alive at its own step only."""
    steps = [Step("x", (), 2), Step("aside", ("x",), 6), Step("y", ("x",), 5), Step("z", ("y",), 1)]
    check_peak(
        graded, steps, ["z"], (8, "aside"),
        breaks="a tensor that nobody reads takes its memory while it is written and no longer",
        likely="it was never counted, or never freed",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "outputs", "want"),
    [
        pytest.param([], [], (0, ""), id="no-steps"),
        pytest.param([Step("x", (), 3)], ["x"], (3, "x"), id="one-step"),
        pytest.param([Step("x", (), 3)], [], (3, "x"), id="one-step-that-nobody-wants"),
        pytest.param(chain(4, 4, 4, 4), ["d"], (8, "b"), id="the-first-of-equal-peaks"),
    ],
)
def test_edges(graded, steps, outputs, want):
    """No steps, one step, and the first of several equal peaks."""
    check_peak(
        graded, steps, outputs, want,
        breaks="(0, '') for no steps, and the first step where the peak is reached",
        likely="max() of nothing, or >= where > keeps the first",
    )  # fmt: skip


def test_random_networks(graded):
    """Random networks of up to 30 steps agree with a simulation that frees what no later step reads."""
    dice = np.random.default_rng(11)
    for _ in range(50):
        steps: list[Step] = []
        for index in range(int(dice.integers(1, 31))):
            readable = [step.name for step in steps]
            reads = dice.choice(readable, size=min(len(readable), int(dice.integers(0, 4)))) if readable else []
            steps.append(Step(f"s{index}", tuple(map(str, reads)), int(dice.integers(0, 100))))
        outputs = {step.name for step in steps if dice.random() < 0.2}
        check_peak(
            graded, steps, outputs, by_hand(steps, outputs),
            breaks=f"the peak of a random network of {len(steps)} steps",
            likely="one of the rules fails where branches, outputs and unread tensors meet",
        )  # fmt: skip
