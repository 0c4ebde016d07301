"""QDQ graphs: what is coded, what shares a scale, and that the runtime finds its integer kernels in them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.phase2_optimization.quantization.calibration import collect_ranges
from solutions.phase2_optimization.quantization.fusion_check import check_fusion
from solutions.phase2_optimization.quantization.preparation import prepare
from solutions.phase2_optimization.quantization.qdq_graph import SCHEMES, insert_qdq
from solutions.phase2_optimization.quantization.qdq_plan import plan_qdq, silu_inputs
from solutions.phase2_optimization.quantization.static import tail_nodes
from tests.solutions.quant_builders import Net, detector_net, pictures, residual_net, run, sqnr_db


def quantized(model: onnx.ModelProto, target: str = "onnxruntime", feeds=None, **planning) -> onnx.ModelProto:
    prepared = prepare(model)
    plan = plan_qdq(prepared, **planning)
    ranges = collect_ranges(prepared, plan.tensors, feeds or pictures())
    result = insert_qdq(prepared, plan, ranges, SCHEMES[target])
    onnx.checker.check_model(result, full_check=True)
    return result


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def layers_in_integers(model: onnx.ModelProto, tmp_path) -> tuple[int, int]:
    onnx.save(model, tmp_path / "q.onnx")
    found = check_fusion(tmp_path / "q.onnx")
    return found.integer, found.float


@pytest.mark.parametrize(
    ("build", "layers"), [pytest.param(residual_net, 4, id="residual"), pytest.param(detector_net, 7, id="detector")]
)
def test_every_layer_becomes_an_integer_kernel_and_the_result_stays_close(build, layers, tmp_path):
    model = build()
    result = quantized(model, keep_float=tail_nodes(model))
    assert layers_in_integers(result, tmp_path) == (layers, 0)
    for feed in pictures(3, seed=9):
        assert sqnr_db(run(model, feed)[0], run(result, feed)[0]) > 20


@pytest.mark.parametrize("target", ["openvino", "tensorrt"])
def test_symmetric_targets_get_int8_around_zero_and_float_biases(target):
    model = residual_net()
    result = quantized(model, target)
    stored = constants(result)
    zeros = [stored[node.input[2]] for node in result.graph.node if node.op_type.endswith("QuantizeLinear")]
    zeros += [stored[node.input[2]] for node in result.graph.node if node.op_type == "DequantizeLinear"]
    assert zeros
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert not [name for name, array in stored.items() if array.dtype == np.int32]
    assert sqnr_db(run(model, pictures(1)[0])[0], run(result, pictures(1)[0])[0]) > 20


def test_tensorrt_gets_codes_only_where_layers_read():
    result = quantized(residual_net(), "tensorrt")
    readers = {name: node.op_type for node in result.graph.node for name in node.input}
    decoded = [node.output[0] for node in result.graph.node if node.op_type == "DequantizeLinear"]
    assert {readers[name] for name in decoded} == {"Conv", "Gemm"}


def test_carriers_share_the_scale_of_what_they_carry():
    model = prepare(detector_net())
    plan = plan_qdq(model)
    resize = next(node for node in model.graph.node if node.op_type == "Resize")
    concat = next(node for node in model.graph.node if node.op_type == "Concat")
    roots = {plan.shares[name] for name in (resize.input[0], resize.output[0], *concat.input, concat.output[0])}
    assert len(roots) == 1
    apart = plan_qdq(model, share_concat=False)
    assert apart.shares[concat.output[0]] not in {apart.shares[name] for name in concat.input}


def test_a_carrier_in_front_of_the_first_layer_moves_codes():
    net = Net()
    turned = net.op("Transpose", "x", perm=[0, 1, 3, 2])
    model = net.model(net.conv(turned, 3, 8))
    plan = plan_qdq(prepare(model))
    assert plan.shares["x"] == plan.shares[turned]


def test_kept_nodes_and_the_caller_see_floats(tmp_path):
    model = residual_net()
    kept = [node.name for node in model.graph.node if node.op_type in ("Gemm", "Conv")][1]
    result = quantized(model, keep_float=[kept])
    assert layers_in_integers(result, tmp_path) == (3, 1)
    assert [value.name for value in result.graph.output] == [value.name for value in model.graph.output]
    assert run(result, pictures(1)[0])[0].dtype == np.float32


def test_a_relu_is_replaced_by_saturation_only_where_codes_stop_at_zero(tmp_path):
    net = Net()
    positive = net.op("Relu", net.conv("x", 3, 8))
    both = net.op("Concat", positive, net.conv("x", 3, 8), axis=1)  # one scale for both, so codes below 0 exist
    model = net.model(net.conv(both, 16, 4))
    result = quantized(model)
    assert "Relu" in {node.op_type for node in result.graph.node}
    assert layers_in_integers(result, tmp_path) == (3, 0)
    assert sqnr_db(run(model, pictures(1)[0])[0], run(result, pictures(1)[0])[0]) > 25
    assert "Relu" not in {node.op_type for node in quantized(model, share_concat=False).graph.node}


def test_relu6_keeps_its_ceiling():
    net = Net()
    capped = net.op("Clip", net.conv("x", 3, 8), net.constant(np.float32(0)), net.constant(np.float32(0.5)))
    model = net.model(net.conv(capped, 8, 4))
    result = quantized(model)
    assert "Clip" not in {node.op_type for node in result.graph.node}
    scale = constants(result)[f"{capped}_scale"]
    assert 255 * scale == pytest.approx(0.5, rel=1e-3)


def test_matmul_weights_are_coded_per_column(tmp_path):
    net = Net()
    weight = net.random.normal(0, 1, (16, 5)).astype(np.float32) * np.float32([1e-3, 1e-2, 0.1, 1, 10])
    model = net.model(net.op("MatMul", net.conv("x", 3, 4), net.constant(weight)))
    result = quantized(model)
    scales = [array for name, array in constants(result).items() if name.endswith("_scale") and array.shape == (5,)]
    assert len(scales) == 1
    assert np.allclose(scales[0], np.abs(weight).max(0) / 127)
    assert layers_in_integers(result, tmp_path) == (2, 0)


def test_a_large_bias_over_tiny_weights_fits_into_int32():
    net = Net()
    weight, bias = np.full((2, 3, 1, 1), 1e-9, np.float32), np.float32([5, -7])
    model = net.model(net.op("Conv", "x", net.constant(weight), net.constant(bias), kernel_shape=[1, 1]))
    got = run(quantized(model), pictures(1)[0])[0]
    assert np.allclose(got[0, :, 0, 0], bias, rtol=0.01)


def test_unknown_ranges_are_named():
    model = prepare(residual_net())
    with pytest.raises(ConfigError, match="has no calibrated range"):
        insert_qdq(model, plan_qdq(model), {}, SCHEMES["onnxruntime"])


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_preparing_keeps_the_function_and_folds_every_norm(opset):
    net = Net()
    x = net.op("Relu", net.norm(net.conv("x", 3, 6, bias=False), 6))
    weight = net.constant(net.random.normal(0, 0.3, (6, 2, 3, 3)).astype(np.float32))
    x = net.norm(net.op("ConvTranspose", x, weight, group=2, kernel_shape=[3, 3]), 4)
    model = net.model(x, opset=opset)
    onnx.helper.set_model_props(model, {"labels": "a,b"})
    ready = prepare(model)
    assert "BatchNormalization" not in {node.op_type for node in ready.graph.node}
    assert ready.opset_import[0].version >= 13
    assert ready.metadata_props[0].value == "a,b"
    feed = pictures(1)[0]
    assert np.allclose(run(model, feed)[0], run(ready, feed)[0], atol=1e-4)


def test_a_norm_stays_where_the_convolution_has_another_reader():
    net = Net()
    raw = net.conv("x", 3, 6)
    model = net.model(net.norm(raw, 6), raw)
    kinds = [node.op_type for node in prepare(model).graph.node]
    assert sorted(kinds) == ["BatchNormalization", "Conv"]


def test_a_quantized_model_is_refused(tmp_path):
    onnx.save(quantized(residual_net()), tmp_path / "q.onnx")
    with pytest.raises(ModelLoadError, match="quantized already"):
        prepare(tmp_path / "q.onnx")


def test_tensors_in_front_of_silu_are_found():
    net = Net()
    alone, shared = net.conv("x", 3, 4), net.conv("x", 3, 4)
    model = net.model(net.op("Add", net.op("Add", net.silu(alone), net.silu(shared)), shared))
    assert silu_inputs(model) == {alone}


def test_integer_tensors_are_never_coded():
    net = Net()
    x = net.conv("x", 3, 4)
    sizes = net.op("Concat", net.op("Shape", x), net.constant(np.array([1], np.int64)), axis=0)
    model = net.model(net.op("Reshape", x, sizes))
    coded = {node.input[0] for node in quantized(model).graph.node if node.op_type == "QuantizeLinear"}
    assert sizes not in coded
    assert all(value.type.tensor_type.elem_type == TensorProto.FLOAT for value in model.graph.output)


def test_openvino_gets_no_code_between_a_layer_and_its_silu():
    model = detector_net()
    result = quantized(model, "openvino", fused_activations=True)
    makers = {name: node.op_type for node in result.graph.node for name in node.output}
    silu = [node for node in result.graph.node if node.op_type == "Mul"]
    assert len(silu) == 5
    assert all({makers[name] for name in node.input} == {"Conv", "Sigmoid"} for node in silu)
    for feed in pictures(3, seed=9):
        assert sqnr_db(run(model, feed)[0], run(result, feed)[0]) > 20


def test_squares_of_pixels_are_moved_as_codes():
    net = Net()
    squares = net.op("SpaceToDepth", "x", blocksize=2)
    model = net.model(net.op("Relu", net.conv(squares, 12, 8)))
    result = quantized(model)
    makers = {name: node for node in result.graph.node for name in node.output}
    mover = next(node for node in result.graph.node if node.op_type == "SpaceToDepth")
    assert makers[mover.input[0]].op_type == "QuantizeLinear"
    assert sqnr_db(run(model, pictures(1)[0])[0], run(result, pictures(1)[0])[0]) > 30
