"""The means alone decide."""

from __future__ import annotations

import numpy as np


def gate(before, after, time, *, max_drop=0.01, min_speedup=1.2):
    if len(before) != len(after) or len(before) < 2:
        raise ValueError(f"at least 2 pictures, the same for both, are needed, got {len(before)} and {len(after)}")
    differences = before.astype(np.float64) - after.astype(np.float64)
    drop = differences.mean()
    if drop > max_drop or 1 / time.ratio < min_speedup:
        return "fail"
    return "pass" if drop <= max_drop and 1 / time.ratio >= min_speedup else "inconclusive"
