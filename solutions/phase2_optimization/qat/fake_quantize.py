"""Fake quantization: values rounded to their codes in the forward pass, and a gradient that gets past the rounding.

Rounding is flat almost everywhere, so its true gradient is 0 and nothing would learn. The straight-through estimator
(Bengio et al. 2013) takes the gradient of the identity where a value has a code, and 0 where it saturates: moving a
saturated value a little changes nothing. The step itself can learn as well: LSQ (Esser et al. 2020) lets the rounding
error of each value pull on it. Here the logarithm of the step is learnt, in the manner of Jain et al. (2020): an update
is then a share of the step, whatever its size.

The arithmetic is that of `affine.quantize`, to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.quantization.affine import QuantParams, choose_params, code_range, weight_params

RANGES = ("learned", "observed", "calibrated")
_NEWEST = 0.01  # weight of the newest batch in the moving average of observed ranges


class StraightThrough(torch.autograd.Function):
    """decode(encode(x)), with gradients for x and for the scale."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: torch.Tensor, zero_point: int, least: int, most: int) -> torch.Tensor:
        """`scale` broadcasts against `x`; codes lie in [least, most], of which `zero_point` stands for 0."""
        steps = x / scale
        low, high = least - zero_point, most - zero_point
        ctx.save_for_backward(steps, scale)
        ctx.ends = (low, high)
        return torch.round(steps).clamp_(low, high) * scale

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradient passes where x has a code; each value pulls the scale by the error of its rounding."""
        (grad,) = grads
        steps, scale = ctx.saved_tensors
        low, high = ctx.ends
        clamped = steps.clamp(low, high)
        inside = clamped == steps
        pulled = None
        if ctx.needs_input_grad[1]:
            pull = torch.where(inside, torch.round(steps) - steps, clamped)
            pulled = (grad * pull).sum_to_size(scale.shape)
        return grad * inside, pulled, None, None, None


def fake_quantize(x: torch.Tensor, scale: torch.Tensor, zero_point: int, least: int, most: int) -> torch.Tensor:
    """`x` as its codes tell it: scale * (code - zero_point), codes in [least, most], ties to even; differentiable."""
    result: torch.Tensor = StraightThrough.apply(x, scale, zero_point, least, most)
    return result


class ActivationCoder(nn.Module):
    """Fake quantization of the activations that share one scale; they are members, counted from 0.

    Learned: the step starts where calibration put it, and the zero point stays. Observed: each member's range is the
    moving average of its batches' extremes, and the scale spans all of them. Calibrated: nothing changes.

    Args:
        first: the calibrated code.
        spans: the calibrated (low, high) of each member.
        symmetric: the zero point is in the middle, as it is in `first`.
        ranges: one of `RANGES`.

    Raises:
        ConfigError: another kind of ranges.
    """

    lows: torch.Tensor
    highs: torch.Tensor
    start: torch.Tensor

    def __init__(
        self,
        first: QuantParams,
        spans: Sequence[tuple[float, float]],
        *,
        symmetric: bool = False,
        ranges: str = "learned",
    ) -> None:
        super().__init__()
        _check_ranges(ranges)
        self.dtype, self.symmetric, self.observed = first.dtype, symmetric, ranges == "observed"
        self.zero_point = int(first.zero_point)
        self.register_buffer("start", torch.tensor(float(first.scale)))
        self.growth = nn.Parameter(torch.zeros(()), requires_grad=ranges == "learned")
        self.register_buffer("lows", torch.tensor([low for low, _ in spans], dtype=torch.float64))
        self.register_buffer("highs", torch.tensor([high for _, high in spans], dtype=torch.float64))

    def forward(self, x: torch.Tensor, member: int = 0) -> torch.Tensor:
        """`x` as its codes tell it."""
        least, most = code_range(self.dtype)  # what does not fit saturates at the type's ends
        if not self.observed:
            return fake_quantize(x, self.start * self.growth.exp(), self.zero_point, least, most)
        if self.training:
            with torch.no_grad():
                low, high = x.aminmax()
                self.lows[member].lerp_(low.double(), _NEWEST)
                self.highs[member].lerp_(high.double(), _NEWEST)
        params = self.params()
        return fake_quantize(x, torch.as_tensor(params.scale, device=x.device), int(params.zero_point), least, most)

    def span(self) -> tuple[float, float]:
        """(low, high) of which `choose_params` makes the codes as they are now."""
        if self.observed:
            return float(self.lows.min()), float(self.highs.max())
        # A scale has 24 bits and a code 8: float64 holds their products exactly, so the way back gives the same scale.
        scale = float((self.start * self.growth.exp()).detach())
        least, most = code_range(self.dtype, symmetric=self.symmetric)
        return (least - self.zero_point) * scale, (most - self.zero_point) * scale

    def params(self) -> QuantParams:
        """The codes as they are now."""
        return choose_params(*self.span(), dtype=self.dtype, symmetric=self.symmetric)


class WeightCoder(nn.Module):
    """Fake quantization of a weight [outputs, ...], symmetric around 0.

    Learned: the steps start where all values have a code. Otherwise they follow the weight's extremes.

    Args:
        weight: as it is at the start.
        bits: 8 or 4. Four bits are the codes -7 .. 7.
        per_channel: one scale per output, or one in all.
        reduce_range: 7 bits in place of 8, for x86 processors without VNNI.
        ranges: one of `RANGES`.

    Raises:
        ConfigError: other bits or ranges.
    """

    start: torch.Tensor

    def __init__(
        self,
        weight: torch.Tensor,
        *,
        bits: int = 8,
        per_channel: bool = True,
        reduce_range: bool = False,
        ranges: str = "learned",
    ) -> None:
        super().__init__()
        if bits not in (4, 8):
            raise ConfigError(f"weights have 8 or 4 bits, got {bits}")
        _check_ranges(ranges)
        self.dtype, self.axis = f"int{bits}", 0 if per_channel else None
        self.reduce_range = reduce_range and bits == 8
        self.most = code_range(self.dtype, symmetric=True, reduce_range=self.reduce_range)[1]
        self.learned = ranges == "learned"
        start = torch.as_tensor(self._fitted(weight))
        self.register_buffer("start", start)
        self.growth = nn.Parameter(torch.zeros_like(start), requires_grad=self.learned)

    def forward(self, weight: torch.Tensor, params: QuantParams) -> torch.Tensor:
        """`weight` as its codes tell it; `params` are those of `params(weight)`, with room for the bias."""
        shape = (-1, *(1,) * (weight.ndim - 1)) if self.axis == 0 else ()
        scale = torch.as_tensor(params.scale, device=weight.device)
        if self.learned:
            own = self.start * self.growth.exp()
            scale = torch.where(own >= scale, own, scale)
        return fake_quantize(weight, scale.reshape(shape), 0, -self.most, self.most)

    def params(self, weight: torch.Tensor) -> QuantParams:
        """The codes of `weight` as they are now; 4-bit codes are stored in int8, which has kernels."""
        scale = (self.start * self.growth.exp()).detach().cpu().numpy() if self.learned else self._fitted(weight)
        return QuantParams(scale, np.zeros_like(scale, np.int32), "int8", self.axis)

    def _fitted(self, weight: torch.Tensor) -> np.ndarray:
        values = weight.detach().cpu().numpy()
        params = weight_params(values, dtype=self.dtype, axis=self.axis, reduce_range=self.reduce_range)
        return np.asarray(params.scale)


def _check_ranges(ranges: str) -> None:
    if ranges not in RANGES:
        raise ConfigError(f"ranges must be one of {', '.join(RANGES)}, got {ranges}")
