"""Of equal peaks the last is named."""

from __future__ import annotations


def peak_activations(steps, outputs):
    last = {step.name: index for index, step in enumerate(steps)}
    for index, step in enumerate(steps):
        for name in step.reads:
            last[name] = index
    for name in outputs:
        last[name] = len(steps) - 1
    peak, where = 0, ""
    for now, step in enumerate(steps):
        alive = sum(made.bytes for made in steps[: now + 1] if last[made.name] >= now)
        if alive >= peak:
            peak, where = alive, step.name
    return peak, where
