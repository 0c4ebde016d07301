"""1.6: repeated measurement after warm-up, of work that may run on a device."""

from __future__ import annotations

import math

import pytest

from tests.grader.checks import check, check_equal, check_raises
from tests.phase1.fakes import FakeClock, FakeDevice

pytestmark = pytest.mark.exercise("1.6")


@pytest.mark.parametrize(
    ("warmup", "repeats"),
    [
        pytest.param(0, 1, id="one-call"),
        pytest.param(3, 5, id="three-and-five"),
        pytest.param(10, 100, id="ten-and-a-hundred"),
    ],
)
def test_counts(graded, warmup, repeats):
    """The function runs warmup + repeats times and gives one sample per repeat."""
    calls: list[int] = []
    samples = graded(lambda: calls.append(1), warmup=warmup, repeats=repeats, clock=FakeClock())
    check_equal(
        len(calls),
        warmup + repeats,
        breaks="warmup + repeats calls",
        likely="the warm-up was left out, or taken from the repeats",
    )
    check_equal(len(samples), repeats, breaks="one sample per timed call", likely="warm-up calls were kept as samples")


@pytest.mark.parametrize("cold_calls", [pytest.param(1, id="one-cold-call"), pytest.param(3, id="three-cold-calls")])
def test_warm_up_is_not_in_the_samples(graded, cold_calls):
    """Nothing of the slow first calls is in the samples."""
    clock = FakeClock()
    costs = iter([8.0] * cold_calls + [0.25] * 20)
    samples = graded(lambda: clock.advance(next(costs)), warmup=3, repeats=10, clock=clock)
    check_equal(
        list(samples),
        [0.25] * 10,
        breaks="the first calls, which allocate, compile and fill caches, are not timed",
        likely="warmup was ignored, or its calls were timed",
    )


def test_each_sample_is_its_own_call(graded):
    """Each sample is the time of its own call, in order, none smoothed away."""
    clock = FakeClock()
    costs = [0.25, 0.5, 4.0, 0.25, 1.0]
    rest = iter(costs)
    samples = graded(lambda: clock.advance(next(rest)), warmup=0, repeats=5, clock=clock)
    check_equal(
        list(samples),
        costs,
        breaks="sample i is the time of call i",
        likely="the whole loop was timed and divided: the mean hides the slow call that p99 is about",
    )


def test_device_time(graded):
    """On a device the sample is the time until the work is done, not until it is launched."""
    clock = FakeClock()
    device = FakeDevice(clock)
    samples = graded(lambda: device.launch(0.5), warmup=2, repeats=4, synchronize=device.synchronize, clock=clock)
    check_equal(
        list(samples),
        [0.5 + device.LAUNCH_S] * 4,
        breaks="a call of 0.5 s on the device takes 0.5 s",
        likely="the clock was read before synchronize, so only the launch was timed",
    )


def test_queue_is_empty_before_the_first_timing(graded):
    """Warm-up work that is still queued does not fall into the first sample."""
    clock = FakeClock()
    device = FakeDevice(clock)
    works = iter([16.0] * 3 + [0.5] * 4)
    samples = graded(
        lambda: device.launch(next(works)), warmup=3, repeats=4, synchronize=device.synchronize, clock=clock
    )
    check_equal(
        list(samples),
        [0.5 + device.LAUNCH_S] * 4,
        breaks="the first timing starts with an empty queue",
        likely="synchronize was not called between the warm-up and the first timing",
    )


def test_on_this_machine(graded):
    """Without a clock and a device it measures this machine."""
    samples = graded(lambda: sum(range(100)), warmup=1, repeats=3)
    check(
        len(samples) == 3 and all(math.isfinite(sample) and sample >= 0 for sample in samples),
        breaks="three finite times of at least 0 seconds",
        got=samples,
        likely="synchronize=None was called, or the end was taken from the start",
    )


@pytest.mark.parametrize(
    ("warmup", "repeats"),
    [
        pytest.param(0, 0, id="no-repeats"),
        pytest.param(0, -1, id="minus-one"),
        pytest.param(-1, 5, id="warmup-minus-one"),
    ],
)
def test_refusals(graded, warmup, repeats):
    """repeats < 1 and warmup < 0 are refused."""
    check_raises(
        ValueError,
        lambda: graded(lambda: None, warmup=warmup, repeats=repeats, clock=FakeClock()),
        breaks="repeats < 1 or warmup < 0 raises ValueError",
        likely="range(-1) is empty and says nothing",
    )
