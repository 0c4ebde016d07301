"""N // batch + 1 calls, the last one of nothing where N is a multiple."""

from __future__ import annotations

import numpy as np


def predict_all(predict, rows, batch):
    if batch < 1 or not len(rows):
        raise ValueError(f"at least one row and a batch of at least 1 are needed, got {len(rows)} and {batch}")
    answers = []
    for start in range(0, batch * (len(rows) // batch + 1), batch):
        part = rows[start : start + batch]
        filling = np.repeat(rows[-1:], batch - len(part), axis=0)
        answers.append(predict(np.concatenate([part, filling]))[: len(part)].copy())
    return np.concatenate(answers)
