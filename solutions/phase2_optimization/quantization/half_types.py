"""The two 16-bit floating-point types: float16 has the precision, bfloat16 has the range.

float16 spends 10 bits on digits and 5 on the exponent: 65504 is its largest number, 6e-8 its smallest. bfloat16 is the
upper half of a float32: all of its range, but only 7 bits of digits, so 256 and 257 are the same number.
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
from onnx import TensorProto

from solutions.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class HalfType:
    """One of them.

    Attributes:
        name: as NumPy and ONNX call it.
        elem_type: ONNX's number of it.
        largest: its largest finite number.
        smallest_normal: below it digits are lost.
        opset: the first in which convolutions and the rest of a network are defined for it.
    """

    name: str
    elem_type: int
    largest: float
    smallest_normal: float
    opset: int

    @property
    def tensor_type(self) -> str:
        """As ONNX's operator schemas write it."""
        return f"tensor({self.name})"

    @property
    def dtype(self) -> np.dtype:
        """The NumPy type; bfloat16's comes from ml_dtypes, which onnx needs anyway."""
        return np.dtype(np.float16) if self.name == "float16" else np.dtype(ml_dtypes.bfloat16)

    def round(self, array: np.ndarray) -> np.ndarray:
        """The values in this type: nearest, ties to even, infinite beyond its range.

        >>> half_type("float16").round(np.float32([1 / 3, 65519, 65520])).tolist()
        [0.333251953125, 65504.0, inf]
        >>> half_type("bfloat16").round(np.float32([256, 257, -3e38])).astype(np.float32).tolist()
        [256.0, 256.0, -3.0...e+38]
        """
        with np.errstate(over="ignore"):
            return np.asarray(array).astype(self.dtype)


_TYPES = {
    "float16": HalfType("float16", TensorProto.FLOAT16, 65504.0, 2.0**-14, 17),
    "bfloat16": HalfType("bfloat16", TensorProto.BFLOAT16, 3.3895314e38, 2.0**-126, 22),
}


def half_type(name: str) -> HalfType:
    """The type called "float16" or "bfloat16".

    Raises:
        ConfigError: another name.
    """
    if name not in _TYPES:
        raise ConfigError(f"a 16-bit type is called {' or '.join(_TYPES)}, got {name}")
    return _TYPES[name]
