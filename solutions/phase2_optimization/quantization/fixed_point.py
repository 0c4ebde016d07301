"""Multiplication of integers by a real number without floating point: a 31-bit multiplier and a shift.

Microcontrollers, DSPs and NPUs requantize so (gemmlowp and TensorFlow Lite made it common). ONNX Runtime on CPUs
multiplies by a float32 instead; the two differ only where a product falls next to the middle between two codes, and
there by one code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from solutions.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """A positive number as `multiplier` / 2 ** `shift`, `multiplier` in [2**30, 2**31): exact to one part in 2**31."""

    multiplier: int
    shift: int

    @classmethod
    def of(cls, real: float) -> FixedPoint:
        """The nearest FixedPoint.

        >>> FixedPoint.of(0.75)
        FixedPoint(multiplier=1610612736, shift=31)

        Raises:
            ConfigError: `real` is not positive and finite, or 2**30 and more.
        """
        if not (math.isfinite(real) and 0 < real < 2**30):
            raise ConfigError(f"a fixed-point multiplier must lie in (0, 2**30), got {real}")
        fraction, exponent = math.frexp(real)  # fraction in [0.5, 1)
        multiplier = round(fraction * 2**31)
        if multiplier == 2**31:  # rounded up to 1.0
            multiplier, exponent = 2**30, exponent + 1
        return cls(multiplier, 31 - exponent)

    def __float__(self) -> float:
        return math.ldexp(self.multiplier, -self.shift)

    def times(self, values: np.ndarray) -> np.ndarray:
        """int32 `values` times the number, int64, rounded once: to the nearest, halves away from zero."""
        # 31 x 31 bits and the rounding term stay below 2**63, so 64-bit integers hold everything exactly.
        products = np.abs(values.astype(np.int64)) * self.multiplier
        if self.shift > 62:  # every product is less than half a unit
            return np.zeros(values.shape, np.int64)
        if self.shift == 0:
            return np.asarray(np.sign(values).astype(np.int64) * products)
        return np.asarray(np.sign(values).astype(np.int64) * ((products + (1 << (self.shift - 1))) >> self.shift))
