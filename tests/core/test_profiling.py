"""Warm-up, synchronisation, interleaving and open-loop load, all on a fake clock."""

import numpy as np
import pytest

from solutions.core.errors import BackendUnavailable, ConfigError
from solutions.core.measure.profiling import measure, measure_pair, open_loop, synchronize_for


class FakeClock:
    """Time that passes only when work or sleep says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def work(self, *seconds):
        """A function that takes these times in turn, then the last of them for ever."""
        times = list(seconds)
        return lambda: self.sleep(times.pop(0) if len(times) > 1 else times[0])


def test_warm_up_is_not_timed():
    clock = FakeClock()
    result = measure(clock.work(5.0, 3.0, 0.010), warmup=2, repeats=4, clock=clock)
    assert result.summary.max == pytest.approx(10.0)
    assert result.summary.n == len(result.samples_s) == 4
    assert result.throughput.per_second == pytest.approx(100.0)
    assert result.as_dict()["warmup"] == 2


def test_min_seconds_adds_samples():
    clock = FakeClock()
    assert measure(clock.work(0.125), warmup=0, repeats=2, min_seconds=1.0, clock=clock).summary.n == 8


def test_synchronize_belongs_to_the_timed_part_and_warm_up_does_not_leak_in():
    clock = FakeClock()
    queued = [0.0]

    def launch():  # asynchronous: the work is done at the next wait
        clock.sleep(0.001)
        queued[0] += 0.020

    def wait():
        clock.sleep(queued[0])
        queued[0] = 0.0

    result = measure(launch, warmup=50, repeats=3, synchronize=wait, clock=clock)
    assert result.summary.min == result.summary.max == pytest.approx(21.0)


def test_pair_is_interleaved_abba():
    calls = []
    clock = FakeClock()

    def note(name, seconds):
        calls.append(name)
        clock.sleep(seconds)

    result = measure_pair(lambda: note("a", 0.010), lambda: note("b", 0.005), rounds=2, warmup=1, clock=clock)
    assert "".join(calls) == "ab" + "abba" * 2
    assert result.ratio.ratio == pytest.approx(0.5)
    assert (result.a.n, result.b.n) == (4, 4)
    assert result.as_dict()["a_ms"]["p50"] == pytest.approx(10.0)


def test_pair_cancels_a_linear_drift():
    clock = FakeClock()
    slowness = [1.0]

    def equal_work():
        clock.sleep(0.010 * slowness[0])
        slowness[0] += 0.05  # a machine that heats up

    result = measure_pair(equal_work, equal_work, rounds=20, warmup=0, clock=clock)
    assert result.ratio.ratio == pytest.approx(1.0, abs=1e-9)


def test_pair_reports_per_call_with_inner():
    clock = FakeClock()
    result = measure_pair(clock.work(0.001), clock.work(0.002), rounds=3, warmup=0, inner=10, clock=clock)
    assert (result.a.p50, result.b.p50) == (pytest.approx(1.0), pytest.approx(2.0))


def test_pair_says_what_to_do_about_a_coarse_clock():
    with pytest.raises(ConfigError, match="more work"):
        measure_pair(lambda: None, lambda: None, rounds=2, clock=lambda: 0.0)


def test_open_loop_counts_from_the_intended_send_time():
    clock = FakeClock()
    stall = clock.work(*[0.001] * 5, 1.0, 0.001)  # the sixth request stalls for a second
    result = open_loop(stall, rate_hz=100, count=50, clock=clock, sleep=clock.sleep)
    assert result.service.p90 == pytest.approx(1.0)  # a closed loop would report this: all is well
    assert result.latency.p50 > 500  # the truth: half of the users waited longer than that
    assert result.latency.max == pytest.approx(1000.0)
    assert result.late == 44  # all that fell due after the stall began; the backlog outlasts the run
    assert result.throughput.count == 50


def test_open_loop_without_a_stall_waits_for_each_request():
    clock = FakeClock()
    result = open_loop(clock.work(0.004), rate_hz=10, duration_s=2.0, clock=clock, sleep=clock.sleep)
    assert (result.latency.n, result.late) == (20, 0)
    assert result.latency.max == pytest.approx(4.0)
    assert clock.now == pytest.approx(100.0 + 1.9 + 0.004)
    assert result.as_dict()["offered_hz"] == 10


def test_open_loop_poisson_gaps_are_seeded_and_keep_the_rate():
    ends = []
    for _ in range(2):
        clock = FakeClock()
        open_loop(lambda: None, rate_hz=50, count=2000, arrivals="poisson", seed=5, clock=clock, sleep=clock.sleep)
        ends.append(clock.now - 100.0)
    assert ends[0] == ends[1] == pytest.approx(40.0, rel=0.1)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"rate_hz": 0, "count": 1}, id="no-rate"),
        pytest.param({"rate_hz": 1}, id="neither"),
        pytest.param({"rate_hz": 1, "count": 1, "duration_s": 1}, id="both"),
        pytest.param({"rate_hz": 1, "duration_s": 0.1}, id="no-request"),
    ],
)
def test_open_loop_refuses(settings):
    with pytest.raises(ConfigError):
        open_loop(lambda: None, **settings)


@pytest.mark.parametrize("settings", [{"warmup": -1}, {"repeats": 0}, {"min_seconds": -1}])
def test_measure_refuses(settings):
    with pytest.raises(ConfigError):
        measure(lambda: None, **settings)


def test_synchronize_for():
    assert synchronize_for("cpu")() is None
    with pytest.raises(ConfigError, match="tpu"):
        synchronize_for("tpu")


def test_synchronize_for_says_when_torch_is_not_there(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(BackendUnavailable, match="torch"):
        synchronize_for("cuda:0")


def test_real_clock_smoke():
    assert measure(lambda: np.ones(10).sum(), warmup=1, repeats=5).summary.max >= 0
