"""synchronize is called although nobody gave one."""

from __future__ import annotations

import time


def measure(fn, *, warmup=10, repeats=100, synchronize=None, clock=time.perf_counter):
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats must be >= 1 and warmup >= 0, got {repeats} and {warmup}")
    wait = synchronize
    for _ in range(warmup):
        fn()
    wait()
    samples = []
    for _ in range(repeats):
        start = clock()
        fn()
        wait()
        samples.append(clock() - start)
    return samples
