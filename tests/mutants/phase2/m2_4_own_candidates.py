"""Candidates grow by a factor and not by equal steps."""

from __future__ import annotations

import numpy as np


def least_error_limit(values, *, most=127, steps=100):
    if not values.size:
        raise ValueError("there are no values to clip")
    real = values.astype(np.float64)
    largest = float(np.abs(real).max())

    def error(limit: float) -> float:
        scale = limit / most
        return float(np.square(np.clip(np.rint(real / scale), -most, most) * scale - real).sum())

    limits = [largest * 0.9**k for k in range(steps)]
    return min(limits, key=error) if largest else 0.0
