"""Fake quantization: the codes are those of `affine`, and the gradients are those of the papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.qat.fake_quantize import ActivationCoder, WeightCoder, fake_quantize
from solutions.phase2_optimization.quantization.affine import (
    QuantParams,
    choose_params,
    code_range,
    dequantize,
    quantize,
)


@pytest.mark.parametrize(
    ("low", "high", "dtype", "symmetric"),
    [
        pytest.param(0.0, 6.0, "uint8", False, id="behind-relu"),
        pytest.param(-1.3, 2.9, "uint8", False, id="zero-inside"),
        pytest.param(2.0, 6.0, "uint8", False, id="zero-outside-is-taken-in"),
        pytest.param(-3.0, 1.0, "int8", True, id="symmetric"),
        pytest.param(-1.0, 1.0, "int4", True, id="four-bits"),
    ],
)
def test_values_are_those_of_the_affine_codes_to_the_bit(low, high, dtype, symmetric):
    params = choose_params(low, high, dtype=dtype, symmetric=symmetric)
    scale = float(params.scale)
    ties = (np.arange(-20, 21) + 0.5) * scale
    x = np.concatenate([np.linspace(2 * low - 1, 2 * high + 1, 1001), ties, [0.0]]).astype(np.float32)
    got = fake_quantize(torch.from_numpy(x), torch.tensor(params.scale), int(params.zero_point), *code_range(dtype))
    np.testing.assert_array_equal(got.numpy(), dequantize(quantize(x, params), params))
    assert got[-1] == 0.0


@pytest.mark.parametrize(
    ("steps", "passes", "pull"),
    [
        pytest.param(3.0, 1.0, 0.0, id="on-a-code"),
        pytest.param(3.25, 1.0, -0.25, id="rounded-down"),
        pytest.param(3.75, 1.0, 0.25, id="rounded-up"),
        pytest.param(-2.25, 1.0, 0.25, id="negative"),
        pytest.param(7.0, 1.0, 0.0, id="highest-code"),
        pytest.param(7.5, 0.0, 7.0, id="above-saturates"),
        pytest.param(-40.0, 0.0, -8.0, id="below-saturates"),
    ],
)
def test_gradients(steps, passes, pull):
    """Straight through where a value has a code; the scale's is LSQ's equation 3."""
    x = torch.tensor([0.5 * steps], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    (3 * fake_quantize(x, scale, 0, -8, 7)).backward()
    assert x.grad is not None
    assert scale.grad is not None
    assert float(x.grad) == 3 * passes
    assert float(scale.grad) == 3 * pull


def test_each_channel_pulls_its_own_scale():
    x = torch.tensor([[1.25, 100.0], [0.25, -3.0]], requires_grad=True)
    scale = torch.tensor([[1.0], [1.0]], requires_grad=True)
    fake_quantize(x, scale, 0, -8, 7).sum().backward()
    assert scale.grad is not None
    assert scale.grad.tolist() == [[-0.25 + 7], [-0.25]]


@given(
    scale=st.floats(2.0**-100, 2.0**100, width=32),
    zero=st.integers(0, 255),
    growth=st.floats(-2, 2, width=32),
    symmetric=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_learned_range_says_exactly_its_codes(scale, zero, growth, symmetric):
    first = QuantParams(scale, 0 if symmetric else zero, "int8" if symmetric else "uint8")
    coder = ActivationCoder(first, [(0.0, 1.0)], symmetric=symmetric)
    assert coder.params().scale == first.scale
    with torch.no_grad():
        coder.growth.fill_(growth)
    want = float((coder.start * coder.growth.exp()).detach())
    assert (float(coder.params().scale), int(coder.params().zero_point)) == (want, int(first.zero_point))


def test_observed_ranges_follow_the_batches_while_training_and_span_all_members():
    coder = ActivationCoder(choose_params(0.0, 4.0), [(0.0, 4.0), (-1.0, 2.0)], ranges="observed")
    assert coder.span() == (-1.0, 4.0)
    x = torch.linspace(0, 8, 5)
    coder.train()(x, 0)
    assert coder.span() == pytest.approx((-1.0, 4.04))  # one hundredth of the way from 4 to 8
    coder(x - 11, 1)
    assert coder.span() == pytest.approx((-1.1, 4.04))
    coder.eval()(100 * x, 0)
    assert coder.span() == pytest.approx((-1.1, 4.04))


def test_calibrated_ranges_stay():
    coder = ActivationCoder(choose_params(0.0, 4.0), [(0.0, 4.0)], ranges="calibrated").train()
    x = torch.linspace(0, 9, 7, requires_grad=True)
    coder(x).square().sum().backward()
    assert not [part for part in coder.parameters() if part.requires_grad]
    assert coder.params().scale == choose_params(0.0, 4.0).scale


@pytest.mark.parametrize("ranges", ["learned", "observed"])
@pytest.mark.parametrize(("bits", "reduce_range", "most"), [(8, False, 127), (8, True, 63), (4, False, 7)])
def test_weight_codes_use_their_bits_and_hold_every_value_at_the_start(bits, reduce_range, most, ranges):
    weight = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    coder = WeightCoder(weight, bits=bits, reduce_range=reduce_range, ranges=ranges)
    params = coder.params(weight)
    coded = coder(weight, params)
    codes = quantize(coded.detach().numpy(), params)
    assert (params.dtype, params.axis) == ("int8", 0)
    assert np.abs(codes).max(axis=(1, 2, 3)).tolist() == [most] * 6
    step = params.scale.reshape(-1, 1, 1, 1)
    # Half a step, and a rounding of float32 at the greatest code.
    assert (np.abs(coded.detach().numpy() - weight.numpy()) <= step * (0.5 + most * 2.0**-23)).all()


def test_a_learned_weight_scale_learns_and_an_observed_one_follows():
    weight = torch.tensor([[1.0, -3.0], [0.5, 0.25]], requires_grad=True)
    learned = WeightCoder(weight, bits=4)
    learned(weight, learned.params(weight)).square().sum().backward()
    assert learned.growth.grad is not None
    assert learned.growth.grad.shape == (2,)
    observed = WeightCoder(weight, bits=4, ranges="observed")
    assert observed.params(2 * weight).scale == pytest.approx(2 * learned.params(2 * weight).scale)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: WeightCoder(torch.ones(2, 2), bits=3), "8 or 4 bits, got 3"),
        (lambda: WeightCoder(torch.ones(2, 2), ranges="guessed"), "got guessed"),
        (lambda: ActivationCoder(choose_params(0, 1), [(0, 1)], ranges="none"), "got none"),
    ],
    ids=["bits", "weight-ranges", "activation-ranges"],
)
def test_mistakes_are_told(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
