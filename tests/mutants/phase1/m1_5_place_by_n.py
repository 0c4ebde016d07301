"""The place is taken as q * n / 100, as if there were n gaps between n samples."""

from __future__ import annotations

import math


def percentile(samples, q, method):
    if not len(samples) or not 0 <= q <= 100:
        raise ValueError(f"samples and a q in 0..100 are needed, got {len(samples)} samples and q = {q}")
    ordered = sorted(samples)
    if method == "nearest-rank":
        return ordered[max(1, math.ceil(q * len(ordered) / 100)) - 1]
    if method != "linear":
        raise ValueError(f"the method is nearest-rank or linear, got {method!r}")
    place = min(q * len(ordered) / 100, len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
