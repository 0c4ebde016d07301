"""1.9: what a machine's roofs allow a layer."""

from __future__ import annotations

import numpy as np
import pytest

from tests.grader.checks import check_close, check_equal, check_raises

pytestmark = pytest.mark.exercise("1.9")

PEAK, RATE = 100.0, 10.0  # operations and bytes per second; the ridge is at 10 operations per byte
FEW_ROUNDINGS = 4 * float(np.finfo(np.float64).eps)

LAYERS = [
    # operations, bytes, bound, attainable, seconds
    pytest.param(200.0, 100.0, "memory", 20.0, 10.0, id="left-of-the-ridge"),
    pytest.param(5000.0, 100.0, "compute", 100.0, 50.0, id="right-of-the-ridge"),
    pytest.param(1000.0, 100.0, "compute", 100.0, 10.0, id="on-the-ridge"),
    pytest.param(999.0, 100.0, "memory", 99.9, 10.0, id="just-left-of-it"),
    pytest.param(0.0, 100.0, "memory", 0.0, 10.0, id="only-moves"),
    pytest.param(500.0, 0.0, "compute", 100.0, 5.0, id="moves-nothing"),
    pytest.param(1, 1000, "memory", 0.01, 100.0, id="whole-numbers"),
]


def roof(graded, flops, moved):
    return graded(flops, moved, peak_flops_per_s=PEAK, bytes_per_s=RATE)


@pytest.mark.parametrize(("flops", "moved", "bound", "attainable", "seconds"), LAYERS)
def test_bound(graded, flops, moved, bound, attainable, seconds):
    """Left of the ridge memory is the bound, on it and right of it compute."""
    check_equal(
        roof(graded, flops, moved).bound,
        bound,
        breaks=f"{flops} operations over {moved} bytes are {bound}-bound where the ridge is at 10 per byte",
        likely="the two were swapped, the intensity was taken as bytes per operation, or the ridge left out",
    )


@pytest.mark.parametrize(("flops", "moved", "bound", "attainable", "seconds"), LAYERS)
def test_attainable(graded, flops, moved, bound, attainable, seconds):
    """The attainable rate is the lower of the two roofs."""
    check_close(
        roof(graded, flops, moved).attainable_flops_per_s,
        attainable,
        0.0,
        rtol=FEW_ROUNDINGS,
        breaks="at most min(peak, intensity * bytes per second) operations per second",
        likely="the higher roof was taken, or the peak whatever the intensity is",
    )


@pytest.mark.parametrize(("flops", "moved", "bound", "attainable", "seconds"), LAYERS)
def test_best_time(graded, flops, moved, bound, attainable, seconds):
    """The best time is the longer of computing and moving, which overlap."""
    check_close(
        roof(graded, flops, moved).best_seconds,
        seconds,
        0.0,
        rtol=FEW_ROUNDINGS,
        breaks="computing and moving overlap, so the longer of the two decides",
        likely="the two times were added, or flops were divided by an attainable rate of 0",
    )


def test_real_sizes(graded):
    """A convolution and a ReLU of ResNet-50 on a machine with 100 GFLOP/s and 20 GB/s."""
    machine = {"peak_flops_per_s": 100e9, "bytes_per_s": 20e9}
    # 3 x 3, 64 to 64 channels, 56 x 56: 231 MFLOP over 1.75 MB; ReLU on the same tensor: one operation per 8 bytes
    conv = graded(2 * 56 * 56 * 64 * 64 * 9, 4 * (2 * 64 * 56 * 56 + 64 * 64 * 9), **machine)
    relu = graded(64 * 56 * 56, 8 * 64 * 56 * 56, **machine)
    check_equal((conv.bound, relu.bound), ("compute", "memory"), breaks="a 3x3 convolution computes, a ReLU moves")
    check_close(
        relu.attainable_flops_per_s,
        2.5e9,
        0.0,
        rtol=FEW_ROUNDINGS,
        breaks="a ReLU reaches 2.5 of 100 GFLOP/s, however good its code is",
    )


@pytest.mark.parametrize(
    ("flops", "moved", "peak", "rate"),
    [
        pytest.param(1.0, 1.0, 0.0, 1.0, id="no-peak"),
        pytest.param(1.0, 1.0, 1.0, 0.0, id="no-bandwidth"),
        pytest.param(1.0, 1.0, -1.0, 1.0, id="negative-peak"),
        pytest.param(-1.0, 1.0, 1.0, 1.0, id="negative-operations"),
        pytest.param(1.0, -1.0, 1.0, 1.0, id="negative-bytes"),
        pytest.param(0.0, 0.0, 1.0, 1.0, id="no-work"),
    ],
)
def test_refusals(graded, flops, moved, peak, rate):
    """Roofs that are not above 0, negative work and no work are refused."""
    check_raises(
        ValueError,
        lambda: graded(flops, moved, peak_flops_per_s=peak, bytes_per_s=rate),
        breaks="impossible roofs and impossible work raise ValueError",
        likely="ZeroDivisionError is no sentence that helps",
    )
