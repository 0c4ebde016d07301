"""The samples are taken as if they came sorted."""

from __future__ import annotations

import math


def percentile(samples, q, method):
    if not len(samples) or not 0 <= q <= 100:
        raise ValueError(f"samples and a q in 0..100 are needed, got {len(samples)} samples and q = {q}")
    ordered = list(samples)
    if method == "nearest-rank":
        return ordered[max(1, math.ceil(q * len(ordered) / 100)) - 1]
    if method != "linear":
        raise ValueError(f"the method is nearest-rank or linear, got {method!r}")
    place = q * (len(ordered) - 1) / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
