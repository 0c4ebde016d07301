"""Affine quantization against ONNX Runtime's own operators, and the arithmetic that everything later stands on."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.quantization.affine import (
    QuantParams,
    bias_params,
    choose_params,
    code_range,
    dequantize,
    pack_int4,
    quantize,
    unpack_int4,
    weight_params,
)
from solutions.phase2_optimization.quantization.fixed_point import FixedPoint

DTYPES = ("uint8", "int8", "uint4", "int4", "uint16", "int16")
REALS = st.floats(-1e6, 1e6, width=32)


@cache
def _operators(dtype: str) -> onnxruntime.InferenceSession:
    """QuantizeLinear and DequantizeLinear with scale and zero point as inputs."""
    code = getattr(TensorProto, dtype.upper())
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("Cast", ["q"], ["c"], to=6)]
    nodes.append(helper.make_node("DequantizeLinear", ["q", "s", "z"], ["r"]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])]
    inputs += [helper.make_tensor_value_info("s", TensorProto.FLOAT, []), helper.make_tensor_value_info("z", code, [])]
    outputs = [helper.make_tensor_value_info("c", TensorProto.INT32, [None])]
    outputs.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, [None]))
    graph = helper.make_graph(nodes, "affine", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


@given(
    x=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40),
    ends=st.tuples(REALS, REALS),
    dtype=st.sampled_from(["uint8", "int8", "uint16", "int16"]),
    symmetric=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_equals_onnx_runtime_bit_for_bit(x, ends, dtype, symmetric):
    p = choose_params(min(ends), max(ends), dtype=dtype, symmetric=symmetric)
    values = np.clip(np.float32(x), -1e30, 1e30)  # the division may not overflow: runtimes differ on infinities
    codes, reals = _operators(dtype).run(None, {"x": values, "s": p.scale, "z": p.zero_point.astype(dtype)})
    ours = quantize(values, p)
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours, codes)
    np.testing.assert_array_equal(dequantize(ours, p), reals)


@given(ends=st.tuples(REALS, REALS), dtype=st.sampled_from(DTYPES), symmetric=st.booleans())
@settings(max_examples=200, deadline=None)
def test_zero_is_exact_and_everything_in_range_is_within_half_a_step(ends, dtype, symmetric):
    low, high = min(ends), max(ends)
    p = choose_params(low, high, dtype=dtype, symmetric=symmetric)
    assert dequantize(quantize(np.zeros(3, np.float32), p), p).tolist() == [0, 0, 0]
    inside = np.linspace(min(low, 0), max(high, 0), 101, dtype=np.float32)
    # Rounding the zero point may cut up to half a step off one end, on top of the half step that rounding costs.
    error = np.abs(dequantize(quantize(inside, p), p).astype(np.float64) - inside)
    assert error.max() <= p.scale * 1.001 + 1e-30
    inner = (np.abs(inside - low) > p.scale) & (np.abs(inside - high) > p.scale)
    assert not inner.any() or error[inner].max() <= p.scale * 0.5 * 1.01 + 1e-6 * np.abs(inside).max()


@pytest.mark.parametrize(
    ("low", "high", "dtype", "symmetric", "scale", "zero_point"),
    [
        pytest.param(0.0, 2.55, "uint8", False, 0.01, 0, id="relu"),
        pytest.param(1.0, 2.55, "uint8", False, 0.01, 0, id="positive-only-is-widened-to-zero"),
        pytest.param(-2.55, -1.0, "uint8", False, 0.01, 255, id="negative-only-is-widened-to-zero"),
        pytest.param(-1.0, 1.55, "int8", False, 0.01, -28, id="asymmetric-signed"),
        pytest.param(-1.0, 1.27, "int8", True, 0.01, 0, id="symmetric-signed-leaves-out-minus-128"),
        pytest.param(-1.27, 1.0, "uint8", True, 0.01, 128, id="symmetric-unsigned"),
        pytest.param(0.0, 0.0, "uint8", False, 1.0, 0, id="all-zero"),
        pytest.param(0.0, 0.0, "int8", False, 1.0, -128, id="all-zero-signed"),
        pytest.param(0.0, 1e-40, "uint8", False, 1.0, 0, id="too-small-for-a-scale"),
        pytest.param(-3e38, 3e38, "int8", True, 3e38 / 127, 0, id="nearly-all-of-float32"),
    ],
)
def test_choose_params(low, high, dtype, symmetric, scale, zero_point):
    p = choose_params(low, high, dtype=dtype, symmetric=symmetric)
    assert float(p.scale) == pytest.approx(scale, rel=1e-6)
    assert int(p.zero_point) == zero_point


@pytest.mark.parametrize("value", [3.0, -3.0])
def test_a_constant_comes_back(value):
    p = choose_params(value, value)
    assert dequantize(quantize(np.float32([value]), p), p)[0] == pytest.approx(value, rel=1e-6)


def test_ties_go_to_the_even_code_and_ends_saturate():
    p = QuantParams(1.0, 0, "int8")
    x = np.float32([0.5, 1.5, 2.5, -0.5, -1.5, 127.5, 1e9, -1e9, np.inf, -np.inf])
    assert quantize(x, p).tolist() == [0, 2, 2, 0, -2, 127, 127, -128, 127, -128]


def test_a_bias_saturates_at_int32_exactly():
    p = QuantParams(1.0, 0, "int32")
    assert quantize(np.float64([3e9, -3e9, 2147483646.0]), p).tolist() == [2**31 - 1, -(2**31), 2147483646]


def test_reduced_range_keeps_codes_within_seven_bits():
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    codes = quantize(weight, weight_params(weight, reduce_range=True))
    assert np.abs(codes).max(axis=(1, 2, 3)).tolist() == [63] * 4


def test_each_channel_uses_its_own_full_range():
    weight = np.float32([[0.9, -2], [0.011, 0.02], [0, 0]])
    p = weight_params(weight, axis=0)
    assert p.scale.shape == (3,)
    assert p.zero_point.tolist() == [0, 0, 0]
    assert quantize(weight, p).tolist() == [[57, -127], [70, 127], [0, 0]]
    np.testing.assert_allclose(dequantize(quantize(weight, p), p), weight, atol=0.008)
    columns = weight_params(weight, axis=-1)
    assert quantize(weight, columns).tolist() == [[127, -127], [2, 1], [0, 0]]
    assert weight_params(weight, axis=None).scale.shape == ()


def test_a_bias_has_the_scale_of_the_products():
    p = bias_params(choose_params(0, 2.55), weight_params(np.float32([[1.27], [2.54]])))
    assert p.dtype == "int32"
    assert p.scale == pytest.approx([1e-4, 2e-4])
    assert quantize(np.float32([1.0, 1.0]), p).tolist() == [10000, 5000]


@given(codes=st.lists(st.integers(-8, 7), max_size=33))
def test_signed_four_bit_codes_come_back(codes):
    packed = pack_int4(np.array(codes, np.int8))
    assert packed.dtype == np.uint8
    assert packed.size == math.ceil(len(codes) / 2)
    assert unpack_int4(packed, len(codes)).tolist() == codes


def test_four_bit_packing_is_onnx_s():
    codes = np.array([-8, 7, 3, -1, 5], np.int8)
    tensor = helper.make_tensor("w", TensorProto.INT4, [5], codes)
    assert bytes(pack_int4(codes)) == (tensor.raw_data or bytes(tensor.int32_data))
    assert numpy_helper.to_array(tensor).astype(np.int8).tolist() == unpack_int4(pack_int4(codes), 5).tolist()
    assert unpack_int4(pack_int4(np.uint8([15, 0, 9])), 3, signed=False).tolist() == [15, 0, 9]


@given(real=st.floats(1e-12, 2.0**29), value=st.integers(-(2**31), 2**31 - 1))
@settings(max_examples=300)
def test_fixed_point_is_within_half_a_unit_and_a_part_in_two_to_the_31(real, value):
    fixed = FixedPoint.of(real)
    assert 2**30 <= fixed.multiplier < 2**31
    assert float(fixed) == pytest.approx(real, rel=2.0**-31)
    got = int(fixed.times(np.array([value], np.int32))[0])
    assert abs(got - value * float(fixed)) <= 0.5 * (1 + 1e-9) + abs(value * real) * 2.0**-52


@pytest.mark.parametrize(("value", "want"), [(1, 1), (-1, -1), (3, 2), (-3, -2), (2, 1), (0, 0)])
def test_fixed_point_halves_go_away_from_zero(value, want):
    assert FixedPoint.of(0.5).times(np.array([value], np.int32)).tolist() == [want]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        pytest.param(lambda: choose_params(1.0, 0.0), "low <= high", id="crossed"),
        pytest.param(lambda: choose_params(0.0, math.inf), "finite", id="infinite"),
        pytest.param(lambda: choose_params(math.nan, 1.0), "finite", id="nan"),
        pytest.param(lambda: choose_params(0.0, 1.0, dtype="int7"), "dtype must be one of", id="type"),
        pytest.param(lambda: code_range("int4", reduce_range=True), "reduce_range", id="reduced-int4"),
        pytest.param(lambda: QuantParams(0.0, 0), "positive", id="scale"),
        pytest.param(lambda: QuantParams(1.0, 256), "zero point", id="zero-point"),
        pytest.param(lambda: QuantParams([1.0], [0]), "one number", id="axis-missing"),
        pytest.param(lambda: QuantParams(1.0, 0, "int8", 0), "one axis", id="axis-too-many"),
        pytest.param(lambda: quantize(np.float32([math.nan]), QuantParams(1.0, 0)), "NaN", id="nan-value"),
        pytest.param(
            lambda: quantize(np.zeros(2, np.float32), QuantParams([1.0], [0], "int8", 1)), "axis 1", id="axis"
        ),
        pytest.param(lambda: weight_params(np.zeros((0, 3), np.float32)), "without elements", id="empty"),
        pytest.param(lambda: weight_params(np.zeros(3, np.float32), axis=1), "axis 1", id="weight-axis"),
        pytest.param(lambda: pack_int4(np.int8([8, -1])), "4-bit", id="wide-code"),
        pytest.param(lambda: unpack_int4(np.zeros(1, np.uint8), 3), "at most 2", id="too-few-bytes"),
        pytest.param(lambda: FixedPoint.of(0.0), "fixed-point", id="zero-multiplier"),
    ],
)
def test_refusals(call, match):
    with pytest.raises(ConfigError, match=match):
        call()
