"""There are 256 codes, but 255 steps between them."""

from __future__ import annotations

import math

from solutions.core.classroom.graph_values import Code


def choose_code(low, high, *, symmetric=False):
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"a range needs finite low <= high, got {low} and {high}")
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        return Code(max(-low, high) / 127 or 1.0, 0, -127, 127)
    scale = (high - low) / 256 or 1.0
    return Code(scale, round(-low / scale), 0, 255)
