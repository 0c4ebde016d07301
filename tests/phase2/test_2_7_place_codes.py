"""2.7: where quantize-dequantize pairs go."""

from __future__ import annotations

import pytest

from solutions.core.classroom.graph_values import Node
from tests.grader.checks import check_equal

pytestmark = pytest.mark.exercise("2.7")


def own(*names: str) -> dict[str, str]:
    """Tensors that take their own range."""
    return {name: name for name in names}


def check_places(graded, nodes, want, *, breaks: str, likely: str) -> None:
    check_equal(dict(graded(nodes)), want, breaks=breaks, likely=likely)


CONV = Node("c", "Conv", ("x", "w", "b"))


@pytest.mark.parametrize(
    ("nodes", "want"),
    [
        pytest.param([CONV], own("x", "w"), id="conv-with-bias"),
        pytest.param([Node("c", "Conv", ("x", "w"))], own("x", "w"), id="conv-without"),
        pytest.param([Node("m", "MatMul", ("a", "b"))], own("a", "b"), id="matmul"),
        pytest.param([Node("s", "Add", ("a", "b"))], own("a", "b"), id="add"),
        pytest.param([Node("s", "Add", ("a", "a"))], own("a"), id="add-to-itself"),
    ],
)
def test_inputs(graded, nodes, want):
    """What an integer op reads gets a pair, the bias excepted."""
    check_places(
        graded, nodes, want,
        breaks="input and weight get a pair; the bias is int32 in the scale of the sums",
        likely="the bias was given 8 bits and a range of its own, which costs most of its precision",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "want"),
    [
        pytest.param(
            [CONV, Node("r", "Relu", ("c",)), Node("d", "Conv", ("r", "v"))],
            own("x", "w", "r", "v"),
            id="conv-relu-conv",
        ),
        pytest.param([CONV, Node("r", "Relu", ("c",))], own("x", "w"), id="conv-relu-at-the-end"),
        pytest.param([CONV, Node("d", "Conv", ("c", "v"))], own("x", "w", "c", "v"), id="conv-conv"),
        pytest.param(
            [CONV, Node("g", "Sigmoid", ("c",)), Node("y", "Mul", ("c", "g")), Node("d", "Conv", ("y", "v"))],
            own("x", "w", "y", "v"),
            id="silu",
        ),
    ],
)
def test_fused(graded, nodes, want):
    """No pair stands between a Conv and what can be fused into it."""
    check_places(
        graded, nodes, want,
        breaks="the pair stands after the activation, where the next integer op reads",
        likely="every output of a Conv was given a pair: it breaks the fusion with the Relu that follows",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "want"),
    [
        pytest.param(
            [CONV, Node("r", "Relu", ("c",)), Node("s", "Add", ("x", "r"))], own("x", "w", "r"), id="residual"
        ),
        pytest.param(
            [CONV, Node("s", "Add", ("x", "c")), Node("d", "Conv", ("s", "v", "k"))],
            own("x", "w", "c", "s", "v"),
            id="conv-into-add-into-conv",
        ),
        pytest.param(
            [CONV, Node("d", "Conv", ("x", "v")), Node("s", "Add", ("c", "d"))],
            own("x", "w", "v", "c", "d"),
            id="two-branches-of-one-tensor",
        ),
    ],
)
def test_branches(graded, nodes, want):
    """Both inputs of an Add are in integers, and what several ops read has one pair."""
    check_places(
        graded, nodes, want,
        breaks="both inputs of an Add get a pair",
        likely="Add was left out, and the residual goes back to float at every block",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "want"),
    [
        pytest.param(
            [Node("p", "MaxPool", ("x",)), Node("c", "Conv", ("p", "w"))], {**own("x", "w"), "p": "x"}, id="pool-conv"
        ),
        pytest.param(
            [
                Node("p", "MaxPool", ("x",)),
                Node("t", "Transpose", ("p",)),
                Node("f", "Reshape", ("t", "shape")),
                Node("m", "MatMul", ("f", "w")),
            ],
            {**own("x", "w"), "p": "x", "t": "x", "f": "x"},
            id="a-chain",
        ),
        pytest.param(
            [CONV, Node("r", "Relu", ("c",)), Node("p", "MaxPool", ("r",)), Node("d", "Conv", ("p", "v"))],
            {**own("x", "w", "r", "v"), "p": "r"},
            id="after-an-activation",
        ),
        pytest.param(
            [Node("t", "Transpose", ("w",)), Node("m", "MatMul", ("x", "t"))],
            {**own("x", "w"), "t": "w"},
            id="a-weight",
        ),
    ],
)
def test_passing(graded, nodes, want):
    """What only moves values keeps their range, through any chain."""
    check_places(
        graded, nodes, want,
        breaks="a pool, a reshape and a transpose take the range of what they read, which has the same pair",
        likely="a range of its own for each means requantizing where codes are only moved",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "want"),
    [
        pytest.param([Node("p", "MaxPool", ("x",)), Node("r", "Relu", ("p",))], {}, id="no-integer-op"),
        pytest.param([CONV, Node("p", "MaxPool", ("c",))], own("x", "w"), id="a-pool-that-no-integer-op-reads"),
        pytest.param([CONV, Node("y", "Softmax", ("c",))], own("x", "w"), id="float-output"),
    ],
)
def test_stays_float(graded, nodes, want):
    """Where no integer op reads, nothing is quantized."""
    check_places(
        graded, [*nodes, Node("last", "Conv", ("q", "u"))], {**want, **own("q", "u")},
        breaks="what no integer op reads, directly or through passing ops, stays in float",
        likely="pairs were placed for every op, integer or not",
    )  # fmt: skip


def test_nothing(graded):
    """No nodes, no pairs."""
    check_places(graded, [], {}, breaks="no nodes, no pairs", likely="")
