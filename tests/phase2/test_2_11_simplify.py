"""2.11: what can be computed now, and what nobody needs."""

from __future__ import annotations

import numpy as np
import pytest

from solutions.core.classroom.graph_values import Node
from tests.grader.checks import check_equal

pytestmark = pytest.mark.exercise("2.11")

OPS = {"Add": np.add, "Mul": np.multiply, "Neg": np.negative}


def numbers(**values: float) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in values.items()}


def check_graph(graded, nodes, outputs, constants, kept, left, *, ops=OPS, breaks: str, likely: str = "") -> None:
    """Compare the names of the nodes that are kept, and the constants with their values."""
    found, found_constants = graded(nodes, outputs, constants, ops)
    check_equal([node.name for node in found], kept, breaks=breaks, likely=likely)
    check_equal({name: float(value) for name, value in found_constants.items()}, left, breaks=breaks, likely=likely)


@pytest.mark.parametrize(
    ("nodes", "constants", "kept", "left"),
    [
        pytest.param(
            [Node("s", "Add", ("a", "b")), Node("y", "Mul", ("x", "s"))],
            numbers(a=2, b=3),
            ["y"],
            {"s": 5.0},
            id="one",
        ),
        pytest.param(
            [
                Node("s", "Add", ("a", "b")),
                Node("t", "Neg", ("s",)),
                Node("u", "Mul", ("t", "a")),
                Node("y", "Add", ("u", "x")),
            ],
            numbers(a=2, b=3),
            ["y"],
            {"u": -10.0},
            id="a-chain",
        ),
        pytest.param(
            [Node("s", "Add", ("a", "x")), Node("y", "Mul", ("s", "b"))],
            numbers(a=2, b=3),
            ["s", "y"],
            {"a": 2.0, "b": 3.0},
            id="nothing-to-fold",
        ),
        pytest.param(
            [
                Node("s", "Mul", ("a", "a")),
                Node("p", "Add", ("x", "s")),
                Node("q", "Mul", ("p", "s")),
                Node("y", "Add", ("q", "a")),
            ],
            numbers(a=3),
            ["p", "q", "y"],
            {"a": 3.0, "s": 9.0},
            id="a-constant-read-twice",
        ),
    ],
)
def test_folding(graded, nodes, constants, kept, left):
    """What depends on constants alone is computed, through whole chains."""
    check_graph(
        graded, nodes, ["y"], constants, kept, left,
        breaks="a node that reads only constants becomes one, and so do the nodes after it",
        likely="only one step was folded, or a node with a single constant input was taken for constant",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "outputs", "kept", "left"),
    [
        pytest.param(
            [Node("y", "Mul", ("x", "a")), Node("aside", "Add", ("x", "b"))], ["y"], ["y"], {"a": 2.0}, id="a-dead-end"
        ),
        pytest.param(
            [Node("d", "Add", ("x", "b")), Node("e", "Neg", ("d",)), Node("y", "Mul", ("x", "a"))],
            ["y"],
            ["y"],
            {"a": 2.0},
            id="a-dead-chain",
        ),
        pytest.param(
            [Node("d", "Add", ("x", "b")), Node("e", "Neg", ("d",)), Node("y", "Mul", ("x", "a"))],
            ["y", "d"],
            ["d", "y"],
            {"a": 2.0, "b": 3.0},
            id="an-output-inside-the-chain",
        ),
        pytest.param([Node("y", "Neg", ("x",))], ["y"], ["y"], {}, id="constants-that-nobody-reads"),
        pytest.param([Node("y", "Neg", ("x",))], [], [], {}, id="no-outputs"),
        pytest.param([], [], [], {}, id="no-nodes"),
    ],
)
def test_dead(graded, nodes, outputs, kept, left):
    """What no output needs is dropped, nodes and constants alike."""
    check_graph(
        graded, nodes, outputs, numbers(a=2, b=3), kept, left,
        breaks="nodes and constants that no output needs are dropped, and no others",
        likely="only nodes without readers were dropped, once: a dead chain needs a walk from the outputs back",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "kept", "left"),
    [
        pytest.param(
            [Node("noise", "Random", ()), Node("y", "Add", ("x", "noise"))], ["noise", "y"], {}, id="reads-nothing"
        ),
        pytest.param(
            [Node("s", "Secret", ("a",)), Node("y", "Add", ("x", "s"))], ["s", "y"], {"a": 2.0}, id="unknown-op"
        ),
        pytest.param(
            [Node("s", "Secret", ("a",)), Node("t", "Neg", ("s",)), Node("y", "Add", ("x", "t"))],
            ["s", "t", "y"],
            {"a": 2.0},
            id="after-an-unknown-op",
        ),
    ],
)
def test_not_constant(graded, nodes, kept, left):
    """A node that reads nothing may be random, and an unknown op cannot be computed."""
    check_graph(
        graded, nodes, ["y"], numbers(a=2), kept, left, ops={**OPS, "Random": lambda: np.array(0.5)},
        breaks="a node that reads nothing is kept, and so is one whose op is not known",
        likely="all() of nothing is True",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "outputs", "left"),
    [
        pytest.param([Node("y", "Add", ("a", "b"))], ["y"], {"y": 5.0}, id="computed"),
        pytest.param([], ["a"], {"a": 2.0}, id="given"),
        pytest.param(
            [Node("s", "Add", ("a", "b")), Node("y", "Neg", ("s",))], ["s", "y"], {"s": 5.0, "y": -5.0}, id="two"
        ),
    ],
)
def test_constant_outputs(graded, nodes, outputs, left):
    """An output that is a constant is kept among the constants."""
    check_graph(
        graded, nodes, outputs, numbers(a=2, b=3), [], left,
        breaks="an output that became a constant is among the constants",
        likely="constants that no node reads were dropped, outputs included",
    )  # fmt: skip


def test_no_work_for_nothing(graded):
    """Nothing is computed that nobody needs, and what is needed is computed once."""
    calls = []

    def add(a, b):
        calls.append((float(a), float(b)))
        return np.add(a, b)

    nodes = [Node("s", "Add", ("a", "b")), Node("dead", "Add", ("b", "b")), Node("y", "Mul", ("x", "s"))]
    check_graph(
        graded, nodes, ["y"], numbers(a=2, b=3), ["y"], {"s": 5.0}, ops={**OPS, "Add": add},
        breaks="the graph is simplified",
    )  # fmt: skip
    check_equal(
        calls,
        [(2.0, 3.0)],
        breaks="one node is computed, once",
        likely="dead nodes were folded before they were dropped",
    )


def test_inputs_stay(graded):
    """What came in stays as it was."""
    nodes, constants = [Node("s", "Add", ("a", "b")), Node("y", "Mul", ("x", "s"))], numbers(a=2, b=3, c=4)
    found, _ = graded(nodes, ["y"], constants, OPS)
    check_equal([node.name for node in found], ["y"], breaks="the graph is simplified")
    check_equal(sorted(constants), ["a", "b", "c"], breaks="the mapping that came in stays as it was")
    check_equal(len(nodes), 2, breaks="the nodes that came in stay as they were", likely="removed in place")
