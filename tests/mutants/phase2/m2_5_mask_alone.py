"""Backward answers the mask and forgets what comes in."""

from __future__ import annotations

from typing import Any

import torch


def fake_quantize(values, code):
    class RoundTrip(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
            rounded = torch.round(values / code.scale) + code.zero_point
            kept = rounded.clamp(code.least, code.most)
            ctx.save_for_backward(rounded == kept)
            return (kept - code.zero_point) * code.scale

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
            (inside,) = ctx.saved_tensors
            passed = inside.to(gradients[0].dtype)
            return passed

    made: torch.Tensor = RoundTrip.apply(values)
    return made
