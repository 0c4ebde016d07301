"""Passes that rewrite arithmetic: batch norms, Focus stems, activations, pools; their answers stay."""

import numpy as np
import onnx
import pytest
from onnx import helper

from solutions.phase2_optimization.compilation.passes import (
    cascade_pools,
    fold_batchnorm,
    fold_focus,
    rewrite_global_pool,
    rewrite_hardswish,
    rewrite_silu,
)
from tests.solutions.test_compile_passes import RANDOM, apply, model, node, weight

# -- convolutions --------------------------------------------------------------------------------------------------


def norm(channels):
    return {
        "gain": weight(channels),
        "offset": weight(channels),
        "mean": weight(channels),
        "variance": RANDOM.uniform(0.1, 2, channels).astype(np.float32),
    }


NORM = node("BatchNormalization", "c gain offset mean variance", "y", epsilon=1e-3)


@pytest.mark.parametrize(
    ("linear", "weights", "channels"),
    [
        pytest.param(node("Conv", "x w", "c"), {"w": weight(5, 3, 3, 3)}, 5, id="conv"),
        pytest.param(node("Conv", "x w b", "c", group=3), {"w": weight(6, 1, 3, 3), "b": weight(6)}, 6, id="depthwise"),
        pytest.param(node("ConvTranspose", "x w", "c"), {"w": weight(3, 4, 3, 3)}, 4, id="transposed"),
        pytest.param(
            node("ConvTranspose", "x w b", "c", group=3), {"w": weight(3, 2, 2, 2), "b": weight(6)}, 6, id="grouped"
        ),
    ],
)
def test_batch_norms_are_folded(linear, weights, channels):
    made = model([linear, NORM], {**weights, **norm(channels)})
    assert apply(fold_batchnorm.run, made, exact=False) == [linear.op_type]


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_batch_norm_after_a_gemm_is_folded(transposed):
    weights = {"w": weight(5, 7) if transposed else weight(7, 5), "b": weight(1, 5), **norm(5)}
    made = model([node("Gemm", "x w b", "c", transB=transposed, alpha=0.5), NORM], weights, shape=(4, 7))
    assert apply(fold_batchnorm.run, made, exact=False) == ["Gemm"]


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (5, 1, 1), (1, 5, 1, 1)], ids=str)
def test_arithmetic_per_channel_is_folded(op, shape):
    weights = {"w": weight(5, 3, 3, 3), "k": RANDOM.uniform(1, 2, shape).astype(np.float32)}
    assert apply(fold_batchnorm.run, model([node("Conv", "x w", "c"), node(op, "c k", "y")], weights), exact=False)
    if op != "Div":
        assert apply(fold_batchnorm.run, model([node("Conv", "x w", "c"), node(op, "k c", "y")], weights), exact=False)


@pytest.mark.parametrize(
    ("second", "weights", "outputs"),
    [
        pytest.param(node("Add", "c k", "y"), {"k": weight(1, 5, 6, 6)}, ("y",), id="varies-over-the-image"),
        pytest.param(node("Add", "c k", "y"), {"k": weight(6)}, ("y",), id="varies-along-the-width"),
        pytest.param(node("Add", "c k", "y"), {"k": weight(2, 1, 1, 1, 1)}, ("y",), id="adds-an-axis"),
        pytest.param(node("Div", "k c", "y"), {"k": weight(5, 1, 1)}, ("y",), id="one-over"),
        pytest.param(node("Mul", "c k", "y"), {"k": weight(5, 1, 1)}, ("y", "c"), id="the-convolution-is-an-output"),
    ],
)
def test_other_followers_stay(second, weights, outputs):
    made = model([node("Conv", "x w", "c"), second], {"w": weight(5, 3, 3, 3), **weights}, outputs=outputs)
    assert len(apply(fold_batchnorm.run, made, changes=0)) == 2


def focus(order, *, kernel=3, chained=True, channels=3, **attributes):
    """Slices over rows, then columns (or both at once), the phases in the given order, and a convolution."""
    nodes, names = [], []
    for index, (dy, dx) in enumerate(order):
        name, rows = f"p{index}", f"r{index}"
        if chained:
            nodes += [node("Slice", f"x s{dy} end row step", rows)]
            nodes += [node("Slice", f"{rows} s{dx} end column step", name)]
        else:
            nodes += [node("Slice", f"x b{dy}{dx} ends axes steps", name)]
        names.append(name)
    constants = {
        "s0": [0], "s1": [1], "end": [2**63 - 1], "row": [2], "column": [3], "step": [2],
        "ends": [2**31 - 1] * 2, "axes": [2, 3], "steps": [2, 2],
        **{f"b{dy}{dx}": [dy, dx] for dy in (0, 1) for dx in (0, 1)},
    }  # fmt: skip
    weights = {name: np.array(value) for name, value in constants.items()}
    weights |= {"w": weight(5, 4 * channels, kernel, kernel), "b": weight(5)}
    conv = node("Conv", "f w b", "y", **attributes)
    return model([*nodes, node("Concat", " ".join(names), "f", axis=1), conv], weights, shape=(1, channels, 12, 16))


YOLOX = [(0, 0), (1, 0), (0, 1), (1, 1)]


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(focus(YOLOX, pads=[1, 1, 1, 1]), id="yolox"),
        pytest.param(focus(YOLOX[::-1], pads=[1, 0, 2, 1]), id="another-order-uneven-pads"),
        pytest.param(focus(YOLOX, chained=False, kernel=1), id="both-axes-at-once"),
        pytest.param(focus(YOLOX, strides=[2, 2], pads=[1, 1, 1, 1]), id="strided"),
    ],
)
def test_focus_stems_become_one_convolution(made):
    assert apply(fold_focus.run, made, exact=False) == ["Conv"]


def test_space_to_depth_stems_too():
    nodes = [node("SpaceToDepth", "x", "f", blocksize=4), node("Conv", "f w", "y", pads=[1, 1, 1, 1])]
    made = model(nodes, {"w": weight(5, 48, 3, 3)})
    assert apply(fold_focus.run, made, exact=False) == ["Conv"]


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(focus([(0, 0), (0, 0), (0, 1), (1, 1)]), id="a-phase-twice"),
        pytest.param(focus(YOLOX, dilations=[2, 2]), id="dilated"),
        pytest.param(focus(YOLOX, auto_pad="SAME_UPPER"), id="automatic-padding"),
    ],
)
def test_other_stems_stay(made):
    assert "Concat" in apply(fold_focus.run, made, changes=0)


# -- activations and pools -----------------------------------------------------------------------------------------

THREE = {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6), "sixth": np.float32(1 / 6)}
CLIPPED = [node("Add", "x three", "a"), node("Clip", "a zero six", "c")]


@pytest.mark.parametrize(
    ("nodes", "want"),
    [
        ([*CLIPPED, node("Div", "c six", "y")], ["HardSigmoid"]),
        ([*CLIPPED, node("Mul", "sixth c", "y")], ["HardSigmoid"]),
        ([*CLIPPED, node("Mul", "x c", "m"), node("Div", "m six", "y")], ["HardSwish"]),
        ([node("HardSigmoid", "x", "h", alpha=1 / 6, beta=0.5), node("Mul", "h x", "y")], ["HardSwish"]),
    ],
)
def test_hard_swish_is_recognised(nodes, want):
    assert apply(rewrite_hardswish.run, model(nodes, THREE), exact=False) == want


@pytest.mark.parametrize(
    "nodes",
    [
        [*CLIPPED, node("Div", "c three", "y")],
        [node("HardSigmoid", "x", "h"), node("Mul", "h x", "y")],
        [node("Relu", "x", "r"), node("HardSigmoid", "x", "h", alpha=1 / 6, beta=0.5), node("Mul", "h r", "y")],
    ],
)
def test_relatives_of_hard_swish_stay(nodes):
    assert apply(rewrite_hardswish.run, model(nodes, THREE), changes=0) == [item.op_type for item in nodes]


def test_silu_is_one_node_where_the_reader_has_one():
    nodes = [node("Sigmoid", "x", "s"), node("Mul", "x s", "y")]
    assert apply(rewrite_silu.run, model(nodes), changes=0) == ["Sigmoid", "Mul"]
    assert apply(rewrite_silu.run, model(nodes), exact=False, contrib=True) == ["QuickGelu"]
    newest = model(nodes, opset=24)
    assert rewrite_silu.run(newest) == 1
    onnx.checker.check_model(newest, full_check=True)
    assert [item.op_type for item in newest.graph.node] == ["Swish"]


@pytest.mark.parametrize("opset", [17, 18])
def test_a_mean_over_the_image_is_a_pool(opset):
    if opset < 18:
        nodes, weights = [node("ReduceMean", "x", "y", axes=[-1, -2])], {}
    else:
        nodes, weights = [node("ReduceMean", "x axes", "y")], {"axes": np.array([2, 3])}
    assert apply(rewrite_global_pool.run, model(nodes, weights, opset=opset), exact=False) == ["GlobalAveragePool"]


@pytest.mark.parametrize("attributes", [{"axes": [1, 2]}, {"axes": [2, 3], "keepdims": 0}, {"axes": [3]}], ids=str)
def test_other_means_stay(attributes):
    made = model([node("ReduceMean", "x", "y", **attributes)])
    assert apply(rewrite_global_pool.run, made, changes=0) == ["ReduceMean"]


def pool(side, output, source="x", **more):
    return node("MaxPool", source, output, kernel_shape=[side] * 2, pads=[side // 2] * 4, strides=[1, 1], **more)


def test_growing_pools_are_chained():
    made = model([pool(5, "a"), pool(9, "b"), pool(13, "c"), node("Concat", "x a b c", "y", axis=1)])
    assert apply(cascade_pools.run, made, changes=2) == ["MaxPool"] * 3 + ["Concat"]
    assert [list(helper.get_node_attr_value(item, "kernel_shape")) for item in made.graph.node[:3]] == [[5, 5]] * 3


def test_a_chain_does_not_run_against_the_order_of_the_graph():
    made = model([pool(9, "b"), pool(5, "a"), node("Concat", "a b", "y", axis=1)])
    assert apply(cascade_pools.run, made, changes=0) == ["MaxPool", "MaxPool", "Concat"]
