"""An ascending order is turned around, and ties with it."""

from __future__ import annotations

import numpy as np


def best_classes(logits, k):
    if k < 1:
        raise ValueError(f"k must be >= 1, got {k}")
    if not len(logits):
        return []
    real = logits.astype(np.float64)
    powers = np.exp(real - real.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    order = np.argsort(real, axis=1, kind="stable")[:, ::-1][:, :k]
    return [[(int(i), float(row[i])) for i in best] for row, best in zip(probabilities, order, strict=True)]
