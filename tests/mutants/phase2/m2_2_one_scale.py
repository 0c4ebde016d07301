"""The first scale serves every channel."""

from __future__ import annotations

import numpy as np


def quantize(values, scales, zero_points, axis, dtype):
    shape = [1] * values.ndim
    shape[axis] = -1
    real = np.rint(values / scales[0]) + zero_points[0]
    codes: np.ndarray = np.clip(real, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
    return codes
