"""The last call is made with as many rows as are left."""

from __future__ import annotations

import numpy as np


def predict_all(predict, rows, batch):
    if batch < 1 or not len(rows):
        raise ValueError(f"at least one row and a batch of at least 1 are needed, got {len(rows)} and {batch}")
    answers = []
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        answers.append(predict(np.ascontiguousarray(part))[: len(part)].copy())
    return np.concatenate(answers)
