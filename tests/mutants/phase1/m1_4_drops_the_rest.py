"""Rows that do not fill a batch are dropped."""

from __future__ import annotations

import numpy as np


def predict_all(predict, rows, batch):
    if batch < 1 or not len(rows):
        raise ValueError(f"at least one row and a batch of at least 1 are needed, got {len(rows)} and {batch}")
    answers = []
    for start in range(0, max(batch, len(rows) - len(rows) % batch), batch):
        part = rows[start : start + batch]
        filling = np.repeat(part[-1:], batch - len(part), axis=0)
        answers.append(predict(np.concatenate([part, filling]))[: len(part)].copy())
    return np.concatenate(answers)
