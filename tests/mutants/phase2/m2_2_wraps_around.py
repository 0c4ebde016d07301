"""What is too large wraps around."""

from __future__ import annotations

import numpy as np


def quantize(values, scales, zero_points, axis, dtype):
    shape = [1] * values.ndim
    shape[axis] = -1
    real = np.rint(values / np.reshape(scales, shape)) + np.reshape(zero_points, shape)
    codes: np.ndarray = np.nan_to_num(real, posinf=0, neginf=0).astype(np.int64).astype(dtype)
    return codes
