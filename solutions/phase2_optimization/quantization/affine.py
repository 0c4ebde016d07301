"""Affine quantization: real numbers as small integers, `real = scale * (code - zero_point)`.

Everything here follows ONNX's QuantizeLinear to the bit: the scale is float32, the division is done in float32, ties go
to the even code, and what does not fit saturates. The real number 0 has a code of its own in every parameter set: zero
padding, ReLU and pruned weights would be wrong by a constant otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solutions.core.errors import ConfigError

_CODES = {
    "uint4": (0, 15),
    "int4": (-8, 7),
    "uint8": (0, 255),
    "int8": (-128, 127),
    "uint16": (0, 65535),
    "int16": (-32768, 32767),
    "int32": (-(2**31), 2**31 - 1),
}
_TINY = float(np.finfo(np.float32).tiny)  # the smallest scale that divides without loss of precision


@dataclass(frozen=True, slots=True, eq=False)
class QuantParams:
    """How one tensor is coded.

    Attributes:
        scale: float32, positive; one number, or one per channel along `axis`.
        zero_point: int32, the code of the real number 0; the same shape as `scale`.
        dtype: "uint8", "int8", "uint4", "int4", "uint16", "int16" or "int32".
        axis: the channel axis, or None when one scale serves the whole tensor.

    Raises:
        ConfigError: a scale that is not positive and finite, a zero point outside of the type, shapes that disagree.
    """

    scale: Any
    zero_point: Any
    dtype: str = "uint8"
    axis: int | None = None

    def __post_init__(self) -> None:
        least, most = code_range(self.dtype)
        scale, zero_point = np.asarray(self.scale, np.float32), np.asarray(self.zero_point, np.int32)
        if scale.shape != zero_point.shape or scale.ndim != (0 if self.axis is None else 1):
            raise ConfigError(
                f"axis {self.axis} wants scale and zero_point of {'one number' if self.axis is None else 'one axis'}, "
                f"got shapes {scale.shape} and {zero_point.shape}"
            )
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise ConfigError(f"a scale must be positive and finite, got {scale.min() if scale.size else scale}")
        if ((zero_point < least) | (zero_point > most)).any():
            raise ConfigError(f"the zero point of {self.dtype} must lie in [{least}, {most}], got {zero_point}")
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", zero_point)

    def along(self, ndim: int) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero point shaped so that they broadcast against an array of `ndim` axes."""
        if self.axis is None:
            return self.scale, self.zero_point
        if not -ndim <= self.axis < ndim:
            raise ConfigError(f"axis {self.axis} does not exist in an array of {ndim} axes")
        shape = [1] * ndim
        shape[self.axis] = -1
        return self.scale.reshape(shape), self.zero_point.reshape(shape)


def code_range(dtype: str, *, symmetric: bool = False, reduce_range: bool = False) -> tuple[int, int]:
    """The least and the greatest code that a range is spread over, both included.

    Symmetric signed types give up their lowest code, so that -x has a code whenever x has. `reduce_range` takes one bit
    off 8-bit types: CPUs without VNNI add pairs of products in 16 bits, which saturate with full 8-bit weights.

    >>> code_range("int8"), code_range("int8", symmetric=True), code_range("int8", symmetric=True, reduce_range=True)
    ((-128, 127), (-127, 127), (-63, 63))
    """
    if dtype not in _CODES:
        raise ConfigError(f"dtype must be one of {', '.join(_CODES)}, got {dtype}")
    least, most = _CODES[dtype]
    if reduce_range:
        if dtype not in ("uint8", "int8"):
            raise ConfigError(f"reduce_range is for uint8 and int8, got {dtype}")
        least, most = least // 2, most // 2
    if symmetric:
        least += 1  # unsigned types are symmetric about their middle, 128: 1..255
    return least, most


def choose_params(
    low: Any,
    high: Any,
    *,
    dtype: str = "uint8",
    symmetric: bool = False,
    axis: int | None = None,
    reduce_range: bool = False,
) -> QuantParams:
    """The parameters that spread [low, high], widened to hold 0, over all codes of `dtype`.

    Args:
        low: the least real value; with `axis` one per channel.
        high: the greatest, likewise; low <= high.
        dtype: the code type.
        symmetric: the code of 0 is fixed in the middle (0 for signed types, 128 for uint8): cheaper kernels, and what
            TensorRT wants; costs up to half of the codes where all values have one sign.
        axis: the channel axis that `low` and `high` run along.
        reduce_range: one bit less, for weights on CPUs without VNNI.

    A range of nothing but zeros gets scale 1: every scale would do.

    >>> p = choose_params(-1.0, 3.0)
    >>> float(p.scale), int(p.zero_point), quantize(np.float32([-1, 0, 3, 9]), p).tolist()
    (0.0156862..., 64, [0, 64, 255, 255])
    """
    least, most = code_range(dtype, symmetric=symmetric, reduce_range=reduce_range)
    lows, highs = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if not (np.isfinite(lows).all() and np.isfinite(highs).all()) or (lows > highs).any():
        raise ConfigError(f"a range needs finite low <= high, got low {low} and high {high}")
    lows, highs = np.minimum(lows, 0.0), np.maximum(highs, 0.0)
    if symmetric:
        middle = (least + most) // 2
        exact = np.maximum(-lows, highs) / (most - middle)
    else:
        exact = (highs - lows) / (most - least)
    scale = np.where(exact < _TINY, 1.0, exact).astype(np.float32)
    if symmetric:
        zero_point = np.full(scale.shape, middle, np.int32)
    else:
        zero_point = np.clip(np.rint(least - lows / scale.astype(np.float64)), least, most).astype(np.int32)
    return QuantParams(scale, zero_point, dtype, axis)


def weight_params(
    weight: np.ndarray,
    *,
    dtype: str = "int8",
    axis: int | None = 0,
    symmetric: bool = True,
    reduce_range: bool = False,
) -> QuantParams:
    """The parameters that hold every value of `weight`, one set per channel along `axis`, or one in all for None."""
    if weight.size == 0:
        raise ConfigError(f"a weight without elements cannot be quantized, got shape {weight.shape}")
    if axis is not None:
        if not -weight.ndim <= axis < weight.ndim:
            raise ConfigError(f"axis {axis} does not exist in a weight of shape {weight.shape}")
        others = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
        low, high = weight.min(axis=others), weight.max(axis=others)
    else:
        low, high = weight.min(), weight.max()
    return choose_params(low, high, dtype=dtype, symmetric=symmetric, axis=axis, reduce_range=reduce_range)


def bias_params(input_params: QuantParams, weight: QuantParams) -> QuantParams:
    """The int32 parameters of a bias, which is added to sums of products: scale = input's x weight's, zero point 0."""
    scale = np.asarray(input_params.scale * weight.scale, np.float32)
    scale = np.where(scale < _TINY, np.float32(_TINY), scale)  # a product of two tiny scales may vanish
    return QuantParams(scale, np.zeros(scale.shape, np.int32), "int32", None if weight.axis is None else 0)


def quantize(x: np.ndarray, p: QuantParams) -> np.ndarray:
    """The codes of `x`: round half to even of x / scale, plus the zero point, saturated.

    The result has NumPy's type of the same name; int4 and uint4 come in int8 and uint8, one code per byte.

    Raises:
        ConfigError: `x` holds NaN, which has no code.
    """
    least, most = _CODES[p.dtype]
    scale, zero_point = p.along(np.ndim(x))
    # int32 codes need 64-bit floats to be saturated exactly; the others must be divided in float32, as runtimes do.
    wide = np.float64 if p.dtype == "int32" else np.float32
    with np.errstate(over="ignore"):  # infinity saturates like any other large number
        codes = np.rint(np.asarray(x, wide) / scale.astype(wide))
    if np.isnan(codes).any():
        raise ConfigError("an array with NaN cannot be quantized: find the layer that makes them first")
    shift = zero_point.astype(wide)
    return (np.clip(codes, least - shift, most - shift) + shift).astype(_storage(p.dtype))


def dequantize(q: np.ndarray, p: QuantParams) -> np.ndarray:
    """The real numbers, float32, that the codes `q` stand for."""
    scale, zero_point = p.along(np.ndim(q))
    return np.asarray((q.astype(np.int64) - zero_point).astype(np.float32) * scale)


def pack_int4(codes: np.ndarray) -> np.ndarray:
    """The 4-bit codes two to a byte, uint8, flattened; the first of a pair in the low half, as ONNX stores them.

    >>> [hex(byte) for byte in pack_int4(np.int8([1, -1, 7]))]
    ['0xf1', '0x7']
    """
    flat = np.asarray(codes).reshape(-1)
    if flat.size and (flat.min() < -8 or flat.max() > (7 if flat.min() < 0 else 15)):
        raise ConfigError(f"4-bit codes lie in [-8, 7] or [0, 15], got [{flat.min()}, {flat.max()}]")
    nibbles = (flat.astype(np.int16) & 15).astype(np.uint8)
    nibbles = np.append(nibbles, np.zeros(nibbles.size % 2, np.uint8))
    return np.asarray(nibbles[0::2] | (nibbles[1::2] << 4), np.uint8)


def unpack_int4(packed: np.ndarray, count: int, *, signed: bool = True) -> np.ndarray:
    """The first `count` codes of `pack_int4`'s bytes, int8 or uint8, flat."""
    data = np.asarray(packed, np.uint8).reshape(-1)
    if not 0 <= count <= 2 * data.size:
        raise ConfigError(f"{data.size} bytes hold at most {2 * data.size} codes of 4 bits, asked for {count}")
    nibbles = np.stack([data & 15, data >> 4], axis=1).reshape(-1)[:count]
    if not signed:
        return nibbles
    return np.where(nibbles > 7, nibbles.astype(np.int8) - 16, nibbles).astype(np.int8)


def _storage(dtype: str) -> np.dtype[Any]:
    return np.dtype({"int4": "int8", "uint4": "uint8"}.get(dtype, dtype))
