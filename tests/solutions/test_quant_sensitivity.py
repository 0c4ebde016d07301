"""Sensitivity: the layer that was made hard to quantize comes out first, by either question."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.quantization.dynamic import DynamicConfig
from solutions.phase2_optimization.quantization.half import HalfConfig
from solutions.phase2_optimization.quantization.running import predictor, sqnr_db
from solutions.phase2_optimization.quantization.sensitivity import rank_layers
from solutions.phase2_optimization.quantization.static import StaticConfig, quantize_static
from solutions.phase2_optimization.quantization.variants import DynamicVariants, HalfVariants, StaticVariants


@pytest.fixture
def source(tmp_path):
    """Four convolutions with Relu; huge weights of conv2 that read zeros leave its other weights hardly any codes."""
    random = np.random.default_rng(0)
    nodes, constants, last = [], {}, "x"
    for number in range(4):
        weight = (random.normal(size=(8, 8, 3, 3)) / 8).astype(np.float32)
        if number == 1:
            weight[0] = 0
        if number == 2:
            weight[:, 0] = 30
        constants[f"w{number}"] = weight
        nodes.append(helper.make_node("Conv", [last, f"w{number}"], [f"c{number}"], f"conv{number}", pads=[1] * 4))
        last = f"r{number}" if number < 3 else "y"
        nodes.append(helper.make_node("Relu", [f"c{number}"], [last], f"relu{number}"))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8, 12, 12])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def _feeds(count: int = 4) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    return [{"x": random.normal(size=(1, 8, 12, 12)).astype(np.float32)} for _ in range(count)]


CONFIG = StaticConfig(observer="minmax", reduce_range=False, channel_db=0)


def test_without_layers_in_float_it_is_quantize_static(source, tmp_path):
    report = quantize_static(source, tmp_path / "int8.onnx", _feeds(), CONFIG)
    assert report.path.exists()
    variants = StaticVariants(source, _feeds(), CONFIG)
    assert variants.build().SerializeToString() == onnx.load(report.path).SerializeToString()


def test_with_all_layers_in_float_the_answers_are_exact(source):
    variants = StaticVariants(source, _feeds(), CONFIG)
    kept = variants.build(variants.layers)
    assert not [node for node in kept.graph.node if node.op_type == "DequantizeLinear" and "w" in node.output[0]]
    exact, close = predictor(onnx.load(source)), predictor(kept)
    assert sqnr_db([exact(_feeds()[0])], [close(_feeds()[0])]) > 100


@pytest.mark.parametrize("mode", ["alone", "spared"])
def test_the_hard_layer_comes_first(source, mode):
    variants = StaticVariants(source, _feeds(), CONFIG)
    ranking = rank_layers(onnx.load(source), variants, _feeds(), mode=mode)
    assert sorted(layer.name for layer in ranking) == ["conv0", "conv1", "conv2", "conv3"]
    assert ranking[0].name == "conv2"
    values = [layer.sqnr_db for layer in ranking]
    assert values == sorted(values, reverse=mode == "spared")
    assert f"{ranking[0].sqnr_db:.1f} dB" in ranking[0].reason


def test_half_and_dynamic_have_layers_too(source):
    half = HalfVariants(source, _feeds(), HalfConfig())
    assert half.layers == ("conv0", "conv1", "conv2", "conv3")
    kept = half.build(["conv1"])
    kinds = {tensor.name: tensor.data_type for tensor in kept.graph.initializer}
    assert kinds["w1"] == TensorProto.FLOAT
    assert sorted(kinds.values()) == [TensorProto.FLOAT] + [TensorProto.FLOAT16] * 3
    assert DynamicVariants(source, DynamicConfig()).layers == ()


def test_sqnr_of_the_worst_output():
    want = [[np.float32([1, 1]), np.float32([10]), np.int64([3])]]
    assert sqnr_db(want, want) == 200
    assert sqnr_db(want, [[np.float32([1, 1]), np.float32([11]), np.int64([9])]]) == pytest.approx(20)
    assert sqnr_db(want, [[np.float32([np.nan, 1]), np.float32([10]), np.int64([3])]]) == -200
    assert sqnr_db([[np.float32([0])]], [[np.float32([1])]]) == -200


def test_errors(source):
    variants = StaticVariants(source, _feeds(), CONFIG)
    with pytest.raises(ConfigError, match="at least one sample"):
        rank_layers(onnx.load(source), variants, [])
    with pytest.raises(ConfigError, match="alone, spared, got both"):
        rank_layers(onnx.load(source), variants, _feeds(), mode="both")
    with pytest.raises(ConfigError, match="does not run on a sample"):
        predictor(onnx.load(source))({"x": np.zeros((1, 3, 12, 12), np.float32)})
