"""A range that does not hold 0.0 is taken as it is."""

from __future__ import annotations

import math

from solutions.core.classroom.graph_values import Code


def choose_code(low, high, *, symmetric=False):
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"a range needs finite low <= high, got {low} and {high}")
    if symmetric:
        return Code(max(abs(low), abs(high)) / 127 or 1.0, 0, -127, 127)
    scale = (high - low) / 255 or 1.0
    return Code(scale, round(-low / scale), 0, 255)
