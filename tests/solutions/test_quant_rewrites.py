"""Rewritings for integer kernels change the graph and never its function."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from solutions.phase2_optimization.quantization.preparation import prepare
from solutions.phase2_optimization.quantization.rewrites import (
    double_by_copies,
    gather_strides,
    rewrite_for_integers,
    turn_heads,
)
from tests.solutions.quant_builders import SIZE, Net, pictures, residual_net, run


def focus_net() -> onnx.ModelProto:
    net = Net()
    far, axes = np.array([2**63 - 1]), [net.constant(np.array([2])), net.constant(np.array([3]))]
    two, end = net.constant(np.array([2])), net.constant(far)
    parts = []
    for down, right in ((0, 0), (1, 0), (0, 1), (1, 1)):
        rows = net.op("Slice", "x", net.constant(np.array([down])), end, axes[0], two)
        parts.append(net.op("Slice", rows, net.constant(np.array([right])), end, axes[1], two))
    return net.model(net.conv(net.op("Concat", *parts, axis=1), 12, 8))


def test_a_focus_stem_becomes_one_convolution_on_squares_of_pixels():
    model = prepare(focus_net())
    feed = pictures(1)[0]
    wanted = run(model, feed)[0]
    counts = rewrite_for_integers(model)
    assert (counts["focus stem"], counts["gathered strides"]) == (1, 1)
    assert [node.op_type for node in model.graph.node] == ["SpaceToDepth", "Conv"]
    assert np.allclose(run(model, feed)[0], wanted, atol=1e-4)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 1, 1, 1), (3, 3, 3, 3), (0, 1, 2, 0)])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_gathered_strides_compute_the_same(kernel, pads, channels):
    net = Net()
    weight = net.constant(net.random.normal(size=(4, channels, kernel, kernel)).astype(np.float32))
    model = net.model(
        net.op("Conv", "x", weight, kernel_shape=[kernel, kernel], strides=[2, 2], pads=list(pads)),
        channels=channels,
        batch="n",
    )
    feed = {"x": np.random.default_rng(0).normal(size=(2, channels, SIZE, SIZE)).astype(np.float32)}
    wanted = run(model, feed)[0]
    gather_strides(model)
    onnx.checker.check_model(model, full_check=True)
    assert np.allclose(run(model, feed)[0], wanted, atol=1e-4)


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize(("size", "gathered"), [("32*columns", 1), ("columns", 0), ("3*columns", 0), (64, 1), (63, 0)])
def test_strides_are_gathered_only_where_pictures_are_even(axis, size, gathered):
    net = Net()
    model = net.model(net.conv("x", 3, 4, strides=[2, 2]))
    dimension = model.graph.input[0].type.tensor_type.shape.dim[axis]
    dimension.Clear()
    setattr(dimension, "dim_value" if isinstance(size, int) else "dim_param", size)
    assert gather_strides(model) == gathered


def test_a_head_is_joined_along_the_last_axis():
    net = Net()
    rows = []
    for stride in (1, 2):
        x = net.conv("x", 3, 8, strides=[stride, stride])
        parts = [net.conv(x, 8, 4, k=1), net.op("Sigmoid", net.conv(x, 8, 3, k=1))]
        joined = net.op("Concat", *parts, axis=1)
        rows.append(net.op("Reshape", joined, net.constant(np.array([1, 7, -1]))))
    model = prepare(net.model(net.op("Transpose", net.op("Concat", *rows, axis=2), perm=[0, 2, 1])))
    feed = pictures(1)[0]
    wanted = run(model, feed)[0]
    assert turn_heads(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert np.array_equal(run(model, feed)[0], wanted)
    assert (0, 2, 1) not in [tuple(node.attribute[0].ints) for node in model.graph.node if node.op_type == "Transpose"]


@pytest.mark.parametrize(
    ("sizes", "moved"),
    [((5, 9, 13), 2), ((3, 3), 0), ((3,), 0)],
)
def test_large_poolings_come_from_small_ones(sizes, moved):
    net = Net()
    pools = [net.op("MaxPool", "x", kernel_shape=[k, k], strides=[1, 1], pads=[k // 2] * 4) for k in sizes]
    model = net.model(net.op("Concat", *pools, axis=1))
    feed = pictures(1)[0]
    wanted = run(model, feed)[0]
    assert rewrite_for_integers(model)["pooling cascade"] == moved
    onnx.checker.check_model(model, full_check=True)
    assert np.array_equal(run(model, feed)[0], wanted)


def test_poolings_that_shrink_stay_apart():
    net = Net()
    pools = [net.op("MaxPool", "x", kernel_shape=[k, k], strides=[2, 2], pads=[k // 2] * 4) for k in (3, 5)]
    assert rewrite_for_integers(net.model(*pools))["pooling cascade"] == 0


@pytest.mark.parametrize(
    ("scales", "attributes", "doubled"),
    [
        ((1, 1, 2, 2), {}, 1),
        ((1, 1, 2, 2), {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, 1),
        ((1, 1, 2, 2), {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "round_prefer_floor"}, 1),
        ((1, 1, 2, 2), {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil"}, 0),
        ((1, 1, 2, 2), {"coordinate_transformation_mode": "align_corners"}, 0),
        ((1, 1, 2, 2), {"mode": "linear"}, 0),
        ((1, 1, 3, 2), {}, 0),
        ((1, 1, 4, 4), {}, 0),
    ],
)
def test_doubling_is_done_by_copies(scales, attributes, doubled):
    net = Net()
    model = net.model(net.op("Resize", "x", "", net.constant(np.float32(scales)), **{"mode": "nearest", **attributes}))
    feed = pictures(1)[0]
    wanted = run(model, feed)[0]
    assert double_by_copies(model) == doubled
    onnx.checker.check_model(model, full_check=True)
    assert np.array_equal(run(model, feed)[0], wanted)


def test_other_runtimes_get_no_channels_last_rewriting():
    counts = rewrite_for_integers(prepare(residual_net()), channels_last=False)
    assert set(counts.values()) == {0}
    assert rewrite_for_integers(prepare(residual_net()))["gathered strides"] == 1
