"""2.5: rounding that can be trained through."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from solutions.core.classroom.graph_values import Code
from tests.grader.checks import check, check_close, check_equal

pytestmark = pytest.mark.exercise("2.5")

SIGNED = Code(0.5, 0, -127, 127)  # powers of 2: values, codes and gradients are exact
UNSIGNED = Code(0.25, 64, 0, 255)
NARROW = Code(0.5, 1, -4, 3)
CODES = [
    pytest.param(SIGNED, id="signed"),
    pytest.param(UNSIGNED, id="unsigned"),
    pytest.param(NARROW, id="three-bits"),
]


def spread(code: Code, *shape: int) -> torch.Tensor:
    """Values on both sides of the range of a code, a quarter of them beyond it."""
    low, high = ((end - code.zero_point) * code.scale for end in (code.least, code.most))
    middle, half = (low + high) / 2, (high - low) / 2 * 4 / 3
    drawn = torch.rand(shape or (64,), generator=torch.Generator().manual_seed(4))
    return middle + half * (2 * drawn - 1)


def by_hand(values: torch.Tensor, code: Code) -> np.ndarray:
    codes = np.clip(np.rint(values.detach().numpy() / code.scale) + code.zero_point, code.least, code.most)
    return (codes - code.zero_point) * code.scale


def gradient(graded, values: torch.Tensor, code: Code, incoming: torch.Tensor | None = None) -> torch.Tensor | None:
    """The gradient at the values, for gradients of 1 that come in unless told otherwise."""
    leaf = values.clone().requires_grad_(True)
    found = graded(leaf, code)
    if isinstance(found, torch.Tensor) and found.requires_grad:
        found.backward(torch.ones_like(found) if incoming is None else incoming)
    return leaf.grad


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("shape", [(64,), (4, 3, 2, 5), (1,), (0,)])
def test_forward(graded, code, shape):
    """Forward, the values are those of their codes."""
    values = spread(code, *shape)
    found = graded(values, code)
    check_close(
        found,
        by_hand(values, code),
        0.0,  # exact: the scales are powers of 2
        breaks="forward is the round trip through the codes",
        likely="the zero point was not taken off again, or the codes were not kept within least..most",
    )
    check_equal(found.dtype, torch.float32, breaks="float32 stays float32")


@pytest.mark.parametrize("code", CODES)
def test_gradient_inside(graded, code):
    """Where nothing was clipped, the gradient passes as if there were no rounding."""
    low, high = ((end - code.zero_point) * code.scale for end in (code.least, code.most))
    values = torch.linspace(low, high, 41)
    check_equal(
        gradient(graded, values, code),
        torch.ones(41),
        breaks="the gradient is 1 wherever the rounded code lies within least..most, both ends included",
        likely="round() has a gradient of 0 everywhere, and clamp() may drop the ends",
    )


@pytest.mark.parametrize("code", CODES)
def test_gradient_beyond(graded, code):
    """Where the code was clipped, the gradient is 0."""
    low, high = ((end - code.zero_point) * code.scale for end in (code.least, code.most))
    far = torch.tensor([low - code.scale, low - 100.0, high + code.scale, high + 100.0])
    inside = torch.tensor([(low + high) / 2])
    check_equal(
        gradient(graded, torch.cat([far, inside]), code),
        torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0]),
        breaks="the gradient is 0 where the code was clipped",
        likely="a straight-through estimator without clipping: weights beyond the range would drift on for ever",
    )


@pytest.mark.parametrize("code", CODES)
def test_gradient_at_the_ends(graded, code):
    """The rounded code decides: less than half a step beyond the end still counts as inside."""
    low, high = ((end - code.zero_point) * code.scale for end in (code.least, code.most))
    step = code.scale
    values = torch.tensor([low - 0.75 * step, low - 0.25 * step, high + 0.25 * step, high + 0.75 * step])
    check_equal(
        gradient(graded, values, code),
        torch.tensor([0.0, 1.0, 1.0, 0.0]),
        breaks="a quarter of a step beyond the end rounds to the end and passes; three quarters do not",
        likely="the value was compared with the range before it was rounded",
    )


def test_incoming_gradients(graded):
    """Gradients that come in are passed on."""
    values = torch.tensor([0.3, 1.2, 1e4, -0.4])
    check_equal(
        gradient(graded, values, SIGNED, torch.tensor([2.0, -3.0, 5.0, 0.25])),
        torch.tensor([2.0, -3.0, 0.0, 0.25]),
        breaks="the gradient is what comes in, times 1 inside and 0 beyond",
        likely="backward answers the mask itself, or the gradient was multiplied by the scale",
    )


def test_training(graded):
    """A weight learns through it."""
    weight = torch.tensor([3.0], requires_grad=True)
    optimiser = torch.optim.SGD([weight], lr=0.25)
    for _ in range(20):
        found = graded(weight, SIGNED)
        if not (isinstance(found, torch.Tensor) and found.requires_grad):
            break
        optimiser.zero_grad()
        (found - 1.0).square().sum().backward()
        optimiser.step()
    check(
        abs(weight.item() - 1.0) <= 0.25,  # half a step: there the rounded weight is 1.0 and the loss 0
        breaks="gradient descent brings a weight from 3 to where its code stands for 1",
        expected="1.0 within 0.25",
        got=weight.item(),
        likely="no gradient comes through",
    )
