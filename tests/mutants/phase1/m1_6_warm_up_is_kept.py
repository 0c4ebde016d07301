"""The warm-up calls are timed and handed back too."""

from __future__ import annotations

import time


def measure(fn, *, warmup=10, repeats=100, synchronize=None, clock=time.perf_counter):
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats must be >= 1 and warmup >= 0, got {repeats} and {warmup}")
    wait = synchronize or (lambda: None)
    wait()
    samples = []
    for _ in range(warmup + repeats):
        start = clock()
        fn()
        wait()
        samples.append(clock() - start)
    return samples
