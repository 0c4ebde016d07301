"""Convolution and matrix product in integers alone: 8-bit codes in, 32-bit sums, 8-bit codes out.

With r = s (q - z) for each tensor, sum of x w = s_x s_w * sum of (q_x - z_x)(q_w - z_w). The sum needs integers only;
one multiplication by s_x s_w / s_y then turns it into the output's codes ("requantization"). Two ways to multiply:

- "float": the factor in float32, computed and rounded (half to even) as ONNX Runtime's CPU kernels do; the results
  equal those of its QLinearConv and QLinearMatMul bit for bit.
- "fixed": a 31-bit integer multiplier and a shift, as chips without floating point do; at most one code away.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.quantization.affine import QuantParams, code_range
from solutions.phase2_optimization.quantization.fixed_point import FixedPoint

REQUANTIZATIONS = ("float", "fixed")


def qlinear_conv(
    x: np.ndarray,
    x_params: QuantParams,
    weight: np.ndarray,
    weight_params: QuantParams,
    y_params: QuantParams,
    bias: np.ndarray | None = None,
    *,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
    requantization: str = "float",
) -> np.ndarray:
    """The codes of a convolution's output, (N, M, *out), of `y_params`' type; ONNX's QLinearConv.

    Args:
        x: uint8 or int8 codes, (N, C, *size) with one to three spatial axes.
        x_params: theirs, one scale for all.
        weight: uint8 or int8 codes, (M, C / groups, *kernel).
        weight_params: theirs; one scale, or one per output channel (axis 0).
        y_params: the output's, one scale for all.
        bias: int32 of shape (M,), with the scale x's times the weight's and zero point 0.
        strides: one per spatial axis; default 1.
        pads: as ONNX has them: all beginnings, then all ends; default 0. Padding is the real number 0.
        dilations: one per spatial axis; default 1.
        groups: convolutions side by side; C and M must be multiples of it.
        requantization: "float" or "fixed".

    Raises:
        ConfigError: shapes, axes or settings that do not fit together.
    """
    axes = x.ndim - 2
    if axes < 1 or weight.ndim != x.ndim:
        raise ConfigError(f"a convolution needs x and weight of 3 to 5 axes each, got {x.shape} and {weight.shape}")
    steps, apart = _per_axis("strides", strides, axes, 1), _per_axis("dilations", dilations, axes, 1)
    edge = _per_axis("pads", pads, 2 * axes, 0)
    if groups < 1 or x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ConfigError(f"groups {groups} do not split x {x.shape} and weight {weight.shape} evenly")
    if weight_params.axis not in (None, 0):
        raise ConfigError(f"weights have one scale, or one per output channel (axis 0), got axis {weight_params.axis}")

    # Centred codes: padding with the zero point is padding with 0.
    centred = np.pad(_centred(x, x_params), [(0, 0), (0, 0), *zip(edge[:axes], edge[axes:], strict=True)])
    reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], apart, strict=True)]
    if any(size < need for size, need in zip(centred.shape[2:], reach, strict=True)):
        raise ConfigError(f"a kernel that reaches over {reach} does not fit into the padded x of {centred.shape}")
    windows = sliding_window_view(centred, reach, axis=tuple(range(2, x.ndim)))
    windows = windows[tuple(slice(None, None, step) for step in (1, 1, *steps, *apart))]

    # (N, C, *out, *kernel) -> (groups, N * out, C / groups * kernel), times (groups, C / groups * kernel, M / groups).
    batch, out = x.shape[0], windows.shape[2 : 2 + axes]
    grouped = windows.reshape(batch, groups, weight.shape[1], *windows.shape[2:])
    outward = (1, 0, *range(3, 3 + axes), 2, *range(3 + axes, 3 + 2 * axes))
    rows = grouped.transpose(outward).reshape(groups, batch * prod(out), prod(weight.shape[1:]))
    columns = _centred(weight, weight_params).reshape(groups, weight.shape[0] // groups, -1).transpose(0, 2, 1)
    sums = np.matmul(rows, columns).transpose(1, 0, 2).reshape(batch, *out, weight.shape[0])
    if bias is not None:
        if bias.shape != (weight.shape[0],) or bias.dtype != np.int32:
            raise ConfigError(f"a bias is int32 of shape ({weight.shape[0]},), got {bias.dtype}{list(bias.shape)}")
        sums = sums + bias
    codes = requantize(sums, x_params, weight_params, y_params, requantization)
    return np.ascontiguousarray(np.moveaxis(codes, -1, 1))


def qlinear_matmul(
    a: np.ndarray,
    a_params: QuantParams,
    b: np.ndarray,
    b_params: QuantParams,
    y_params: QuantParams,
    *,
    requantization: str = "float",
) -> np.ndarray:
    """The codes of the matrix product of `a` and `b`, of `y_params`' type; ONNX's QLinearMatMul.

    Leading axes broadcast as in `numpy.matmul`. `b` has one scale, or one per column (its last axis).

    Raises:
        ConfigError: shapes or axes that do not fit together.
    """
    if b_params.axis is not None and b_params.axis % b.ndim != b.ndim - 1:
        raise ConfigError(f"b has one scale, or one per column (axis {b.ndim - 1}), got axis {b_params.axis}")
    try:
        sums = np.matmul(_centred(a, a_params), _centred(b, b_params))
    except ValueError as error:
        raise ConfigError(f"matrices of {a.shape} and {b.shape} cannot be multiplied") from error
    return requantize(sums, a_params, b_params, y_params, requantization)


def requantize(
    sums: np.ndarray,
    x_params: QuantParams,
    weight_params: QuantParams,
    y_params: QuantParams,
    requantization: str = "float",
) -> np.ndarray:
    """The output's codes of int32 sums whose last axis is the channel.

    Raises:
        ConfigError: input or output with a scale per channel, or an unknown way.
    """
    if x_params.axis is not None or y_params.axis is not None:
        raise ConfigError("input and output of an integer operator have one scale each, got one per channel")
    if requantization not in REQUANTIZATIONS:
        raise ConfigError(f"requantization must be float or fixed, got {requantization}")
    # The order of these two float32 operations is ONNX Runtime's; another one differs in the last bit.
    factors = x_params.scale * weight_params.scale / y_params.scale
    if requantization == "float":
        products = np.rint(sums.astype(np.float32) * factors)
    elif factors.ndim == 0:
        products = FixedPoint.of(float(factors)).times(sums)
    else:
        columns = [FixedPoint.of(float(f)).times(sums[..., i]) for i, f in enumerate(factors)]
        products = np.stack(columns, axis=-1)
    least, most = code_range(y_params.dtype)
    zero_point = int(y_params.zero_point)
    # Saturated before the zero point is added: float32 holds these small integers exactly, so the sum is exact too.
    codes = np.clip(products, least - zero_point, most - zero_point) + zero_point
    return np.asarray(codes, np.dtype(y_params.dtype))


def _centred(codes: np.ndarray, p: QuantParams) -> np.ndarray:
    """Codes minus their zero point, int32: the real numbers in units of the scale."""
    if codes.dtype != np.dtype(p.dtype):
        raise ConfigError(f"codes of {p.dtype} were announced, got {codes.dtype}")
    return np.asarray(codes.astype(np.int32) - p.along(codes.ndim)[1])


def _per_axis(name: str, values: Sequence[int] | None, count: int, default: int) -> tuple[int, ...]:
    given = tuple(values) if values is not None else (default,) * count
    if len(given) != count or any(value < default for value in given):
        raise ConfigError(f"{name} must be {count} numbers >= {default}, got {list(given)}")
    return given
