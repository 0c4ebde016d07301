"""No work at all gets a verdict."""

from __future__ import annotations

from solutions.core.classroom.values import Roof


def roofline(flops, moved_bytes, *, peak_flops_per_s, bytes_per_s):
    if peak_flops_per_s <= 0 or bytes_per_s <= 0:
        raise ValueError(f"roofs must be above 0, got {peak_flops_per_s} and {bytes_per_s}")
    if min(flops, moved_bytes) < 0:
        raise ValueError(f"work must be >= 0 and some of it above 0, got {flops} and {moved_bytes}")
    best_seconds = max(flops / peak_flops_per_s, moved_bytes / bytes_per_s)
    if flops * bytes_per_s >= peak_flops_per_s * moved_bytes:
        return Roof("compute", peak_flops_per_s, best_seconds)
    return Roof("memory", flops / moved_bytes * bytes_per_s, best_seconds)
