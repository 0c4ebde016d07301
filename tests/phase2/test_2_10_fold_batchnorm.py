"""2.10: a batch norm that disappears into its convolution."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.grader.checks import check, check_close, check_equal

pytestmark = pytest.mark.exercise("2.10")

EPS = float(torch.finfo(torch.float32).eps)


def pair(*, bias: bool = True, affine: bool = True, eps: float = 1e-5, **options) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """A convolution and a batch norm as training leaves them."""
    dice = torch.Generator().manual_seed(3)
    conv = nn.Conv2d(4, 6, options.pop("kernel", 3), bias=bias, **options)
    bn = nn.BatchNorm2d(6, eps=eps, affine=affine).eval()
    with torch.no_grad():
        for values in (*conv.parameters(), *bn.parameters(), bn.running_mean):
            values.copy_(torch.randn(values.shape, generator=dice))
        bn.running_var.copy_(torch.rand(6, generator=dice) * 2 + 0.05)
    return conv, bn


def check_parity(graded, conv: nn.Conv2d, bn: nn.BatchNorm2d, *, breaks: str, likely: str) -> None:
    pictures = torch.randn(2, conv.in_channels, 9, 9, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        want = bn(conv(pictures))
        # what the sums go through before they cancel: the same with magnitudes everywhere
        size = float(nn.functional.conv2d(pictures.abs(), conv.weight.abs(), None, conv.stride, conv.padding,
                                          conv.dilation, conv.groups).max()) + 3  # fmt: skip
        factor = float((bn.running_var + bn.eps).rsqrt().max()) * (
            1 if bn.weight is None else float(bn.weight.abs().max())
        )
        terms = conv.weight[0].numel() + 8
    folded = graded(conv, bn)
    check(isinstance(folded, nn.Conv2d), breaks="a convolution comes back", got=type(folded).__name__)
    check_close(
        folded(pictures),
        want,
        terms * EPS * size * factor,  # a rounding of eps per term of a sum, at most
        breaks=breaks,
        likely=likely,
    )


@pytest.mark.parametrize("affine", [pytest.param(True, id="affine"), pytest.param(False, id="without-affine")])
@pytest.mark.parametrize("bias", [pytest.param(True, id="bias"), pytest.param(False, id="without-bias")])
def test_parity(graded, bias, affine):
    """The folded convolution computes what both computed, with and without a bias and affine."""
    check_parity(
        graded, *pair(bias=bias, affine=affine),
        breaks="the folded convolution agrees with convolution and batch norm",
        likely="the convolution's own bias goes through the factor too; without affine there is no weight",
    )  # fmt: skip


@pytest.mark.parametrize("eps", [1e-5, 1e-3, 0.5])
def test_eps(graded, eps):
    """The batch norm's own eps is in the square root."""
    check_parity(
        graded, *pair(eps=eps),
        breaks=f"eps = {eps} is added to the variance under the square root",
        likely="eps was forgotten, taken as 1e-5, or added to the standard deviation",
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"stride": 2, "padding": 1}, id="stride"),
        pytest.param({"groups": 2}, id="groups"),
        pytest.param({"dilation": 2, "padding": (2, 1)}, id="dilation"),
        pytest.param({"kernel": 1}, id="1x1"),
        pytest.param({"kernel": (1, 3)}, id="flat-kernel"),
        pytest.param({"kernel": 6}, id="as-wide-as-its-channels"),
    ],
)
def test_options(graded, options):
    """Stride, padding, dilation, groups and kernel are kept."""
    check_parity(
        graded, *pair(**dict(options)),
        breaks=f"a convolution with {options} stays one",
        likely="a new Conv2d was made without them, or the factor was broadcast along the wrong axis of the weight",
    )  # fmt: skip


def test_inputs_stay(graded):
    """The convolution and the batch norm stay as they were."""
    conv, bn = pair()
    kept = copy.deepcopy(conv.state_dict()), copy.deepcopy(bn.state_dict())
    folded = graded(conv, bn)
    check(isinstance(folded, nn.Conv2d) and folded is not conv, breaks="a new convolution comes back")
    for now, before in zip((conv.state_dict(), bn.state_dict()), kept, strict=True):
        for name, values in before.items():
            check_equal(now[name], values, breaks=f"{name} stays as it was", likely="folded in place")
