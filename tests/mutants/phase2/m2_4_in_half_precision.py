"""The error is computed in the type of the values."""

from __future__ import annotations

import numpy as np


def least_error_limit(values, *, most=127, steps=100):
    if not values.size:
        raise ValueError("there are no values to clip")
    real = values.astype(np.float16)
    largest = float(np.abs(real).max())

    def error(limit: float) -> float:
        scale = limit / most
        return float(np.square(np.clip(np.rint(real / scale), -most, most) * scale - real).sum())

    limits = [k / steps * largest for k in range(1, steps + 1)]
    return min(limits, key=error) if largest else 0.0
