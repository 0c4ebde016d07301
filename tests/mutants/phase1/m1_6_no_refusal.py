"""Without repeats there are no samples and no error."""

from __future__ import annotations

import time


def measure(fn, *, warmup=10, repeats=100, synchronize=None, clock=time.perf_counter):
    wait = synchronize or (lambda: None)
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
