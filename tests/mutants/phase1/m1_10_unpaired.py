"""Times of a and of b are resampled apart, so slow rounds widen the interval."""

from __future__ import annotations

import time

import numpy as np

from solutions.core.classroom.values import Comparison


def compare(a, b, *, at_most=1.0, rounds=30, clock=time.perf_counter, seed=0):
    if rounds < 1:
        raise ValueError(f"at least one round is needed, got {rounds}")

    def timed(fn):
        start = clock()
        fn()
        return clock() - start

    a()
    b()
    a_s, b_s = [], []
    for _ in range(rounds):
        a_first, b_first, b_second, a_second = timed(a), timed(b), timed(b), timed(a)
        a_s.append(a_first + a_second)
        b_s.append(b_first + b_second)
    dice = np.random.default_rng(seed)
    a_drawn, b_drawn = dice.choice(a_s, size=(2000, rounds)), dice.choice(b_s, size=(2000, rounds))
    low, high = np.quantile(np.median(b_drawn, axis=1) / np.median(a_drawn, axis=1), [0.025, 0.975])
    ratio = float(np.median(b_s) / np.median(a_s))
    if high <= at_most:
        return Comparison(ratio, float(low), float(high), "pass")
    return Comparison(ratio, float(low), float(high), "fail" if low > at_most else "inconclusive")
