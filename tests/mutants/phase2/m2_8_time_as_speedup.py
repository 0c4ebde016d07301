"""The share of time is taken for the speed-up."""

from __future__ import annotations

import math

import numpy as np


def gate(before, after, time, *, max_drop=0.01, min_speedup=1.2):
    if len(before) != len(after) or len(before) < 2:
        raise ValueError(f"at least 2 pictures, the same for both, are needed, got {len(before)} and {len(after)}")
    differences = before.astype(np.float64) - after.astype(np.float64)
    drop, margin = differences.mean(), 1.96 * differences.std(ddof=1) / math.sqrt(len(differences))
    if drop - margin > max_drop or time.high < min_speedup:
        return "fail"
    return "pass" if drop + margin <= max_drop and time.low >= min_speedup else "inconclusive"
