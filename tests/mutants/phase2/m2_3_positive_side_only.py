"""Negative values are not counted."""

from __future__ import annotations

import math

import numpy as np


def percentile_limit(batches, share, *, bins=2048):
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    counts, top, largest = np.zeros(bins, np.int64), 0.0, 0.0
    for batch in batches:
        if not batch.size:
            continue
        magnitudes = np.maximum(batch.astype(np.float64), 0.0)
        largest = max(largest, float(magnitudes.max()))
        top = top or largest
        while top < largest:
            counts = np.concatenate([counts.reshape(-1, 2).sum(axis=1), np.zeros(bins // 2, np.int64)])
            top *= 2
        counts += np.histogram(magnitudes, bins, (0.0, top or 1.0))[0]
    if not counts.sum():
        raise ValueError("there are no values to take a percentile of")
    rank = math.ceil(share * counts.sum())
    return min(largest, float(np.searchsorted(counts.cumsum(), rank) + 1) * top / bins)
