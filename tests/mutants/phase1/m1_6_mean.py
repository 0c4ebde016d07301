"""The whole loop is timed and divided, so every sample is the mean."""

from __future__ import annotations

import time


def measure(fn, *, warmup=10, repeats=100, synchronize=None, clock=time.perf_counter):
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats must be >= 1 and warmup >= 0, got {repeats} and {warmup}")
    wait = synchronize or (lambda: None)
    for _ in range(warmup):
        fn()
    wait()
    start = clock()
    for _ in range(repeats):
        fn()
        wait()
    return [(clock() - start) / repeats] * repeats
