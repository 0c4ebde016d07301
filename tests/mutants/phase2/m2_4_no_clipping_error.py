"""The error of what is clipped is left out."""

from __future__ import annotations

import numpy as np


def least_error_limit(values, *, most=127, steps=100):
    if not values.size:
        raise ValueError("there are no values to clip")
    real = values.astype(np.float64)
    largest = float(np.abs(real).max())

    def error(limit: float) -> float:
        scale = limit / most
        inside = real[np.abs(real) <= limit]
        return float(np.square(np.rint(inside / scale) * scale - inside).sum())

    limits = [k / steps * largest for k in range(1, steps + 1)]
    return min(limits, key=error) if largest else 0.0
