"""What measuring costs: looks at the clock, hooks on layers, the profiler of ONNX Runtime."""

import pytest
import torch

from solutions.core.measure.metrics import PairedRatio
from solutions.core.measure.profiling import measure
from solutions.phase1_basics.profiling.overhead import (
    instrument_us,
    latency_overhead,
    onnx_layers_overhead,
    same_weights,
    torch_layers_overhead,
)
from tests.solutions.profiler_fakes import Residual, picture
from tests.solutions.profiler_graphs import exported_small


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return exported_small(tmp_path_factory.mktemp("export") / "small.onnx")


def test_overhead_is_what_the_clock_costs():
    now = [0.0]

    def clock():  # a slow clock: each look at it takes 0.1 ms
        now[0] += 0.0001
        return now[0]

    def work():
        now[0] += 0.005

    found = latency_overhead(work, rounds=3, clock=clock)
    assert found.ratio.ratio == pytest.approx((0.005 + 0.0002 + 0.0001) / (0.005 + 0.0001))
    assert found.ratio.verdict(at_most=1.02) == "fail"


def test_measuring_looks_at_the_clock_twice_per_call_and_no_more():
    looks = [0]

    def clock():
        looks[0] += 1
        return looks[0] * 1e-6

    measure(lambda: None, warmup=5, repeats=100, clock=clock)
    assert looks[0] == 200


def test_the_constant_cost_is_that_of_the_clock():
    now = [0.0]

    def clock():  # two looks cost 4 microseconds; the look that ends each timing is in both sides
        now[0] += 2e-6
        return now[0]

    assert instrument_us(calls=10, rounds=3, clock=clock) == pytest.approx(4.0)


def test_an_interval_below_the_bar_passes():
    assert PairedRatio(1.001, 0.998, 1.004, rounds=30).verdict(at_most=1.02) == "pass"


def test_overhead_of_the_hooks_is_a_paired_ratio_on_shared_weights():
    net = Residual(2).eval()
    clone = same_weights(net)
    assert clone.conv1 is not net.conv1
    assert clone.conv1.weight is net.conv1.weight
    found = torch_layers_overhead(net, [torch.rand(1, 2, 4, 4)], rounds=3)
    assert found.ratio.rounds == 3
    assert not net.conv1._forward_hooks


def test_overhead_of_onnx_runtimes_profiler(exported):
    found = onnx_layers_overhead(exported, {"images": picture()}, rounds=3, threads=1)
    assert found.ratio.rounds == 3
