"""A view of every second row is read without its strides."""

from __future__ import annotations

import numpy as np


def predict_all(predict, rows, batch):
    if batch < 1 or not len(rows):
        raise ValueError(f"at least one row and a batch of at least 1 are needed, got {len(rows)} and {batch}")
    answers = []
    flat = np.frombuffer((rows if rows.base is None else rows.base).tobytes(), rows.dtype)
    rows = flat[: rows.size].reshape(rows.shape)
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        filling = np.repeat(part[-1:], batch - len(part), axis=0)
        answers.append(predict(np.concatenate([part, filling]))[: len(part)].copy())
    return np.concatenate(answers)
