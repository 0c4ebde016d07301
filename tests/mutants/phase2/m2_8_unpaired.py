"""The two accuracies are treated as independent samples."""

from __future__ import annotations

import math

import numpy as np


def gate(before, after, time, *, max_drop=0.01, min_speedup=1.2):
    if len(before) != len(after) or len(before) < 2:
        raise ValueError(f"at least 2 pictures, the same for both, are needed, got {len(before)} and {len(after)}")
    differences = before.astype(np.float64) - after.astype(np.float64)
    drop, margin = differences.mean(), 1.96 * math.sqrt((before.var(ddof=1) + after.var(ddof=1)) / len(before))
    if drop - margin > max_drop or 1 / time.low < min_speedup:
        return "fail"
    return "pass" if drop + margin <= max_drop and 1 / time.high >= min_speedup else "inconclusive"
