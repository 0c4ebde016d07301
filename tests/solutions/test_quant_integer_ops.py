"""Integer-only operators: equal to ONNX Runtime's QLinearConv and QLinearMatMul bit for bit."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from solutions.core.errors import ConfigError
from solutions.core.hardware.profile import detect
from solutions.phase2_optimization.quantization.affine import (
    QuantParams,
    bias_params,
    choose_params,
    dequantize,
    quantize,
    weight_params,
)
from solutions.phase2_optimization.quantization.integer_ops import qlinear_conv, qlinear_matmul

_PROFILE = detect()
# Without VNNI the kernel for unsigned x signed adds pairs of products in 16 bits, which saturate: 7-bit weights there.
_LARGEST = 63 if _PROFILE.machine in ("x86_64", "AMD64") and not _PROFILE.has("VNNI") else 127
# ONNX Runtime has kernels for these types of (x, weight); the output has x's type.
TYPES = [("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")]


def _onnx_runtime(op, x, x_params, w, w_params, y_params, bias=None, **attributes):
    """The same operator, alone in a graph."""
    stored = {"w": w, "b": bias}
    for name, p in (("x", x_params), ("w", w_params), ("y", y_params)):
        stored |= {f"{name}s": p.scale, f"{name}z": p.zero_point.astype(p.dtype)}
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"] + (["b"] if bias is not None else [])
    kinds = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}
    graph = helper.make_graph(
        [helper.make_node(op, names, ["y"], **attributes)],
        op,
        [helper.make_tensor_value_info("x", kinds[x_params.dtype], x.shape)],
        [helper.make_tensor_value_info("y", kinds[y_params.dtype], None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items() if array is not None],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]


def _codes(rng, dtype, shape, largest=127):
    if dtype == "uint8":
        return rng.integers(0, 256 if largest == 127 else 128, shape, dtype=np.uint8)
    return rng.integers(-largest - 1, largest + 1, shape, dtype=np.int8)


def _params(rng, dtype, channels=None, axis=None, symmetric=False):
    info = np.iinfo(dtype)
    scale = np.exp(rng.uniform(-7, 1, channels)).astype(np.float32)
    if symmetric:
        return QuantParams(scale, np.zeros(scale.shape, np.int32), dtype, axis)
    return QuantParams(scale, rng.integers(info.min, info.max + 1, channels), dtype, axis)


def _output_params(rng, x_params, w_params, terms):
    """An output scale at which most codes neither saturate nor vanish."""
    spread = float(np.max(x_params.scale) * np.max(w_params.scale)) * 74 * 74 * np.sqrt(terms)
    scale = spread / 60 * np.exp(rng.uniform(-1.5, 0.7))
    info = np.iinfo(x_params.dtype)
    return QuantParams(scale, int(rng.integers(info.min, info.max + 1)), x_params.dtype)


@st.composite
def _convolutions(draw):
    axes = draw(st.integers(1, 3))
    numbers = st.integers
    each = {"min_size": axes, "max_size": axes}
    kernel = draw(st.lists(numbers(1, 3), **each))
    dilations = draw(st.lists(numbers(1, 2), **each))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    depthwise = draw(st.booleans())
    return {
        "rng": np.random.default_rng(draw(numbers(0, 2**32 - 1))),
        "types": draw(st.sampled_from(TYPES)),
        "batch": draw(numbers(1, 2)),
        "inward": 1 if depthwise else draw(numbers(1, 9)),
        "outward": 1 if depthwise else draw(numbers(1, 5)),
        "groups": groups * (4 if depthwise else 1),
        "size": [(k - 1) * d + 1 + draw(numbers(0, 6)) for k, d in zip(kernel, dilations, strict=True)],
        "kernel": kernel,
        "dilations": dilations,
        "strides": draw(st.lists(numbers(1, 3), **each)),
        "pads": draw(st.lists(numbers(0, 2), min_size=2 * axes, max_size=2 * axes)),
        "per_channel": draw(st.booleans()),
        "with_bias": draw(st.booleans()),
    }


def _conv_case(case):
    rng, (x_type, w_type), groups = case["rng"], case["types"], case["groups"]
    channels = case["outward"] * groups
    x = _codes(rng, x_type, (case["batch"], case["inward"] * groups, *case["size"]))
    weight = _codes(rng, w_type, (channels, case["inward"], *case["kernel"]), _LARGEST)
    x_params = _params(rng, x_type)
    per_channel = case["per_channel"]
    # Zero points per channel must all be equal for ONNX Runtime; those of signed weights are 0 in every real model.
    w_params = _params(
        rng, w_type, channels if per_channel else None, 0 if per_channel else None, symmetric=per_channel
    )
    y_params = _output_params(rng, x_params, w_params, case["inward"] * np.prod(case["kernel"]))
    bias = rng.integers(-(2**14), 2**14, channels, dtype=np.int32) if case["with_bias"] else None
    return (x, x_params, weight, w_params, y_params, bias), {
        name: case[name] for name in ("strides", "pads", "dilations")
    } | {"groups": groups}


def _on_onnx_runtime(arguments, settings_):
    renamed = {("group" if name == "groups" else name): value for name, value in settings_.items()}
    return _onnx_runtime("QLinearConv", *arguments, kernel_shape=arguments[2].shape[2:], **renamed)


@given(case=_convolutions())
@settings(max_examples=150, deadline=None)
def test_convolution_equals_onnx_runtime(case):
    arguments, settings_ = _conv_case(case)
    ours = qlinear_conv(*arguments, **settings_)
    theirs = _on_onnx_runtime(arguments, settings_)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@given(case=_convolutions())
@settings(max_examples=100, deadline=None)
def test_fixed_point_is_at_most_one_code_away(case):
    arguments, settings_ = _conv_case(case)
    by_float = qlinear_conv(*arguments, **settings_).astype(int)
    by_fixed = qlinear_conv(*arguments, **settings_, requantization="fixed").astype(int)
    assert np.abs(by_float - by_fixed).max(initial=0) <= 1


def test_fixed_point_differs_by_one_code_at_a_tie():
    one, half = QuantParams(1.0, 0, "int8"), QuantParams(2.0, 0, "int8")
    a, b = np.int8([[1], [3], [5]]), np.int8([[1]])
    assert qlinear_matmul(a, one, b, one, half).ravel().tolist() == [0, 2, 2]
    assert qlinear_matmul(a, one, b, one, half, requantization="fixed").ravel().tolist() == [1, 2, 3]


@given(
    seed=st.integers(0, 2**32 - 1),
    types=st.sampled_from(TYPES),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 20)),
    leading=st.sampled_from([(), (3,), (2, 2)]),
    per_column=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_matrix_product_equals_onnx_runtime(seed, types, sizes, leading, per_column):
    rng, (rows, depth, columns) = np.random.default_rng(seed), sizes
    a = _codes(rng, types[0], (*leading, rows, depth))
    b = _codes(rng, types[1], (depth, columns), _LARGEST)
    a_params = _params(rng, types[0])
    b_params = _params(rng, types[1], columns if per_column else None, 1 if per_column else None, symmetric=per_column)
    y_params = _output_params(rng, a_params, b_params, depth)
    ours = qlinear_matmul(a, a_params, b, b_params, y_params)
    theirs = _onnx_runtime("QLinearMatMul", a, a_params, b, b_params, y_params)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def test_a_layer_of_a_real_size_equals_onnx_runtime():
    rng = np.random.default_rng(7)
    real = rng.normal(size=(1, 64, 28, 28)).astype(np.float32)
    weight = rng.normal(scale=0.05, size=(128, 64, 3, 3)).astype(np.float32)
    x_params = choose_params(real.min(), real.max())
    w_params = weight_params(weight, reduce_range=_LARGEST == 63)
    y_params = choose_params(-5.0, 5.0)
    bias = quantize(rng.normal(size=128).astype(np.float32), bias_params(x_params, w_params))
    arguments = (quantize(real, x_params), x_params, quantize(weight, w_params), w_params, y_params, bias)
    settings_ = {"strides": [2, 2], "pads": [1, 1, 1, 1], "dilations": [1, 1], "groups": 1}
    np.testing.assert_array_equal(qlinear_conv(*arguments, **settings_), _on_onnx_runtime(arguments, settings_))


def test_the_integer_result_is_the_float_convolution_within_the_steps():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(5, 16)).astype(np.float32), rng.normal(size=(16, 4)).astype(np.float32)
    a_params, b_params = choose_params(a.min(), a.max()), weight_params(b, axis=1)
    qa, qb = quantize(a, a_params), quantize(b, b_params)
    exact = dequantize(qa, a_params).astype(np.float64) @ dequantize(qb, b_params)
    y_params = choose_params(exact.min(), exact.max())
    got = dequantize(qlinear_matmul(qa, a_params, qb, b_params, y_params), y_params)
    assert np.abs(got - exact).max() <= float(y_params.scale) * 1.001  # half a step, and the cut of the zero point


X, W = np.zeros((1, 4, 5, 5), np.uint8), np.zeros((2, 4, 3, 3), np.int8)
XP, WP = QuantParams(1.0, 0, "uint8"), QuantParams(1.0, 0, "int8")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        pytest.param({"groups": 3}, "groups 3", id="groups"),
        pytest.param({"strides": [1]}, "strides", id="too-few-strides"),
        pytest.param({"strides": [0, 1]}, "strides", id="stride-zero"),
        pytest.param({"pads": [0, 0, 0, -1]}, "pads", id="negative-pad"),
        pytest.param({"dilations": [3, 3]}, "does not fit", id="kernel-too-large"),
        pytest.param({"requantization": "exact"}, "float or fixed", id="way"),
        pytest.param({"x": X.astype(np.int8)}, "announced", id="type"),
        pytest.param({"x": X[0, 0]}, "3 to 5 axes", id="rank"),
        pytest.param({"bias": np.zeros(2, np.int64)}, "bias is int32", id="bias-type"),
        pytest.param({"weight_params": QuantParams([1.0] * 4, [0] * 4, "int8", 1)}, "axis 0", id="wrong-axis"),
        pytest.param({"x_params": QuantParams([1.0] * 4, [0] * 4, "uint8", 1)}, "one scale each", id="x-per-channel"),
    ],
)
def test_refusals(change, match):
    good = {"x": X, "x_params": XP, "weight": W, "weight_params": WP, "y_params": XP}
    assert qlinear_conv(**good).shape == (1, 2, 3, 3)
    with pytest.raises(ConfigError, match=match):
        qlinear_conv(**good | change)


def test_matrices_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="cannot be multiplied"):
        qlinear_matmul(np.zeros((2, 3), np.int8), WP, np.zeros((2, 3), np.int8), WP, WP)
    by_row = QuantParams([1.0] * 3, [0] * 3, "int8", 0)
    with pytest.raises(ConfigError, match="per column"):
        qlinear_matmul(np.zeros((2, 3), np.int8), WP, np.zeros((3, 3), np.int8), by_row, WP)
