"""Layers with BatchNorm folded in while it trains, and the training loop around them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from solutions.phase2_optimization.qat.fake_quantize import WeightCoder
from solutions.phase2_optimization.qat.layers import QatLayer, freeze_norms
from tests.solutions.qat_nets import images


def normed(*, bias: bool = False, affine: bool = True) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 3, bias=bias), nn.BatchNorm2d(4, affine=affine)
    for values in (norm.running_var, *([norm.weight] if affine else [])):
        nn.init.uniform_(values, 0.5, 2)
    nn.init.normal_(norm.running_mean)
    return conv, norm


@pytest.mark.parametrize("training", [True, False], ids=["batch-statistics", "running-statistics"])
@pytest.mark.parametrize(
    ("bias", "affine"), [(False, True), (True, True), (True, False)], ids=["plain", "biased", "not-affine"]
)
def test_in_float_a_folded_layer_is_the_layer_and_its_norm(bias, affine, training):
    conv, norm = normed(bias=bias, affine=affine)
    folded = QatLayer(copy.deepcopy(conv), copy.deepcopy(norm)).train(training)
    x = images(4)
    want = norm.train(training)(conv(x))
    # Two orders of the same 27 products and a few factors near 1.
    torch.testing.assert_close(folded(x), want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(folded.norm.running_mean, norm.running_mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(folded.norm.running_var, norm.running_var, rtol=1e-5, atol=1e-6)


def test_frozen_statistics_stay_while_everything_else_trains():
    layer = QatLayer(*normed())
    freeze_norms(nn.Sequential(layer).train())
    before = copy.deepcopy(layer.norm.state_dict())
    layer(images(4)).square().sum().backward()
    after = layer.norm.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert layer.layer.weight.grad.abs().sum() > 0
    assert layer.norm.weight.grad.abs().sum() > 0
    torch.testing.assert_close(layer(images(2, seed=1)), layer.eval()(images(2, seed=1)), rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_a_channel_that_the_norm_switched_off_gives_its_bias_and_no_nan(training):
    conv, norm = normed()
    with torch.no_grad():
        norm.weight[1] = 0.0
        norm.bias[1] = 0.7
    layer = QatLayer(conv, norm)
    layer.code(WeightCoder(layer.folded_weight()), None)
    result = layer.train(training)(images(2))
    result.sum().backward()
    assert result[:, 1].allclose(torch.tensor(0.7))
    assert all(torch.isfinite(part.grad).all() for part in layer.parameters() if part.grad is not None)


def test_the_exported_layer_computes_what_the_layer_does():
    layer = QatLayer(*normed(bias=True))
    layer.code(WeightCoder(layer.folded_weight(), bits=4), None)
    plain, params = layer.eval().export()
    x = images(2)
    torch.testing.assert_close(plain(x), layer(x), rtol=0, atol=0)
    assert params is not None
    assert len(plain.weight[0].div(float(params.scale[0])).round().unique()) <= 15


def test_the_folded_weight_is_what_is_coded_while_statistics_still_move():
    """The weight is coded with the running statistics, so the batch's do not make its codes jitter."""
    layer = QatLayer(*normed())
    layer.code(WeightCoder(layer.folded_weight()), None)
    seen = []
    layer.coder.register_forward_hook(lambda _, fed, coded: seen.append(coded.detach()))
    layer.norm.momentum = 0.0
    layer.train()
    layer(images(4))
    layer(3 * images(4, seed=1))
    assert torch.equal(*seen)
