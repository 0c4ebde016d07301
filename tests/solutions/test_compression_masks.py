"""Masks of single weights: the right ones go, and they stay gone; 2:4 packs and unpacks without loss."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from solutions.core.errors import ConfigError
from solutions.core.hardware.model_cost import model_cost
from solutions.core.zoo.registry import embedded
from solutions.core.zoo.training.loop import Schedule, train
from solutions.phase2_optimization.compression.magnitude import (
    attach_masks,
    bake_masks,
    graph_weights,
    magnitude_masks,
    mask_graph,
    sparsity_of,
    weights_of,
)
from solutions.phase2_optimization.compression.two_four import (
    Packed,
    is_two_four,
    pack,
    two_four_mask,
    two_four_masks,
    unpack,
)


@pytest.mark.parametrize(
    ("sparsity", "scope", "want"),
    [
        pytest.param(0.0, "global", {"a": [1, 1, 1, 1], "b": [1, 1]}, id="nothing"),
        pytest.param(0.5, "global", {"a": [0, 0, 0, 1], "b": [1, 1]}, id="small-layer-gives-all"),
        pytest.param(0.5, "layer", {"a": [0, 0, 1, 1], "b": [0, 1]}, id="each-layer-gives-half"),
        pytest.param(0.34, "layer", {"a": [0, 1, 1, 1], "b": [1, 1]}, id="rounded-down"),
        pytest.param(0.5, "lamp", {"a": [0, 0, 0, 1], "b": [1, 1]}, id="lamp-small-shares-of-a-layer-go"),
        pytest.param(0.7, "lamp", {"a": [0, 0, 0, 1], "b": [0, 1]}, id="lamp-the-largest-of-each-layer-stays"),
        pytest.param(0.99, "global", {"a": [0, 0, 0, 1], "b": [0, 0]}, id="nearly-all"),
    ],
)
def test_magnitude_masks(sparsity, scope, want):
    weights = {"a": np.array([0.1, -0.2, 0.3, -9.0]), "b": np.array([[5.0], [-6.0]])}
    masks = magnitude_masks(weights, sparsity, scope=scope)
    assert {name: mask.ravel().astype(int).tolist() for name, mask in masks.items()} == want
    assert masks["b"].shape == (2, 1)


@pytest.mark.parametrize("scope", ["global", "layer", "lamp"])
@pytest.mark.parametrize("tenths", range(10))
def test_exactly_the_share_goes_even_among_equals(tenths, scope):
    masks = magnitude_masks({"w": np.ones((2, 5)), "v": np.ones(10)}, tenths / 10, scope=scope)
    assert sum(int((~mask).sum()) for mask in masks.values()) == 2 * tenths


def test_lamp_does_not_see_the_scale_of_a_layer():
    rng = np.random.default_rng(0)
    pixels, later = rng.normal(size=(8, 3)), rng.normal(size=(8, 8))
    same = magnitude_masks({"a": pixels, "b": later}, 0.6, scope="lamp")
    tiny = magnitude_masks({"a": pixels / 255, "b": later}, 0.6, scope="lamp")
    for name in same:
        np.testing.assert_array_equal(same[name], tiny[name])
    assert not magnitude_masks({"a": pixels / 255, "b": later}, 0.6)["a"].any(), "global blinds the network"


@pytest.mark.parametrize("values", [{"sparsity": 1.0}, {"sparsity": -0.1}, {"sparsity": 0.5, "scope": "channel"}])
def test_settings_out_of_range(values):
    with pytest.raises(ConfigError, match="got"):
        magnitude_masks({"w": np.ones(4)}, **values)


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))


def test_masks_hold_through_the_zoos_training_and_its_checkpoints(tmp_path):
    net = small_net()
    masks = magnitude_masks(weights_of(net), 0.75)
    before = weights_of(net)
    x, y = torch.randn(8, 3, 8, 8), torch.arange(8) % 4

    def loss(model, batch):
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    for steps in (2, 4):  # the second run goes on from the first one's checkpoint
        schedule = Schedule(steps, peak_rate=0.1, warmup=1, weight_decay=0.5, average=0.5, checkpoint_every=2)
        fresh = attach_masks(small_net(), masks)
        trained = train(fresh, lambda step: (x, y), loss, schedule, tmp_path / "c", progress=lambda step, loss: None)
    trained = bake_masks(trained)
    after = weights_of(trained)
    assert set(dict(trained.named_parameters())) == set(dict(small_net().named_parameters())), "plain weights again"
    for name, mask in masks.items():
        assert not after[name][~mask].any()
        assert (after[name][mask] != before[name][mask]).all(), "the others were trained"
    found = sparsity_of(after)
    assert found.total == pytest.approx(0.75, abs=1e-3)
    assert found.as_dict()["layers"].keys() == {"0.weight", "4.weight"}


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        pytest.param({"9.weight": np.ones(3, bool)}, "no convolution or linear layer", id="unknown"),
        pytest.param({"1.weight": np.ones(8, bool)}, "no convolution or linear layer", id="a-norm"),
        pytest.param({"4.weight": np.ones((4, 2), bool)}, r"is \(4, 2\), the weight \(4, 288\)", id="shape"),
    ],
)
def test_masks_that_fit_nothing(masks, message):
    with pytest.raises(ConfigError, match=message):
        attach_masks(small_net(), masks)


def test_a_second_mask_is_refused():
    net = attach_masks(small_net(), magnitude_masks(weights_of(small_net()), 0.5))
    with pytest.raises(ConfigError, match="bake_masks first"):
        attach_masks(net, magnitude_masks(weights_of(net), 0.9))


def small_graph():
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(8, 4, 3, 3)), "bias": np.ones(8), "m": rng.normal(size=(8, 2))}
    nodes = [
        helper.make_node("Conv", ["x", "w", "bias"], ["c"], name="c"),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_graphs_are_masked_in_a_copy():
    graph = small_graph()
    masks = magnitude_masks(graph_weights(graph), 0.5, scope="layer")
    assert set(masks) == {"w", "m"}, "biases stay"
    masked = mask_graph(graph, masks)
    onnx.checker.check_model(masked)
    assert sparsity_of(graph_weights(masked)).total == 0.5
    assert sparsity_of(graph_weights(graph)).total == 0
    kept = graph_weights(graph)["w"][masks["w"]]
    np.testing.assert_array_equal(graph_weights(masked)["w"][masks["w"]], kept)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        pytest.param({"v": np.ones(3, bool)}, "no initializer v", id="unknown"),
        pytest.param({"m": np.ones((2, 8), bool)}, r"is \(2, 8\)", id="shape"),
    ],
)
def test_graph_masks_that_fit_nothing(masks, message):
    with pytest.raises(ConfigError, match=message):
        mask_graph(small_graph(), masks)


def test_zeros_save_no_operation_and_no_byte_of_a_dense_graph():
    """The honest result, without a clock: a dense kernel has the same work to do."""
    graph = onnx.load(str(embedded("street-classifier").onnx))
    shapes = {"crops": (1, 3, 48, 48)}
    for rule in (lambda weights: magnitude_masks(weights, 0.95), two_four_masks):
        masked = mask_graph(graph, rule(graph_weights(graph)))
        assert sparsity_of(graph_weights(masked)).total > 0.45
        assert model_cost(masked, shapes) == model_cost(graph, shapes)
        assert masked.ByteSize() == graph.ByteSize()


# -- 2:4 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "want"),
    [
        pytest.param([1, -3, 2, 0.5], [0, 1, 1, 0], id="two-largest-by-size"),
        pytest.param([1, 1, 1, 1], [1, 1, 0, 0], id="first-among-equals"),
        pytest.param([0, 0, 0, 7], [1, 0, 0, 1], id="zeros"),
        pytest.param([1, 2, 3, 4, 4, 3, 2, 1], [0, 0, 1, 1, 1, 1, 0, 0], id="each-four-by-itself"),
    ],
)
def test_two_four_mask(row, want):
    row = np.array([row], np.float32)
    mask = two_four_mask(row)
    assert mask.astype(int).tolist() == [want]
    assert is_two_four(row * mask)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        pytest.param((5, 8), 1, id="linear-odd-number-of-groups-of-groups"),
        pytest.param((1, 4), 1, id="one-group"),
        pytest.param((8, 12, 3, 3), 1, id="convolution-along-input-channels"),
        pytest.param((12, 5), 0, id="matmul-along-its-rows"),
    ],
)
def test_packing_is_exact_and_counts_its_bytes(shape, axis, dtype):
    rng = np.random.default_rng(len(shape))
    dense = rng.integers(-3, 4, shape).astype(dtype)  # many zeros and equals
    weight = dense * two_four_mask(dense, axis=axis)
    packed = pack(weight, axis=axis)
    back = unpack(packed)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, weight)
    groups = dense.size // 4
    assert packed.nbytes == groups * 2 * np.dtype(dtype).itemsize + (groups + 1) // 2
    if groups % 2 == 0:
        assert packed.nbytes / dense.nbytes == {4: 17 / 32, 2: 9 / 16, 1: 5 / 8}[np.dtype(dtype).itemsize]


def test_the_pattern_runs_along_input_channels_at_each_kernel_position():
    weight = np.random.default_rng(0).normal(size=(2, 8, 3, 3))
    mask = two_four_mask(weight)
    assert (mask.reshape(2, 2, 4, 9).sum(2) == 2).all()
    assert not is_two_four(weight)


def test_layers_that_cannot_be_cut_into_fours_stay_dense():
    weights = {"stem": np.ones((8, 3, 3, 3)), "depthwise": np.ones((8, 1, 3, 3)), "point": np.ones((4, 8, 1, 1))}
    assert set(two_four_masks(weights)) == {"point"}
    with pytest.raises(ConfigError, match="cut into fours"):
        two_four_mask(weights["stem"])


def test_a_dense_weight_is_not_packed():
    with pytest.raises(ConfigError, match="not 2:4"):
        pack(np.ones((2, 4)))


def test_packed_parts_must_fit_their_shape():
    with pytest.raises(ConfigError, match="has 2 groups"):
        Packed(np.zeros((3, 2)), np.zeros(1, np.uint8), (2, 4), 1)
