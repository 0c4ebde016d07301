"""The mean over the rounds follows one outlier."""

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
    ratios = []
    for _ in range(rounds):
        a_first, b_first, b_second, a_second = timed(a), timed(b), timed(b), timed(a)
        ratios.append((b_first + b_second) / (a_first + a_second))
    drawn = np.random.default_rng(seed).choice(ratios, size=(2000, rounds))
    low, high = np.quantile(np.mean(drawn, axis=1), [0.025, 0.975])
    ratio = float(np.mean(ratios))
    if high <= at_most:
        return Comparison(ratio, float(low), float(high), "pass")
    return Comparison(ratio, float(low), float(high), "fail" if low > at_most else "inconclusive")
